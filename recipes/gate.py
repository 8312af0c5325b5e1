"""The gate: from what the user says, and the conversation so far, to a character, to "ambiguous", or to "unknown".
Knows mentions, vectors and probabilities; nothing of tables, screens or models that speak.

Whoever is called upon or spoken to decides; where nobody is, the words are compared with everybody's prototypes:

    score_c(t) = mean of the `NEAREST` largest <t, p> over the prompts p that c is known to answer
    logit_c    = sharpness * (sum over turns of decay^age * score_c(turn)) + sticky where c is speaking
    logit_0    = the same over requests that are nobody's (recipes/gate_data/nobody.txt), + nobody
    P          = softmax

`sharpness` and `nobody` are fitted on held-out prompts, each scored without itself; `sure` is the least probability at
which the prompts decided so were right often enough. Signals can be taken alone: see `SIGNALS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

import numpy as np

from recipes.mentions import Manner, Mention, Names
from registry.errors import UsageError
from registry.roles import KINDS, Roles

SIGNALS = ("all", "mention", "prototypes", "head", "similarity")
NEAREST = 8  # prototypes of a character that speak for it; one alone is often a chance likeness
CANDIDATES = 32  # characters that are scored exactly, of whoever has a prototype among the nearest
HITS = 512  # prototypes looked at to find them
TURNS = 6  # of the user's, newest last; what was said longer ago says nothing any more
NOBODY = 0  # no character has this id
SHOWN = 5
PROMPT = KINDS.index("prompt")

Outcome = Literal["match", "ambiguous", "unknown"]


@dataclass(frozen=True)
class Settings:
    """What is fitted, and kept as a version of the gate."""

    sharpness: float = 20.0  # of cosine
    nobody: float = 0.0  # added to the score of nobody
    sure: float = 0.6  # least probability of a match
    lost: float = 0.5  # least probability of nobody to call it unknown
    decay: float = 0.7  # of a turn's weight with its age
    sticky: float = 2.0  # added to the logit of whoever is speaking

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> "Settings":
        return cls(**{key: float(kept[key]) for key in asdict(cls())})


@dataclass(frozen=True)
class Candidate:
    """A character who may be meant; score is a cosine (1 when named)."""

    owner: int
    score: float
    probability: float


@dataclass(frozen=True)
class Decision:
    """Whom the user means, and why."""

    outcome: Outcome
    owner: int | None
    candidates: list[Candidate]
    reason: str
    stranger: str | None = None  # the name of somebody who is not here


@dataclass
class Gate:
    """Everybody's names and prototypes with the fitted settings; `head` maps vectors to where roles lie apart."""

    names: Names
    roles: Roles
    settings: Settings
    nobody: np.ndarray  # (n, d) requests that are nobody's
    head: np.ndarray | None = None  # (d, d): x -> x + head x
    signal: str = "all"
    _means: dict[int, np.ndarray] = field(default_factory=dict)

    def route(self, text: str, vectors: np.ndarray, speaker: int | None = None) -> Decision:
        """Whom `text` means. `vectors` (turns, d) are the user's turns under the roles' encoder, `text`'s last;
        `speaker` is whoever answered so far.

        Raises:
            UsageError: there is no text.
        """
        if not text.strip():
            raise UsageError("There is nothing to route: give some text.")
        mentions = self.names.mentions(text) if self.signal in ("all", "mention") else []
        if named := self._named(text, mentions, speaker):
            return named
        if self.signal == "mention":
            return Decision("unknown", None, [], "nobody is named")
        refused = {owner for each in mentions if each.manner <= Manner.TOPIC for owner in each.owners}
        return self._by_words(vectors[-TURNS:], speaker, refused)

    # by name

    def _named(self, text: str, mentions: list[Mention], speaker: int | None) -> Decision | None:
        """The decision when somebody is called upon, spoken to or, with nobody speaking yet, named."""
        strange = self.names.stranger(text) if self.signal in ("all", "mention") else None
        manner = max((each.manner for each in mentions), default=Manner.REFUSED)
        if strange and manner < Manner.CALLED:
            return Decision("unknown", None, [], f"{strange} is nobody who lives here", strange)
        if manner < (Manner.NAMED if speaker is None else Manner.ADDRESSED):
            return None
        meant = [each for each in mentions if each.manner == manner]
        if manner == Manner.CALLED:
            meant = meant[-1:]  # "as Caesar, no, as Cleopatra": the last word counts
        owners = list(dict.fromkeys(owner for each in meant for owner in sorted(each.owners)))
        if speaker in owners and manner < Manner.CALLED:
            owners = [speaker]
        shares = [Candidate(owner, 1.0, 1 / len(owners)) for owner in owners]
        how = {Manner.CALLED: "called upon", Manner.ADDRESSED: "spoken to", Manner.NAMED: "named"}[manner]
        if len(owners) == 1:
            return Decision("match", owners[0], shares, f"{how} by name")
        return Decision("ambiguous", None, shares[:SHOWN], f"{len(owners)} characters are {how}")

    # by what is said

    def _by_words(self, turns: np.ndarray, speaker: int | None, refused: set[int]) -> Decision:
        owners = [owner for owner in self._near(turns, speaker) if owner not in refused]
        if not owners:
            return Decision("unknown", None, [], "nobody is left to mean")
        scores = self.scores(turns, owners)  # (turns, candidates + 1), nobody last
        logits = self.logits(scores)
        if speaker in owners:
            logits[owners.index(speaker)] += self.settings.sticky
        chances = _softmax(logits)
        order = np.argsort(-chances[:-1])[:SHOWN]
        found = [Candidate(owners[at], float(scores[-1, at]), float(chances[at])) for at in order]
        return self._decided(found, float(chances[-1]))

    def _decided(self, found: list[Candidate], nobody: float) -> Decision:
        best = found[0]
        if nobody >= self.settings.lost:
            return Decision("unknown", None, found, f"nobody's business, with probability {nobody:.2f}")
        if best.probability >= self.settings.sure:
            return Decision("match", best.owner, found, f"likeliest by what is said, {best.probability:.2f}")
        return Decision("ambiguous", None, found, f"nobody reaches {self.settings.sure:.2f}")

    def _near(self, turns: np.ndarray, speaker: int | None) -> list[int]:
        """Whoever has a prototype among the nearest of the newest turns, best first."""
        if len(self.roles.everybody) <= CANDIDATES:
            return self.roles.everybody
        rows = self.roles.nearest(turns, HITS)
        found = [int(self.roles.owners[row]) for row in rows.T.flatten() if row >= 0]
        speaking = [speaker] if speaker in self.roles.everybody else []
        return list(dict.fromkeys([*speaking, *found]))[:CANDIDATES]

    def scores(self, turns: np.ndarray, owners: Sequence[int]) -> np.ndarray:
        """(turns, d) -> (turns, owners + 1), in cosines; the last is nobody's."""
        columns = [self._score(turns, self._rows(owner), owner) for owner in owners]
        return np.stack([*columns, self._score(turns, self.nobody, NOBODY) + self.settings.nobody], axis=1)

    def _rows(self, owner: int) -> np.ndarray:
        """The prototypes that speak for a character: its prompts, or all it has when there are few."""
        rows = self.roles.rows(owner)
        vectors, kinds = self.roles.vectors[rows], self.roles.kinds[rows]
        prompts = vectors[kinds == PROMPT]
        return prompts if len(prompts) >= NEAREST else vectors

    def _score(self, turns: np.ndarray, rows: np.ndarray, owner: int) -> np.ndarray:
        if self.signal == "similarity" and owner != NOBODY:
            persona = self.roles.vectors[self.roles.rows(owner)][self.roles.kinds[self.roles.rows(owner)] != PROMPT]
            return turns @ persona[0]
        if self.signal == "head":
            return self.apart(turns) @ self._mean(owner, rows)
        return nearest_mean(turns @ rows.T)

    def apart(self, vectors: np.ndarray) -> np.ndarray:
        """(n, d) through the head, of unit length."""
        return vectors if self.head is None else _unit(vectors + vectors @ self.head.T)

    def _mean(self, owner: int, rows: np.ndarray) -> np.ndarray:
        if owner not in self._means:
            self._means[owner] = _unit(self.apart(rows).mean(0))
        return self._means[owner]

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """(turns, n) -> (n,): newer turns weigh more."""
        ages = np.arange(len(scores))[::-1]
        total: np.ndarray = self.settings.sharpness * (self.settings.decay**ages @ scores)
        return total


def nearest_mean(cosines: np.ndarray) -> np.ndarray:
    """(m, n) -> (m,): the mean of the `NEAREST` largest of each row."""
    count = min(NEAREST, cosines.shape[1])
    largest = np.partition(cosines, -count, axis=1)[:, -count:]
    mean: np.ndarray = largest.mean(1)
    return mean


@cache
def nobodys_requests() -> list[str]:
    """Requests that are nobody's: weather, code, recipes, errands."""
    text = (resources.files("recipes") / "gate_data" / "nobody.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line]


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares: np.ndarray = np.exp(logits - logits.max())
    return shares / shares.sum()


def _unit(vectors: np.ndarray) -> np.ndarray:
    long: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return long
