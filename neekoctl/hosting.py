"""Gives every turn of a conversation to whom the gate says is meant. Knows the gate and conversations; no terminal."""

from __future__ import annotations

from dataclasses import dataclass, field

from neekoctl.conversation import Conversation
from neekoctl.routing import Router
from neekoctl.stage import Stage, stage_for
from recipes.gate import Decision
from recipes.manner import Manner
from recipes.sources import Say
from recipes.words import words_in
from registry.store import Registry
from registry.tables import Character

WORDS_OF_AN_ANSWER = 6  # that name nobody: "the queen of Egypt"


@dataclass
class Host:
    """A conversation whose speaker changes as the user's words ask for it; what was said stays said."""

    registry: Registry
    router: Router
    base: str | None
    say: Say
    with_persona: bool = False
    speaker: Character | None = None  # the last character that answered
    turns: list[str] = field(default_factory=list)  # the user's, to characters: one to nobody tells nothing of them
    decision: Decision | None = None
    stage: Stage | None = None
    _conversation: Conversation | None = None
    _asked: str | None = None  # what waits for an answer to "who is meant?"
    _before: tuple[list[str], Character | None, str | None] = field(default_factory=lambda: ([], None, None))

    def turn(self, text: str) -> tuple[Conversation | None, str]:
        """Who answers what; nobody (None) when the user must say first who is meant."""
        self._before = list(self.turns), self.speaker, self._asked  # for `take_back`
        decision = self.decision = self.router.route([*self.turns, text], self.speaker)
        refused = self._is_refused(text)
        if self._asked is not None and self._is_only_an_answer(text, decision):
            text = self._asked
        self._asked = text if decision.outcome == "ambiguous" else None
        if refused:
            self.speaker = None
        if decision.outcome == "ambiguous":
            return None, text
        if decision.owner is None:
            return self._with(None), text
        self.turns.append(text)
        self.speaker = self.router.character(decision.owner)
        return self._with(self.speaker), text

    def _is_only_an_answer(self, text: str, decision: Decision) -> bool:
        """Whether it says who is meant, by name (which several may have) or in a few words, and asks nothing else. Who
        spoke before speaks on whatever is said, so in a few words only another is named."""
        names = self.router.gate.names
        left = names.besides_names(text)
        if names.mentions(text):
            return set(left) <= words_in("courtesy") | words_in("greetings")
        is_another = decision.owner is not None and (self.speaker is None or decision.owner != self.speaker.id)
        return is_another and len(left) <= WORDS_OF_AN_ANSWER and not text.rstrip().endswith(("?", "？"))

    def _is_refused(self, text: str) -> bool:
        """Whether it is said that the speaker shall not answer."""
        found = self.router.gate.names.mentions(text)
        speaker = self.speaker and self.speaker.id
        return any(each.manner == Manner.REFUSED and speaker in each.owners for each in found)

    def question(self) -> str:
        """What to ask the user back."""
        assert self.decision is not None
        names = [self.router.people[each.owner].name for each in self.decision.candidates[:2]]
        return f"Who is meant: {' or '.join(names)}?"

    def take_back(self) -> None:
        """As if the last turn had not been: nobody has answered it."""
        self.turns, self.speaker, self._asked = self._before

    def reset(self) -> None:
        """Forget what was said, and who said it."""
        self.turns.clear()
        self.speaker = self._conversation = self._asked = None

    def _with(self, speaker: Character | None) -> Conversation:
        """The conversation so far, continued by `speaker` (None: the base model)."""
        history = self._conversation.history if self._conversation else []
        self.stage = stage_for(self.registry, speaker, self.base, say=self.say, standing=self.stage)
        self._conversation = Conversation(self.stage, speaker, self.with_persona, history)
        return self._conversation
