"""What the findings of a check mean under the tolerances: complaints, section by section, and the tests behind them.
Knows no model, no registry file and no screen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from neekoctl.checks.findings import Checked, Route
from neekoctl.checks.tolerances import Tolerances
from neekoctl.gating import reaches
from recipes.scores import Difference, Score, paired_bootstrap

CEILING = 10  # times the tolerance elsewhere: so large a loss needs no test
ALL = 3  # of a character's questions, every one lost
SECTIONS = ("weights", "likelihood", "replies", "gate", "style")


@dataclass(frozen=True)
class Judged:
    """One character under the tolerances: the complaints of each section, and the figures behind them."""

    found: Checked
    allowed: Tolerances
    among: int = 1  # so many are judged: the more are asked, the rarer each may be wrong (Bonferroni)

    @property
    def significance(self) -> float:
        return self.allowed.significance / self.among

    @cached_property
    def loss(self) -> Difference | None:
        """Of likelihood since the day of onboarding."""
        return difference(self.found.now, self.found.then, self.significance)

    @cached_property
    def drift(self) -> Difference | None:
        """Of distinctness since it was first measured."""
        return difference(*self.found.distinct, self.significance) if self.found.distinct else None

    @cached_property
    def complaints(self) -> dict[str, list[str]]:
        behaviour = (self._likelihood(), self._replies(), self._gate(), self._style())
        told = behaviour if self.found.comparable else [()] * len(behaviour)
        return dict(zip(SECTIONS, map(list, (self.found.faults.values(), *told)), strict=True))

    @cached_property
    def unjudged(self) -> dict[str, str]:
        """The sections that say nothing of it, and why."""
        found, why = self.found, {}
        if not found.now or not found.comparable:
            kept = "its block or records are not as they were stored" if found.faults else "nothing of it was held out"
            reason = found.faults.get("base") or found.faults.get("run") or kept
            why = dict.fromkeys(("likelihood", "replies", "style"), reason)
        if not found.routes or not found.comparable:
            why["gate"] = why.get("likelihood", "no question of it was routed before")
        if found.elsewhere:
            why.setdefault("replies", f"not where it moved in ({'; '.join(found.elsewhere)}): its likelihood is judged")
        if not found.distinct:
            why.setdefault("style", "no earlier check noted whom it is nearest to; the next one compares")
        return why

    def _likelihood(self) -> Iterable[str]:
        forgetting, elsewhere = self.found.forgetting, bool(self.found.elsewhere)
        limit = self.allowed.likelihood_elsewhere if elsewhere else self.allowed.likelihood
        if forgetting is None or forgetting <= limit:  # NaN is neither
            return
        by_chance = self.loss and self.loss.low <= 0 and forgetting <= CEILING * limit
        if not (elsewhere and by_chance):  # at home nothing is left to chance
            yield f"the held-out likelihood fell by {forgetting:.4f} nats a token"

    def _replies(self) -> Iterable[str]:
        flips, asked = len(self.found.flips), len(self.found.now)
        if not self.found.elsewhere and flips > self.allowed.replies * asked:
            yield f"{flips} of {asked} greedy replies differ"

    def _gate(self) -> Iterable[str]:
        routes = self.found.routes
        if is_loss(routes, self.allowed, self.among):
            yield f"the gate no longer finds it for {flips(routes)[0]} of {len(routes)} questions"

    def _style(self) -> Iterable[str]:
        if self.drift and self.drift.mean > self.allowed.style and self.drift.low > 0:
            yield f"its replies lost {self.drift.mean:.4f} nats a token of distinctness"


def difference(first: Sequence[Score], second: Sequence[Score], significance: float) -> Difference | None:
    """None where there are too few, or one is no number."""
    if len(first) < 2 or any(each.total != each.total for each in (*first, *second)):
        return None
    return paired_bootstrap(first, second, 1 - significance)


def flips(routes: Sequence[Route]) -> tuple[int, int]:
    """Questions that no longer reach their owners, and those that do so now."""
    return sum(each.lost for each in routes), sum(each.gained for each in routes)


def mcnemar(lost: int, gained: int) -> float:
    """The chance of so many losses among the flips if losing were as likely as gaining: the exact test, one-sided
    (McNemar, 1947, with the binomial distribution)."""
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, alternative="greater").pvalue) if lost + gained else 1.0


def is_loss(routes: Sequence[Route], allowed: Tolerances, among: int = 1) -> bool:
    """Whether the gate finds too few: more are lost than tolerated, and it is no chance, or `ALL` or more were found
    and none is. Fewer than five flips can never tell otherwise, at the usual significance."""
    lost, gained = flips(routes)
    found = sum(reaches(route.then, route.owner) for route in routes)
    no_chance = mcnemar(lost, gained) < allowed.significance / among or (ALL <= lost == found and not gained)
    return lost - gained > allowed.gate * len(routes) and no_chance
