"""Intervals of a study: characters, seeds and questions are drawn anew, and every way is read on the same draw, so that
differences are paired. Knows numbers alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A mean, and 95 % of the draws."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Interval":
        """(1 + draws,): what is measured, then what was drawn; no number where nothing was measured."""
        if np.isnan(values[0]):
            return cls(*3 * (float("nan"),))
        low, high = np.nanpercentile(values[1:], [2.5, 97.5])
        return cls(float(values[0]), float(low), float(high))

    def shown(self, change: Callable[[float], float] = lambda value: value, signs: str = ".2f") -> str:
        if np.isnan(self.mean):
            return "–"
        low, high = sorted((change(self.low), change(self.high)))
        return f"{change(self.mean):{signs}} [{low:{signs}}, {high:{signs}}]"

    def bold(self, signs: str = "+.3f") -> str:
        """Of a difference: bold where the interval leaves out zero."""
        text = self.shown(signs=signs)
        return f"**{text}**" if self.low > 0 or self.high < 0 else text


class Draw(NamedTuple):
    """Which characters, seeds and questions a draw reads."""

    people: np.ndarray  # (C,)
    seeds: np.ndarray  # (S,)
    weights: np.ndarray  # (C, Q), how often each question

    def means(self, totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(S, ..., C, Q) totals over (C, Q) counts -> (S, ..., C): a question weighs as many as it counts."""
        drawn = totals[self.seeds][..., self.people, :]
        found: np.ndarray = (drawn * self.weights).sum(-1) / (counts[self.people] * self.weights).sum(-1)
        return found


def draws(people: int, seeds: int, questions: int, count: int) -> list[Draw]:
    """The first is of all there is, once; `count` more are drawn."""
    order = np.random.default_rng(0)
    whole = Draw(np.arange(people), np.arange(seeds), np.ones((people, questions)))
    return [whole] + [
        Draw(order.integers(0, people, size=(people,)), order.integers(0, seeds, size=(seeds,)),
             order.multinomial(questions, np.full(questions, 1 / questions), size=people))
        for _ in range(count)
    ]  # fmt: skip
