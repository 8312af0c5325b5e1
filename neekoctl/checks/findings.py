"""What a check finds of one character: facts only. Knows no verdict, no model and no screen.

Forgetting is Avalanche's (first minus last), with the negative NLL as the measure: NLL now minus NLL on the day of
onboarding, in nats a token. Chaudhry et al. (arXiv 1801.10112, eq. 3) take the best reading instead of the first;
`neekoctl history` has them all.
"""

import math
from dataclasses import dataclass, field

from neekoctl.gating import reaches
from recipes.scores import Score, mean_nll
from registry.tables import Character


@dataclass(frozen=True)
class Flip:
    """A greedy reply that is another now."""

    question: str
    then: str
    now: str


@dataclass(frozen=True)
class Route:
    """Where the gate takes a probe: a name, "ambiguous" or "unknown"."""

    owner: str
    question: str
    then: str
    now: str

    @property
    def lost(self) -> bool:
        return reaches(self.then, self.owner) and not reaches(self.now, self.owner)

    @property
    def gained(self) -> bool:
        return reaches(self.now, self.owner) and not reaches(self.then, self.owner)


@dataclass
class Checked:
    """What was found of one character; what could not be measured stays empty."""

    row: Character
    faults: dict[str, str] = field(default_factory=dict)  # of its block and records, in words
    then: list[Score] = field(default_factory=list)  # of each probe on the day of onboarding
    now: list[Score] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)  # how hardware or versions differ from that day
    flips: list[Flip] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    rivals: dict[str, list[float]] = field(default_factory=dict)  # rival's block -> nats of each probe under it
    distinct: tuple[list[Score], list[Score]] | None = None  # a rival's nats less the own, by probe: then and now

    @property
    def forgetting(self) -> float | None:
        return mean_nll(self.now) - mean_nll(self.then) if self.then else None

    @property
    def comparable(self) -> bool:
        """Whether what was recorded is what was measured that day."""
        return not self.faults.keys() & {"probes", "baseline", "tokens"}

    @property
    def is_measurable(self) -> bool:
        """Whether there is a block, and the probes it was measured by; anything else is told and not run."""
        return not self.faults.keys() & {"files", "probes", "baseline"}

    @property
    def is_readable(self) -> bool:
        """Whether what was measured belongs into the history: of its own block, and numbers."""
        own = not self.faults.keys() & {"files", "block", "record", "probes", "baseline", "tokens", "run"}
        return own and bool(self.now) and all(math.isfinite(each.total) for each in self.now)
