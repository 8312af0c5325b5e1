"""A conversation with one character (or with the bare base): history, the window, and the words as they come.
Knows no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from neekoctl.stage import Stage
from recipes.engine import Sampling, decode, without_stop
from recipes.exchanges import Messages, with_system
from registry.tables import Character

THOUGHT = "</think>"  # ends one
BASE_SYSTEM = "You are a helpful assistant."


@dataclass
class Reply:
    """What a turn came to."""

    text: str = ""
    new_tokens: int = 0
    seconds: float = 0.0


@dataclass
class Conversation:
    """Who speaks, and what was said so far."""

    stage: Stage
    speaker: Character | None
    with_persona: bool = False
    history: Messages = field(default_factory=list)
    last: Reply = field(default_factory=Reply)

    def __post_init__(self) -> None:
        self._mix = self.stage.mounted(self.speaker) if self.speaker else {}

    @property
    def system_message(self) -> str:
        if self.speaker is None:
            return BASE_SYSTEM
        if not self.with_persona:
            return self.speaker.system_message
        return f"{self.speaker.system_message}\n{self.speaker.description.get('persona', '')}"

    def say(self, text: str, *, max_new_tokens: int, sampling: Sampling) -> Iterator[str]:
        """Yield the reply in pieces; the turn enters the history when it is complete."""
        started = time.monotonic()
        asked = [*self.history, {"role": "user", "content": text}]
        self.last = Reply()
        asked, prompt = self._in_the_window(asked, max_new_tokens)
        max_new_tokens = min(max_new_tokens, self.stage.base.longest - len(prompt))
        for piece in self._pieces(prompt, max_new_tokens, sampling):
            self.last.text += piece
            yield piece
        self.last.seconds = time.monotonic() - started
        said = self.last.text.rpartition(THOUGHT)[2].strip()  # templates take thoughts out of what was said
        self.history = [*asked, {"role": "assistant", "content": said or "…"}]

    def _in_the_window(self, asked: Messages, max_new_tokens: int) -> tuple[Messages, list[int]]:
        """The newest turns that fit the base's window, whole exchanges dropped from the oldest on; and as a prompt."""
        room = max(self.stage.base.longest - max_new_tokens, self.stage.base.longest // 2)
        while True:
            tokens = self.stage.form.prompt(with_system(self.system_message, asked))
            if len(tokens) <= room:
                return asked, tokens
            if len(asked) == 1:
                return asked, tokens[-max(room, 1) :]
            asked = asked[2:]

    def _pieces(self, prompt: list[int], max_new_tokens: int, sampling: Sampling) -> Iterator[str]:
        """Decoded text, held back while a character is still incomplete or may be the end of the turn."""
        base, stop = self.stage.base, self.stage.form.stop
        written: list[int] = []
        shown = ""
        steps = decode(self.stage.bank, [prompt], mix=self._mix, stop=stop, max_new_tokens=max_new_tokens,
                       sampling=sampling)  # fmt: skip
        for (token,) in steps:
            assert token is not None  # the only row: it has not ended while there are steps
            written.append(token)
            self.last.new_tokens += 1
            words = without_stop(written, stop, base.tokenizer.eos_token_id)
            text = base.tokenizer.decode(words, skip_special_tokens=True)
            if not text.endswith("\ufffd") and not _may_be_stopping(words, stop):
                yield text[len(shown) :]
                shown = text


def _may_be_stopping(words: list[int], stop: list[int]) -> bool:
    """Whether the last tokens begin the end of the turn (which may be several tokens long)."""
    return any(words[-length:] == stop[:length] for length in range(1, min(len(stop), len(words) + 1)))
