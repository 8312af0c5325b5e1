"""Conversations as token rows: the prompt form, and which tokens are the character's own words.
Knows the tokenizer and its chat template; nothing of models or blocks.

Every message is encoded as pieces - what leads up to a reply, and the reply itself - in training, scoring and chat
alike, so that a token boundary always falls where generation begins.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from os.path import commonprefix
from typing import Any, NamedTuple

from registry.errors import BaseError

Messages = list[dict[str, str]]
TODAY = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
DAY = datetime(2024, 7, 26)  # for ever: that of templates which know none
SAID = "qzsaid"  # found again in whatever a template makes of it
EXCHANGE: Messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": SAID}]

CHATML = (
    "{{ bos_token or '' }}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Row:
    """Tokens of one conversation; `scored[i]` says that token i is part of a reply (its end-of-turn included)."""

    tokens: list[int]
    scored: list[bool]


class Reply(NamedTuple):
    """One turn of the assistant's, as the template writes it."""

    before: str  # everything up to the end of the reply before
    lead: str  # all since then
    words: str
    whole: str  # with the end of turn that it has once the talk goes on, where the template writes one
    until: str  # everything up to its end


NOTHING_SAID = Reply("", "", "", "", "")


class Frame(NamedTuple):
    """What a template writes about a reply."""

    header: str  # before it, and not before one that is to come: where `add_generation_prompt` does nothing
    last: str  # behind the last reply of a talk
    end: str  # what ends a turn: its own end, or eos where it has none


class PromptForm:
    """The base's own chat template, or ChatML where it has none; folds the system message into the first user turn
    where the template refuses one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        own = tokenizer.chat_template
        self._template = undated((own.get("default") if isinstance(own, dict) else own) or CHATML)
        self._eos: str = tokenizer.eos_token or ""
        self._has_system = self._accepts_system()
        self._refuse_what_cannot_go_on()

    def prompt(self, messages: Messages) -> list[int]:
        """Tokens up to where the next reply begins."""
        replies = self._replies(messages)
        tokens = [token for each in replies for token in self._encode(each.lead, each.before) + self._closed(each)]
        last = replies[-1] if replies else NOTHING_SAID
        return tokens + self._encode(_added(self._render(messages, True), last) + self._frame.header, last.until)

    def answer(self, messages: Messages, reply: list[int], *, ended: bool) -> Row:
        """Tokens up to where the next reply begins, and this one scored; with its end of turn when it has `ended`."""
        prompt, eos = self.prompt(messages), self._tokenizer.eos_token_id
        last = self.stop if self.stop and self.stop[0] != eos else [eos]  # after eos nothing is written
        end = last if ended else []
        return Row(prompt + reply + end, [False] * len(prompt) + [True] * len(reply + end))

    def row(self, messages: Messages, *, last_only: bool = False) -> Row:
        """A whole conversation with its replies scored; `last_only` scores the last reply alone."""
        tokens: list[int] = []
        scored: list[bool] = []
        for each in self._replies(messages):
            before, words = self._encode(each.lead, each.before), self._closed(each)
            if last_only:
                scored = [False] * len(scored)
            tokens += before + words
            scored += [False] * len(before) + [True] * len(words)
        return Row(tokens, scored)

    @cached_property
    def stop(self) -> list[int]:
        """The tokens that end a turn."""
        return self._encode(self._frame.end, "a")

    @cached_property
    def _begins_with_a_space(self) -> bool:
        """Whether any text by itself is read as if a space stood before it (sentencepiece's dummy prefix)."""
        return self._tokens("\na") != self._tokens("\n") + self._tokens("a")

    @cached_property
    def _frame(self) -> Frame:
        header, _, last = self._reply(EXCHANGE)[1].rpartition(SAID)
        goes_on = self._render([*EXCHANGE, *EXCHANGE[:1]], False).partition(SAID)[2]
        return Frame(header if header.strip() else "", last, self._end(last, goes_on) or self._eos)

    def _end(self, last: str, goes_on: str) -> str:
        """What ends a turn whether or not the talk goes on: what some templates write behind the very last turn (eos,
        another mark, the header of a reply that nobody asked for) is none of its own."""
        marks = sorted(filter(goes_on.startswith, self._tokenizer.get_added_vocab()), key=len)
        endings = [last, last.removesuffix(self._eos).rstrip(), *marks[-1:]]
        return next(filter(goes_on.startswith, endings), "")

    def _closed(self, reply: Reply) -> list[int]:
        """Its words and its end of turn, encoded apart: where the end is plain text its first letters would otherwise
        become one token with the last of the words, and `stop` would never come."""
        return self._encode(reply.words, reply.before + reply.lead) + self.stop

    def _replies(self, messages: Messages) -> list[Reply]:
        """Every assistant turn."""
        found: list[Reply] = []
        last = NOTHING_SAID
        header, end_of_talk, end = self._frame
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            lead, whole = self._reply(messages[: index + 1])
            words = whole.removesuffix(end_of_talk).removeprefix(header)
            said = words + end if end_of_talk else words
            last = Reply(last.until, _added(lead, last) + header, words, said, lead + header + said)
            found.append(last)
        return found

    def _reply(self, messages: Messages) -> tuple[str, str]:
        """The text before the last message, and its own. What a prompt begins a reply with (an empty thought) and the
        talk leaves out later is the prompt's."""
        lead, whole = self._render(messages[:-1], True), self._render(messages, False)
        same = len(commonprefix([lead, whole]))
        if same < len(self._render(messages[:-1], False).rstrip()):
            raise BaseError(
                "The base's chat template rewrites what was said before a reply, so it cannot be trained on."
            )
        return lead, whole[same:].rstrip()

    def _refuse_what_cannot_go_on(self) -> None:
        """Raises BaseError where a template fails at once, or at a second turn."""
        self.row(with_system("b", EXCHANGE * 2))

    def _render(self, messages: Messages, generate: bool) -> str:
        if not self._has_system:
            messages = _without_system(messages)
        return self._apply(messages, add_generation_prompt=generate)

    def _apply(self, messages: Messages, **options: Any) -> str:
        """The template's text, with an empty thought where it has room for one.

        Raises:
            BaseError: the template is broken, or refuses such messages.
        """
        import jinja2

        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, chat_template=self._template, tokenize=False, enable_thinking=False, **options
            )
        except (jinja2.TemplateError, TypeError, AttributeError) as error:
            raise BaseError(f"The base's chat template cannot be used ({error}): take another base.") from error
        return text

    def _accepts_system(self) -> bool:
        """Whether it stands in the prompt, and still does once a reply follows."""
        asked = [{"role": "system", "content": SAID}, {"role": "user", "content": "a"}]
        try:
            return all(SAID in self._apply(each) for each in (asked, [*asked, {"role": "assistant", "content": "b"}]))
        except BaseError:
            return False

    def _encode(self, text: str, before: str) -> list[int]:
        """The tokens of a text behind another, with no space between that a tokenizer would put there."""
        if before and text and self._begins_with_a_space:
            known, both = self._tokens(before), self._tokens(before + text)
            if both[: len(known)] == known:  # or its first letters belong to a token of what stands before
                return both[len(known) :]
        return self._tokens(text)

    def _tokens(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False) if text else []


def undated(template: str) -> str:
    """Templates that tell the date tell the same one every day: probes are read as on the day they were measured."""
    return TODAY.sub(lambda call: repr(DAY.strftime(call[2])), template)


def _added(text: str, last: Reply) -> str:
    """What a rendering adds after the `last` reply. Some templates take an empty thought back once the talk goes on;
    it stays where it was written then, so that training and chat read the same.

    Raises:
        BaseError: the reply itself is not there any more.
    """
    if text.startswith(last.until):
        return text[len(last.until) :]
    same = len(commonprefix([text, last.until]))  # the reply begins there: the next turn may end in its words, too
    place = text.find(last.whole, max(0, same - len(last.whole)))
    if place < 0:
        raise BaseError("The base's chat template rewrites what was said before, so it cannot be trained on.")
    return text[place + len(last.whole) :]


def _without_system(messages: Messages) -> Messages:
    if not messages or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{"role": "user", "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def with_system(system: str, messages: Messages) -> Messages:
    """The conversation under its system message."""
    return [{"role": "system", "content": system}, *messages]
