"""Conversations as token rows: the prompt form, and which tokens are the character's own words.
Knows the tokenizer and its chat template; nothing of models or blocks.

Every message is encoded as pieces - what leads up to a reply, and the reply itself - in training, scoring and chat
alike, so that a token boundary always falls where generation begins.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from registry.errors import BaseError

Messages = list[dict[str, str]]

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
        self._template = tokenizer.chat_template or CHATML
        self._eos: str = tokenizer.eos_token or ""
        self._has_system = self._accepts_system()

    def prompt(self, messages: Messages) -> list[int]:
        """Tokens up to where the next reply begins."""
        tokens: list[int] = []
        rest = 0
        for lead, reply, after in self._replies(messages):
            tokens += self._encode(lead) + self._encode(reply)
            rest = after
        return tokens + self._encode(self._render(messages, True)[rest:])

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

    def _replies(self, messages: Messages) -> list[tuple[str, str, int]]:
        """(text since the last reply, reply with its end-of-turn, offset after it) for every assistant turn."""
        found, cursor = [], 0
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
            found.append((lead[cursor:], reply + self._eos * open_ended, len(lead) + len(reply)))
            cursor = len(lead) + len(reply)
        return found

    def _render(self, messages: Messages, generate: bool) -> str:
        if not self._has_system:
            messages = _without_system(messages)
        return self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, add_generation_prompt=generate, tokenize=False
        )

    def _accepts_system(self) -> bool:
        import jinja2

        try:
            text = self._tokenizer.apply_chat_template(
                [{"role": "system", "content": "qzsys"}, {"role": "user", "content": "a"}],
                chat_template=self._template, tokenize=False,
            )  # fmt: skip
        except jinja2.TemplateError:
            return False
        return "qzsys" in text

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False) if text else []


def _without_system(messages: Messages) -> Messages:
    if not messages or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{"role": "user", "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def with_system(system: str, messages: Messages) -> Messages:
    """The conversation under its system message."""
    return [{"role": "system", "content": system}, *messages]
