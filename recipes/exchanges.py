"""Conversations as token rows: the prompt form, and which tokens are the character's own words.
Knows the tokenizer and its chat template; nothing of models or blocks.

Every message is encoded as pieces - what leads up to a reply, and the reply itself - in training, scoring and chat
alike, so that a token boundary always falls where generation begins.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from registry.errors import BaseError

Messages = list[dict[str, str]]
TODAY = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
DAY = datetime(2024, 7, 26)  # for ever: that of templates which know none

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


class PromptForm:
    """The base's own chat template, or ChatML where it has none; folds the system message into the first user turn
    where the template refuses one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        own = tokenizer.chat_template
        self._template = undated((own.get("default") if isinstance(own, dict) else own) or CHATML)
        self._eos: str = tokenizer.eos_token or ""
        self._has_system = self._accepts_system()

    def prompt(self, messages: Messages) -> list[int]:
        """Tokens up to where the next reply begins."""
        replies = self._replies(messages)
        tokens = [token for lead, reply, _ in replies for token in self._encode(lead) + self._encode(reply)]
        _, reply, said = replies[-1] if replies else ("", "", "")
        return tokens + self._encode(_added(self._render(messages, True), said, reply))

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
        for lead, reply, _ in self._replies(messages):
            before, words = self._encode(lead), self._encode(reply)
            if last_only:
                scored = [False] * len(scored)
            tokens += before + words
            scored += [False] * len(before) + [True] * len(words)
        return Row(tokens, scored)

    @cached_property
    def stop(self) -> list[int]:
        """The tokens that end a turn."""
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        _, reply, _ = self._replies(messages)[-1]
        return self._encode(reply.partition("b")[2])

    def _replies(self, messages: Messages) -> list[tuple[str, str, str]]:
        """(text since the last reply, reply with its end-of-turn, all until then) for every assistant turn."""
        found: list[tuple[str, str, str]] = []
        said = last = ""
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            lead, whole = self._render(messages[:index], True), self._render(messages[: index + 1], False)
            if not whole.startswith(lead):
                raise BaseError(
                    "The base's chat template rewrites what was said before a reply, so it cannot be trained on."
                )
            reply = whole[len(lead) :].rstrip()
            open_ended = (
                reply.strip() == message["content"].strip()
            )  # the template writes no end of turn: close it with eos
            found.append((_added(lead, said, last), reply + self._eos * open_ended, lead + reply))
            said, last = lead + reply, reply
        return found

    def _render(self, messages: Messages, generate: bool) -> str:
        if not self._has_system:
            messages = _without_system(messages)
        return self._apply(messages, add_generation_prompt=generate)

    def _apply(self, messages: Messages, **options: Any) -> str:
        """The template's text, with an empty thought where it has room for one."""
        text: str = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, tokenize=False, enable_thinking=False, **options
        )  # fmt: skip
        return text

    def _accepts_system(self) -> bool:
        import jinja2

        try:
            text = self._apply([{"role": "system", "content": "qzsys"}, {"role": "user", "content": "a"}])
        except jinja2.TemplateError:
            return False
        return "qzsys" in text

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False) if text else []


def undated(template: str) -> str:
    """Templates that tell the date tell the same one every day: probes are read as on the day they were measured."""
    return TODAY.sub(lambda call: repr(DAY.strftime(call[2])), template)


def _added(text: str, said: str, reply: str) -> str:
    """What a rendering adds to all that was `said`, the last of it a `reply`. Some templates take an empty thought back
    once the talk goes on; it stays where it was written then, so that training and chat read the same.

    Raises:
        BaseError: the reply itself is not there any more.
    """
    if text.startswith(said):
        return text[len(said) :]
    _, kept, added = text.rpartition(reply)
    if not kept:
        raise BaseError("The base's chat template rewrites what was said before, so it cannot be trained on.")
    return added


def _without_system(messages: Messages) -> Messages:
    if not messages or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{"role": "user", "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def with_system(system: str, messages: Messages) -> Messages:
    """The conversation under its system message."""
    return [{"role": "system", "content": system}, *messages]
