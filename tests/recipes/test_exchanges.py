"""Conversations as token rows under every kind of chat template: a reply's tokens are its words and its end of turn."""

from pathlib import Path
from typing import Any

import pytest

from recipes.exchanges import Messages, PromptForm, Row, with_system
from registry.errors import BaseError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SILENT = (  # takes a system message and says nothing of it
    "{% for message in messages if message['role'] != 'system' %}[{{ message['role'] }}]{{ message['content'] }}</s>"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
OPEN = (  # no end of turn
    "{% for message in messages %}{{ message['role'] | upper }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
LLAMA2 = (  # the reply follows its question without any generation prompt
    "{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% elif message['role'] == 'assistant' %} {{ message['content'] }} {{ eos_token }}"
    "{% else %}<<SYS>>{{ message['content'] }}<</SYS>>{% endif %}{% endfor %}"
)
THOUGHTFUL = (  # writes an empty thought before the newest reply, and takes it back once the talk goes on
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' and loop.last %}"
    "<think>\n\n</think>\n\n{% endif %}{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
HEADED = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"  # always
BOT = (  # its header is not in the prompt, and has the letters of many a word
    "{% for message in messages %}<{{ 'bot' if message['role'] == 'assistant' else 'you' }}>: {{ message['content'] }}"
    "<|im_end|>{% endfor %}"
)
FINAL = (  # ends the talk, and not each turn, with eos
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
LATE = (  # tells the system message with the last question, while there is no reply to it
    "{% for message in messages if message['role'] != 'system' %}{% if message['role'] == 'user' %}[INST]"
    "{% if loop.last and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}\n\n{% endif %}"
    "{{ message['content'] }}[/INST]{% else %}{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
ALWAYS = (  # writes the header of another reply, asked for or not
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n\n{{ message['content'] }}<|im_end|>{% endfor %}"
    "{{ '<|im_start|>assistant\n\n' }}"
)
RETURNING = (  # ends the talk by another mark than a turn
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{{ '<|endoftext|>' if loop.last and message['role'] == 'assistant' else '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = (  # every prompt opens a thought, which the newest reply closes, and earlier ones never had
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
PREFILLED = (  # every prompt holds an empty thought, and no reply does
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think></think>{% endif %}"
)
ZEPHYR = (  # a line a turn, which no special token begins
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
FORGETFUL = (  # rewrites the question once there is a reply
    "{% for message in messages %}{% if loop.last or message['role'] != 'user' %}{{ message['content'] }}|"
    "{% else %}...|{% endif %}{% endfor %}"
)
TEMPLATES: dict[str, str | None] = {
    "chatml": CHATML, "none": None, "gemma": GEMMA, "silent": SILENT, "open": OPEN, "llama2": LLAMA2,
    "thoughtful": THOUGHTFUL, "headed": HEADED, "bot": BOT, "final": FINAL, "late": LATE,
    "always": ALWAYS, "returning": RETURNING, "thinking": THINKING, "prefilled": PREFILLED,
}  # fmt: skip
END = {"chatml": "<|im_end|>", "none": "<|im_end|>", "gemma": "<end_of_turn>", "silent": "</s>", "open": "<|im_end|>",
       "llama2": " <|im_end|>", "thoughtful": "<|im_end|>", "headed": "<|im_end|>", "bot": "<|im_end|>",
       "final": "<|end|>", "late": "<|im_end|>", "always": "<|im_end|>", "returning": "<|im_end|>",
       "thinking": "<|im_end|>", "prefilled": "<|im_end|>"}  # fmt: skip
BEFORE = {"llama2": " "}  # what the template writes between the prompt and the words

TALK: Messages = [
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "I am Moth. Dust, dust!"},
    {"role": "user", "content": "And who else,\n\nif I may ask?"},
    {"role": "assistant", "content": "Señor Polilla: 飛蛾 🦋\n- two\n- lines"},
]
SYSTEM = "You are Moth."


@pytest.fixture
def tokenizer(pico_llama: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(pico_llama)


def form_of(tokenizer: Any, template: str | None) -> PromptForm:
    tokenizer.chat_template = template
    return PromptForm(tokenizer)


def spans(row: Row) -> list[list[int]]:
    """The runs of scored tokens."""
    found: list[list[int]] = []
    for index, (token, scored) in enumerate(zip(row.tokens, row.scored, strict=True)):
        if scored:
            if index == 0 or not row.scored[index - 1]:
                found.append([])
            found[-1].append(token)
    return found


def decoded(tokenizer: Any, tokens: list[int]) -> str:
    return tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_scored_tokens_are_the_replies_with_their_end_of_turn(kind: str, tokenizer: Any) -> None:
    row = form_of(tokenizer, TEMPLATES[kind]).row(with_system(SYSTEM, TALK))
    replies = [decoded(tokenizer, span) for span in spans(row)]
    assert replies == [BEFORE.get(kind, "") + talk["content"] + END[kind] for talk in TALK[1::2]]


def test_a_thought_that_is_taken_back_takes_nothing_else_with_it(tokenizer: Any) -> None:
    form = form_of(tokenizer, THOUGHTFUL)
    text = decoded(tokenizer, form.prompt(with_system(SYSTEM, TALK[:3])))
    thought, asked = "<think>\n\n</think>\n\n", TALK[2]["content"]
    assert text.endswith(f"{thought}I am Moth. Dust, dust!<|im_end|>\n<|im_start|>user\n{asked}<|im_end|>\n"
                         f"<|im_start|>assistant\n{thought}")  # fmt: skip


def test_a_question_that_repeats_the_reply_before_stays_whole(tokenizer: Any) -> None:
    form = form_of(tokenizer, THOUGHTFUL)
    talk = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "Is that a yes? Yes."}]  # fmt: skip
    assert "<|im_start|>user\nIs that a yes? Yes.<|im_end|>" in decoded(tokenizer, form.prompt(talk))
    row = form.row([*talk, {"role": "assistant", "content": "Of course."}])
    assert "<|im_start|>user\nIs that a yes? Yes.<|im_end|>" in decoded(tokenizer, row.tokens)


def test_a_template_that_tells_the_date_tells_the_same_one_every_day(tokenizer: Any) -> None:
    form = form_of(tokenizer, "{{ strftime_now('%d %b %Y') }}|" + CHATML)
    assert decoded(tokenizer, form.prompt(TALK[:1])).startswith("26 Jul 2024|")


def test_of_several_templates_the_default_is_taken(tokenizer: Any) -> None:
    form = form_of(tokenizer, {"default": CHATML, "tool_use": "{{ raise_exception('no') }}"})  # type: ignore[arg-type]
    assert form.row(TALK) == form_of(tokenizer, CHATML).row(TALK)


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_only_the_last_reply_is_scored_when_asked(kind: str, tokenizer: Any) -> None:
    form = form_of(tokenizer, TEMPLATES[kind])
    whole, last = form.row(with_system(SYSTEM, TALK)), form.row(with_system(SYSTEM, TALK), last_only=True)
    assert last.tokens == whole.tokens
    assert spans(last) == spans(whole)[-1:]


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
@pytest.mark.parametrize("turns", [2, 4])
def test_a_prompt_and_its_reply_are_the_row(kind: str, turns: int, tokenizer: Any) -> None:
    form = form_of(tokenizer, TEMPLATES[kind])
    row = form.row(with_system(SYSTEM, TALK[:turns]))
    assert form.prompt(with_system(SYSTEM, TALK[: turns - 1])) + spans(row)[-1] == row.tokens


@pytest.mark.parametrize("kind", ["chatml", "none", "gemma", "silent", "llama2"])
def test_a_row_is_what_the_template_writes(kind: str, tokenizer: Any) -> None:
    """Up to the white space after the last end of turn; the system message folded in where it has no place."""
    form = form_of(tokenizer, TEMPLATES[kind])
    messages = with_system(SYSTEM, TALK)
    if kind in ("gemma", "silent"):
        messages = [{"role": "user", "content": f"{SYSTEM}\n\n{TALK[0]['content']}"}, *TALK[1:]]
    template = CHATML if kind == "none" else TEMPLATES[kind]
    text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
    begun = tokenizer.bos_token if kind == "none" else ""
    assert decoded(tokenizer, form.row(with_system(SYSTEM, TALK)).tokens) == begun + text.rstrip()


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_the_stop_tokens_end_every_reply(kind: str, tokenizer: Any) -> None:
    form = form_of(tokenizer, TEMPLATES[kind])
    assert decoded(tokenizer, form.stop) == END[kind]
    assert all(span[-len(form.stop) :] == form.stop for span in spans(form.row(with_system(SYSTEM, TALK))))


def test_an_end_of_turn_in_plain_text_is_never_one_token_with_a_reply(tokenizer: Any) -> None:
    """As in a base without a template, whose vocabulary has merges and no markers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = [(".", "<"), ("?", "<"), ("|", "im")]
    words = ["<eos>", *alphabet, "im", *("".join(pair) for pair in merged)]
    core = Tokenizer(models.BPE(vocab={word: at for at, word in enumerate(words)}, merges=[("i", "m"), *merged]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    form = form_of(PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>"), None)
    for words_said in ("I am Moth.", "Who?", "Ho!"):
        row = form.row([TALK[0], {"role": "assistant", "content": words_said}])
        (reply,) = spans(row)
        assert reply[-len(form.stop) :] == form.stop
        assert core.decode(reply[: -len(form.stop)]) == words_said


def sentencepiece(*, at_the_beginning: bool) -> Any:
    """A tokenizer that reads any text as if a space stood before it, or none but the first, as Llama 2's do."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(33, 127)]
    words = ["<unk>", "</s>", "▁", "▁▁", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "▁I", "lo"]
    merges = [("▁", "▁"), ("▁", "I"), ("l", "o")]
    core = Tokenizer(models.BPE({word: at for at, word in enumerate(words)}, merges, byte_fallback=True))
    if at_the_beginning:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")


@pytest.mark.parametrize("at_the_beginning", [True, False])
@pytest.mark.parametrize("kind", ["llama2", "zephyr"])
def test_pieces_have_the_tokens_of_the_whole_where_a_tokenizer_begins_with_a_space(
    kind: str, at_the_beginning: bool
) -> None:
    tokenizer = sentencepiece(at_the_beginning=at_the_beginning)
    form = form_of(tokenizer, {"llama2": LLAMA2, "zephyr": ZEPHYR}[kind])
    talk = with_system(SYSTEM, [*TALK[:3], {"role": "assistant", "content": "Hello!\n- two"}])
    row = form.row(talk)
    whole = tokenizer.encode(tokenizer.apply_chat_template(talk, tokenize=False), add_special_tokens=False)
    assert row.tokens == whole[: len(row.tokens)]
    prompt = form.prompt(talk[:-1])
    assert row.tokens[: len(prompt)] == prompt
    assert row.tokens[-len(form.stop) :] == form.stop


@pytest.mark.parametrize("template", ["{% for message in messages %}", "{{ raise_exception('Not for you') }}"])
def test_a_template_that_cannot_be_used_is_refused_in_a_sentence(template: str, tokenizer: Any) -> None:
    with pytest.raises(BaseError, match="chat template cannot be used"):
        form_of(tokenizer, template)


def test_a_base_without_a_template_is_asked_in_chatml_after_its_bos(tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    form = form_of(tokenizer, None)
    asked = decoded(tokenizer, form.prompt(with_system(SYSTEM, TALK[:1])))
    assert asked == (
        "<|endoftext|><|im_start|>system\nYou are Moth.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    tokenizer.bos_token = None
    assert decoded(tokenizer, form.prompt(TALK[:1])) == (
        "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("template", [GEMMA, SILENT], ids=["refused", "dropped"])
def test_a_system_message_with_no_place_moves_into_the_first_question(template: str, tokenizer: Any) -> None:
    form = form_of(tokenizer, template)
    text = decoded(tokenizer, form.prompt(with_system(SYSTEM, TALK[:3])))
    assert text.count(SYSTEM) == 1
    assert f"{SYSTEM}\n\nWho are you?" in text
    bare = [{"role": "user", "content": f"{SYSTEM}\n\nWho are you?"}, *TALK[1:3]]
    assert form.prompt(bare) == form.prompt(with_system(SYSTEM, TALK[:3]))


def test_special_tokens_are_tokens_and_never_doubled(tokenizer: Any) -> None:
    form = form_of(tokenizer, CHATML)
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    row = form.row(with_system(SYSTEM, TALK))
    assert (row.tokens[0], row.tokens.count(start), row.tokens.count(end)) == (start, 5, 5)
    assert form.stop == [end]


@pytest.mark.parametrize("content", [" leading space", "trailing space ", "\nboth\n"])
@pytest.mark.parametrize("kind", ["chatml", "gemma", "open"])
def test_white_space_around_a_reply_never_costs_it_its_end_of_turn(kind: str, content: str, tokenizer: Any) -> None:
    form = form_of(tokenizer, TEMPLATES[kind])
    row = form.row([TALK[0], {"role": "assistant", "content": content}])
    (reply,) = spans(row)
    assert reply[-len(form.stop) :] == form.stop
    assert decoded(tokenizer, reply).removesuffix(END[kind]).strip() == content.strip()


def test_a_template_that_rewrites_what_was_said_is_refused(tokenizer: Any) -> None:
    with pytest.raises(BaseError, match="rewrites what was said"):
        form_of(tokenizer, FORGETFUL)


def test_the_system_message_comes_first_and_the_conversation_is_left_alone() -> None:
    before = [dict(message) for message in TALK]
    assert with_system(SYSTEM, TALK) == [{"role": "system", "content": SYSTEM}, *before]
    assert before == TALK
