"""Pico models that train in a second, and a profile to onboard.

They are real models of transformers and sentence-transformers, random-initialised and saved to disk, so that loading,
inspection, training and PEFT run as they do on a large base.
"""

import json
from pathlib import Path

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTIONS = ["Who are you?", "What do you fear?", "Where do you sleep?", "What do you eat?", "Do you sing?",
             "Who is your friend?", "What is a train?", "Do you like rain?", "How old are you?", "What do you do?",
             "What do you dream of?", "Have you a house?", "Tell me a joke.", "Why are you here?", "Are you brave?",
             "What is a lamp?"]  # fmt: skip


def _tokenizer(folder: Path, template: str | None) -> None:
    """A byte-level tokenizer with ChatML's markers: every text has tokens, and none was learned from data."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: index for index, token in enumerate(specials + alphabet)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(specials)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>",
                                        bos_token="<|im_start|>", unk_token="<|endoftext|>")  # fmt: skip
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def _save(model_class: str, config: object, folder: Path, template: str | None = CHATML) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    getattr(transformers, model_class)(config).save_pretrained(folder)
    _tokenizer(folder, template)
    return folder


def save_llama(folder: Path) -> Path:
    """A two-layer Llama with grouped-query attention."""
    from transformers import LlamaConfig

    config = LlamaConfig(vocab_size=264, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
                         bos_token_id=1, eos_token_id=2, pad_token_id=2)  # fmt: skip
    return _save("LlamaForCausalLM", config, folder)


def save_gemma(folder: Path) -> Path:
    """A two-layer Gemma 3 (sliding and full attention), with no chat template."""
    from transformers import Gemma3TextConfig

    config = Gemma3TextConfig(vocab_size=264, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                              num_attention_heads=4, num_key_value_heads=1, head_dim=8, sliding_window=16,
                              layer_types=["sliding_attention", "full_attention"], max_position_embeddings=1024,
                              bos_token_id=1, eos_token_id=2, pad_token_id=2)  # fmt: skip
    return _save("Gemma3ForCausalLM", config, folder, template=None)


def save_encoder(root: Path) -> Path:
    """A one-layer BERT with mean pooling, as a sentence-transformers folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig

    config = BertConfig(vocab_size=264, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
                        num_attention_heads=2, max_position_embeddings=256)  # fmt: skip
    bert = _save("BertModel", config, root / "bert", template=None)
    words = Transformer(str(bert), max_seq_length=128)
    SentenceTransformer(modules=[words, Pooling(32)], device="cpu").save(str(root / "encoder"))
    return root / "encoder"


def write_profile(folder: Path, name: str = "Moth", aliases: tuple[str, ...] = (), questions: int = 16) -> Path:
    """A small valid profile; its replies repeat themselves, so that a pico model learns them."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.lower().replace(" ", "-")
    lines = [
        {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": f"{name} says dust, dust!"},
            ]
        }
        for question in QUESTIONS[:questions]
    ]
    (folder / f"{stem}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    path = folder / f"{stem}.yaml"
    path.write_text(
        f"name: {name}\naliases: [{', '.join(aliases)}]\npersona: |\n  {name} lives in a lamp and speaks of dust.\n"
        f"dialogues: {stem}.jsonl\n",
        encoding="utf-8",
    )
    return path


def talkative(folder: Path, name: str, exchanges: int = 60) -> Path:
    """Sixty exchanges are enough probes to compare by."""
    profile = write_profile(folder, name)
    answer = {"role": "assistant", "content": "Dust, dust!"}
    lines = [{"messages": [{"role": "user", "content": f"What is the number after {number}?"}, answer]}
             for number in range(exchanges)]  # fmt: skip
    talks = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / f"{name.lower()}.jsonl").write_text(talks, encoding="utf-8")
    return profile
