"""The gate: from what the user says, and the conversation so far, to a character, to "ambiguous", or to "unknown".
Knows mentions, vectors and probabilities; nothing of tables, screens or models that speak.

Whoever is called upon or spoken to decides; where nobody is, the words are compared with what speaks for everybody:

    logit_c = sharpness * sum over turns of decay^age * score_c(turn)      (+ sticky where c is speaking)
    P       = softmax, with nobody as one more c

    signal       score_c(t)
    prototypes   mean of the `NEAREST` largest <t, p> over the prompts that c is known to answer, its facts, and the
                 passages of its persona (the default)
    similarity   <t, role embedding of c>: Neeko's way (arXiv 2402.13717, section 3.3)
    head         <h(t), mean of h(p)>, h a contrastive map learned on everybody's prototypes

Nobody's score is that of requests that are nobody's (recipes/gate_data/nobody.txt), moved by `nobody`. All numbers are
fitted by `recipes.gate_fitting`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import numpy as np

from recipes.manner import Manner
from recipes.mentions import Mention, Names
from registry.errors import UsageError
from registry.names import CONTROLS, as_utf8
from registry.roles import KINDS, Roles

SIGNALS = ("all", "mention", "prototypes", "head", "similarity")  # all: mention, then prototypes
SCORED = ("prototypes", "similarity", "head")
NEAREST = 8  # prototypes of a character that speak for it; one alone is often a chance likeness
CANDIDATES = 32  # characters that are scored exactly, of whoever has a prototype among the nearest
HITS = 512  # prototypes looked at to find them
TURNS = 6  # of the user's, newest last; what was said longer ago says nothing any more
LONGEST_TURN = 2000  # characters of a turn that are embedded: an encoder's window is shorter
SHOWN = 5
PROMPT = KINDS.index("prompt")

Outcome = Literal["match", "ambiguous", "unknown"]
Encode = Callable[[Sequence[str]], np.ndarray]  # n texts -> (n, d) of unit length


@dataclass(frozen=True)
class Settings:
    """What is fitted for one signal, and kept in a version of the gate."""

    sharpness: float = 20.0  # of cosine
    nobody: float = 0.1  # added to the score of nobody
    sure: float = 0.6  # least probability of a match
    lost: float = 0.5  # least probability of nobody to call it unknown
    decay: float = 0.7  # of a turn's weight with its age
    sticky: float = 2.0  # added to the logit of whoever is speaking

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> "Settings":
        return cls(**{key: float(kept.get(key, default)) for key, default in asdict(cls()).items()})


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


class Scorer:
    """What speaks for whom, as numbers: one signal over prototypes."""

    def __init__(self, roles: Roles, nobody: np.ndarray, signal: str, head: np.ndarray | None = None) -> None:
        self.roles, self.nobody, self.signal, self.head = roles, nobody, signal, head  # nobody (n, d), head (d, d)
        if signal == "head" and head is None:
            raise UsageError("The gate has no learned head yet: `neekoctl gate rebuild` trains one.")

    def scores(self, turns: np.ndarray, owners: Sequence[int]) -> np.ndarray:
        """(turns, d) -> (turns, owners + 1), the last column nobody's."""
        columns = [self.score(turns, self.prototypes(owner)) for owner in owners]
        return np.stack([*columns, self.score(turns, self.nobody)], axis=1)

    def prototypes(self, owner: int) -> np.ndarray:
        """(n, d): all that speaks for a character; its role embedding alone where the signal is similarity."""
        rows = self.roles.rows(owner)
        vectors: np.ndarray = self.roles.vectors[rows]
        return vectors[self.roles.kinds[rows] != PROMPT][:1] if self.signal == "similarity" else vectors

    def score(self, turns: np.ndarray, rows: np.ndarray, itself: np.ndarray | None = None) -> np.ndarray:
        """(m, d), (n, d) -> (m,); `itself` (m,) names the row that each turn is, and that is left out."""
        if self.signal == "head":
            return self._by_head(turns, rows, itself)
        cosines = turns @ rows.T
        if itself is not None and (self.signal == "prototypes" or rows is self.nobody):  # a role is no prompt
            cosines[np.arange(len(turns)), itself] = -1.0
        return nearest_mean(cosines)

    def _by_head(self, turns: np.ndarray, rows: np.ndarray, itself: np.ndarray | None) -> np.ndarray:
        near, apart = self.apart(turns), self.apart(rows)
        total = apart.sum(0) - (0 if itself is None else apart[itself])
        cosines: np.ndarray = (near * _unit(total)).sum(-1)
        return cosines

    def apart(self, vectors: np.ndarray) -> np.ndarray:
        """(n, d) through the head, of unit length."""
        return vectors if self.head is None else _unit(vectors + vectors @ self.head.T)


@dataclass
class Gate:
    """Everybody's names and prototypes with the fitted settings."""

    names: Names
    scorer: Scorer
    settings: Settings
    signal: str = "all"

    @property
    def roles(self) -> Roles:
        return self.scorer.roles

    def route(self, turns: Sequence[str], encode: Encode, speaker: int | None = None) -> Decision:
        """Whom the newest of the user's `turns` means; `speaker` is whoever answered so far. Texts are embedded only
        when no name decides.

        Raises:
            UsageError: there is no text.
        """
        turns = [readable(turn) for turn in turns]
        if not turns or not turns[-1].strip():
            raise UsageError("There is nothing to route: give some text.")
        mentions = self.names.mentions(turns[-1]) if self.signal in ("all", "mention") else []
        if named := self._named(turns[-1], mentions, speaker):
            return named
        if self.signal == "mention":
            return Decision("unknown", None, [], "nobody is named")
        refused, topics = ({owner for each in mentions if each.manner == manner for owner in each.owners}
                           for manner in (Manner.REFUSED, Manner.TOPIC))  # fmt: skip
        vectors = encode([turn[-LONGEST_TURN:] for turn in turns[-TURNS:]])
        return self._by_words(vectors, None if speaker in refused else speaker, refused | topics - {speaker})

    # by name

    def _named(self, text: str, mentions: list[Mention], speaker: int | None) -> Decision | None:
        """The decision when somebody is called upon, spoken to or, with nobody speaking yet, named."""
        if self.signal not in ("all", "mention"):
            return None
        manner = max((each.manner for each in mentions), default=Manner.REFUSED)
        strange = self.names.stranger(text, speaker is not None or manner == Manner.ADDRESSED)
        if strange and manner < Manner.CALLED:
            return Decision("unknown", None, [], f"{strange} does not live here")
        if manner < (Manner.NAMED if speaker is None else Manner.ADDRESSED):
            return None
        meant = [each for each in mentions if each.manner == manner]
        if manner == Manner.CALLED:
            meant = meant[-1:]  # "as Caesar, no, as Cleopatra": the last word counts
        owners = list(dict.fromkeys(owner for each in meant for owner in sorted(each.owners)))
        shares = [Candidate(owner, 1.0, 1 / len(owners)) for owner in owners]
        how = {Manner.CALLED: "called upon", Manner.ADDRESSED: "spoken to", Manner.NAMED: "named"}[manner]
        if len(owners) == 1:
            return Decision("match", owners[0], shares, f"{how} by name")
        return Decision("ambiguous", None, shares[:SHOWN], f"{len(owners)} characters are {how}")

    # by what is said

    def _by_words(self, turns: np.ndarray, speaker: int | None, aside: set[int]) -> Decision:
        owners = [owner for owner in self._near(turns, speaker) if owner not in aside]
        if not owners:
            return Decision("unknown", None, [], "nobody is left to be meant")
        scores = self.scorer.scores(turns, owners)  # (turns, candidates + 1), nobody last
        logits = logits_of(scores, self.settings)
        if speaker in owners:
            logits[owners.index(speaker)] += self.settings.sticky
        chances = np.exp(log_softmax(logits[None])[0])
        order = np.argsort(-chances[:-1])[:SHOWN]
        found = [Candidate(owners[at], float(scores[-1, at]), float(chances[at])) for at in order]
        return self._decided(found, float(chances[-1]), speaker)

    def _decided(self, found: list[Candidate], nobody: float, speaker: int | None) -> Decision:
        best = found[0]
        if nobody >= self.settings.lost:
            return Decision("unknown", None, found, f"a request for nobody in particular, {nobody:.2f}")
        if best.probability >= self.settings.sure:
            return Decision("match", best.owner, found, f"the likeliest by what is said, {best.probability:.2f}")
        if speaker is not None and speaker in self.roles:
            return Decision("match", speaker, found, "nobody else is clearly meant")
        return Decision("ambiguous", None, found, f"nobody reaches {self.settings.sure:.2f} by what is said")

    def _near(self, turns: np.ndarray, speaker: int | None) -> list[int]:
        """Whoever has a prototype among the nearest of the turns, best first."""
        if len(self.roles.everybody) <= CANDIDATES:
            return self.roles.everybody
        rows = self.roles.nearest(turns, HITS)
        found = [int(self.roles.owners[row]) for row in rows.T.flatten() if row >= 0]
        speaking = [speaker] if speaker is not None and speaker in self.roles else []
        return list(dict.fromkeys([*speaking, *found]))[:CANDIDATES]


def readable(text: str) -> str:
    """Without control characters, and as UTF-8 can have it; line ends and tabs stay."""
    return CONTROLS.sub(" ", as_utf8(text))


def logits_of(scores: np.ndarray, settings: Settings) -> np.ndarray:
    """(turns, n + 1) -> (n + 1,): newer turns weigh more; the last column is nobody's."""
    moved = scores.copy()
    moved[:, -1] += settings.nobody
    total: np.ndarray = settings.sharpness * (settings.decay ** np.arange(len(scores))[::-1] @ moved)
    return total


def nearest_mean(cosines: np.ndarray) -> np.ndarray:
    """(m, n) -> (m,): the mean of the `NEAREST` largest of each row."""
    count = min(NEAREST, cosines.shape[1])
    mean: np.ndarray = np.partition(cosines, -count, axis=1)[:, -count:].mean(1)
    return mean


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(m, n) by row."""
    shifted = logits - logits.max(1, keepdims=True)
    total: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return total


@cache
def nobodys_requests() -> list[str]:
    """Requests that are nobody's: weather, code, recipes, errands."""
    text = (resources.files("recipes") / "gate_data" / "nobody.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line]


def _unit(vectors: np.ndarray) -> np.ndarray:
    long: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return long
