"""What the measurements of a check mean: five sections, each with a verdict of its own.
Knows no model, no registry file and no screen.

Forgetting is Avalanche's (first minus last), with the negative NLL as the measure: NLL now minus NLL on the day of
onboarding, in nats a token. Backward transfer is that of Lopez-Paz and Ranzato (arXiv 1706.08840, eq. 3), over
everybody but the newest: its mean, with the sign turned. Chaudhry et al. (arXiv 1801.10112, eq. 3) take the best
reading instead of the first; `neekoctl history` has them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from neekoctl.checks.tolerances import Tolerances
from registry.tables import Character

if TYPE_CHECKING:
    from recipes.likelihood import Difference, Score

SECTIONS = ("weights", "likelihood", "replies", "gate", "style")
AMBIGUOUS = "ambiguous"


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
        """Somebody else's answer is a loss, and so is nobody's; a question back is not."""
        return self.reached(self.then) and not self.reached(self.now)

    @property
    def gained(self) -> bool:
        return self.reached(self.now) and not self.reached(self.then)

    def reached(self, where: str) -> bool:
        return where in (self.owner, AMBIGUOUS)


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
        return _mean(self.now) - _mean(self.then) if self.then else None

    @property
    def comparable(self) -> bool:
        """Whether what was recorded is what was measured that day."""
        return not self.faults.keys() & {"probes", "baseline"}


def _mean(scores: Sequence[Score]) -> float:
    return sum(each.total for each in scores) / max(1, sum(each.tokens for each in scores))


@dataclass(frozen=True)
class Judged:
    """One character under the tolerances: the complaints of each section, and the figures behind them."""

    found: Checked
    allowed: Tolerances

    @cached_property
    def loss(self) -> Difference | None:
        """Of likelihood since the day of onboarding."""
        return _difference(self.found.now, self.found.then, self.allowed)

    @cached_property
    def drift(self) -> Difference | None:
        """Of distinctness since it was first measured."""
        return _difference(*self.found.distinct, self.allowed) if self.found.distinct else None

    @cached_property
    def complaints(self) -> dict[str, list[str]]:
        behaviour = (self._likelihood(), self._replies(), self._gate(), self._style())
        told = behaviour if self.found.comparable else [()] * len(behaviour)
        return dict(zip(SECTIONS, map(list, (self.found.faults.values(), *told)), strict=True))

    def _likelihood(self) -> Iterable[str]:
        forgetting, elsewhere = self.found.forgetting, bool(self.found.elsewhere)
        limit = self.allowed.likelihood_elsewhere if elsewhere else self.allowed.likelihood
        if forgetting is None or forgetting <= limit:  # NaN is neither
            return
        if not (elsewhere and self.loss and self.loss.low <= 0):  # at home nothing is left to chance
            yield f"the held-out likelihood fell by {forgetting:.4f} nats a token"

    def _replies(self) -> Iterable[str]:
        flips, asked = len(self.found.flips), len(self.found.now)
        if not self.found.elsewhere and flips > self.allowed.replies * asked:
            yield f"{flips} of {asked} greedy replies differ"

    def _gate(self) -> Iterable[str]:
        routes = self.found.routes
        if is_loss(routes, self.allowed):
            yield f"the gate no longer finds it for {flips(routes)[0]} of {len(routes)} questions"

    def _style(self) -> Iterable[str]:
        if self.drift and self.drift.mean > self.allowed.style and self.drift.low > 0:
            yield f"its replies lost {self.drift.mean:.4f} nats a token of distinctness"


def _difference(first: Sequence[Score], second: Sequence[Score], allowed: Tolerances) -> Difference | None:
    from recipes.likelihood import paired_bootstrap

    if len(first) < 2 or any(each.total != each.total for each in (*first, *second)):
        return None
    return paired_bootstrap(first, second, 1 - allowed.significance)


def flips(routes: Sequence[Route]) -> tuple[int, int]:
    """Questions that no longer reach their owners, and those that do so now."""
    return sum(each.lost for each in routes), sum(each.gained for each in routes)


def mcnemar(lost: int, gained: int) -> float:
    """The chance of so many losses among the flips if losing were as likely as gaining: the exact test, one-sided
    (McNemar, 1947, with the binomial distribution)."""
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, alternative="greater").pvalue) if lost + gained else 1.0


def is_loss(routes: Sequence[Route], allowed: Tolerances) -> bool:
    """Whether the gate finds too few: more are lost than tolerated, and it is no chance. Fewer than five flips can
    never tell, at the usual significance."""
    lost, gained = flips(routes)
    return lost - gained > allowed.gate * len(routes) and mcnemar(lost, gained) < allowed.significance


def entry(judged: Judged, sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One character of the document of DESIGN 9; what its section tolerates is told and is no regression."""
    found, loss, drift = judged.found, judged.loss, judged.drift
    lost, gained = flips(found.routes)
    told = [words for section in SECTIONS for words in judged.complaints[section]]
    return {
        "name": found.row.name,
        "weights_identical": not found.faults,
        "nll_baseline": _number(found.then and _mean(found.then)),
        "nll_now": _number(found.then and _mean(found.now)),
        "forgetting": _number(found.forgetting),
        "interval": [loss.low, loss.high] if loss else None,
        "probes": [{"nll_baseline": then.nll, "nll_now": now.nll}
                   for then, now in zip(found.then, found.now, strict=True)],
        "replies": len(found.now),
        "replies_identical": len(found.now) - len(found.flips),
        "flips": [vars(each) for each in found.flips],
        "same_environment": not found.elsewhere,
        "elsewhere": found.elsewhere,
        "questions": len(found.routes),
        "found_baseline": sum(route.reached(route.then) for route in found.routes),
        "found": sum(route.reached(route.now) for route in found.routes),
        "lost": lost,
        "gained": gained,
        "distinctness_baseline": _mean(found.distinct[0]) if found.distinct else None,
        "distinctness": _mean(found.distinct[1]) if found.distinct else None,
        "drift": drift.mean if drift else None,
        "complaints": judged.complaints,
        "regressed": any(judged.complaints[name] and sections[name]["verdict"] == "regressed" for name in SECTIONS),
        "complaint": "; ".join(told),
    }  # fmt: skip


def _number(value: Any) -> float | None:
    """JSON knows no NaN: what was not measured and what is no number are null, and the complaint tells which."""
    return value if isinstance(value, float) and math.isfinite(value) else None


def sections(judged: Sequence[Judged], gate: dict[str, Any], allowed: Tolerances) -> dict[str, dict[str, Any]]:
    """The five sections of the document, each with its verdict."""
    figures = {"weights": _weights(judged), "likelihood": _likelihood(judged), "replies": _replies(judged),
               "gate": gate, "style": _style(judged)}  # fmt: skip
    found = {}
    for name, each in figures.items():
        complaints = [f"{one.found.row.name}: {words}" for one in judged for words in one.complaints[name]]
        complaints += each.pop("complaints", [])
        too_many = len({one.found.row.id for one in judged if one.complaints[name]}) > allowed.weights
        failed = bool(complaints) and (name != "weights" or too_many)
        measured, why = each.pop("measured"), each.pop("why")
        verdict = "regressed" if failed else "pass" if measured else "not checked"
        unmeasured = {} if measured else {"why": why}
        found[name] = {"verdict": verdict, **unmeasured, **each, "complaints": complaints}
    return found


def _weights(judged: Sequence[Judged]) -> dict[str, Any]:
    identical = sum(not each.found.faults for each in judged)
    return {"measured": len(judged), "why": "", "characters": len(judged), "identical": identical}


def _likelihood(judged: Sequence[Judged]) -> dict[str, Any]:
    lost = [(each.found.row.created_at, each.found.forgetting) for each in judged if each.found.forgetting is not None]
    earlier = [forgetting for _, forgetting in sorted(lost)[:-1]]
    together = _difference(
        [score for each in judged for score in each.found.now],
        [score for each in judged for score in each.found.then],
        judged[0].allowed,
    ) if judged else None  # fmt: skip
    return {
        "measured": len(lost),
        "why": "nobody has probes, or the base is not theirs",
        "probes": sum(len(each.found.now) for each in judged),
        "forgetting": _number(sum(forgetting for _, forgetting in lost) / len(lost)) if lost else None,
        "interval": [together.low, together.high] if together else None,
        "backward_transfer": _number(-sum(earlier) / len(earlier)) if earlier else None,
    }


def _replies(judged: Sequence[Judged]) -> dict[str, Any]:
    compared = [each.found for each in judged if not each.found.elsewhere]
    asked = sum(len(each.now) for each in compared)
    identical = asked - sum(len(each.flips) for each in compared)
    why = "nobody who has probes moved in on this hardware and these versions"
    return {"measured": asked, "why": why, "replies": asked, "identical": identical}


def _style(judged: Sequence[Judged]) -> dict[str, Any]:
    known = [each.found.distinct for each in judged if each.found.distinct]
    first, now = (sum(_mean(pair[side]) for pair in known) / len(known) if known else None for side in (0, 1))
    why = "a first check has noted whom each is nearest to; the next one compares"
    return {"measured": len(known), "why": why, "characters": len(known), "baseline": first, "now": now}
