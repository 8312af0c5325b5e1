"""What the findings of a check mean under the tolerances: complaints, section by section, and the tests behind them.
Knows no model, no registry file and no screen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from neekoctl.checks.findings import Checked, Route
from neekoctl.checks.tolerances import Tolerances
from recipes.scores import Difference, Score, paired_bootstrap

SECTIONS = ("weights", "likelihood", "replies", "gate", "style")


@dataclass(frozen=True)
class Judged:
    """One character under the tolerances: the complaints of each section, and the figures behind them."""

    found: Checked
    allowed: Tolerances

    @cached_property
    def loss(self) -> Difference | None:
        """Of likelihood since the day of onboarding."""
        return difference(self.found.now, self.found.then, self.allowed)

    @cached_property
    def drift(self) -> Difference | None:
        """Of distinctness since it was first measured."""
        return difference(*self.found.distinct, self.allowed) if self.found.distinct else None

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


def difference(first: Sequence[Score], second: Sequence[Score], allowed: Tolerances) -> Difference | None:
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
