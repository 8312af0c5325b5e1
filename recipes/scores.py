"""Scores of rows of tokens, and what may be said of two lists of them. Knows numbers alone: no model and no torch, so
that reading a verdict does not wait for either.

NLL of a row = -1/N sum_t log p(x_t | x_<t) over its N scored tokens, in nats a token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Total negative log-likelihood of a row's scored tokens, and how many there are."""

    total: float
    tokens: int

    @property
    def nll(self) -> float:
        return self.total / max(self.tokens, 1)


def mean_nll(scores: Sequence[Score]) -> float:
    """Over all tokens, so that exp of it is the perplexity."""
    return sum(score.total for score in scores) / max(sum(score.tokens for score in scores), 1)


@dataclass(frozen=True)
class Difference:
    """By how much the second is likelier than the first, in nats a token, with an interval; above 0 is better."""

    mean: float
    low: float
    high: float


def paired_bootstrap(first: Sequence[Score], second: Sequence[Score], confidence: float = 0.95) -> Difference:
    """Both scored the same rows: rows are drawn anew, each with both its scores (Efron and Tibshirani, 1993, ch. 13).

    Percentiles of few rows are too narrow; they are taken as far out as Student's t asks (Hesterberg, arXiv 1411.5279,
    the expanded percentile interval). No draw of a handful of rows goes further out than its extremes, however sure one
    wants to be, so the interval is no narrower than Student's own.

    Raises:
        ValueError: fewer than two rows, or not the same number.
    """
    import numpy as np
    from scipy.stats import bootstrap, norm, t

    gains = np.array([one.total - two.total for one, two in zip(first, second, strict=True)])
    tokens = np.array([one.tokens for one in first], dtype=float)

    def gain_a_token(gains: np.ndarray, tokens: np.ndarray, axis: int) -> np.ndarray:
        return gains.sum(axis) / tokens.sum(axis)

    rows = len(gains)
    outward = (rows / (rows - 1)) ** 0.5 * t.ppf(0.5 + confidence / 2, rows - 1) if rows > 1 else 0.0
    level = 1 - 2 * norm.cdf(-outward)
    found = bootstrap((gains, tokens), gain_a_token, paired=True, method="percentile", confidence_level=level, rng=0)
    mean, drawn = float(gain_a_token(gains, tokens, 0)), found.confidence_interval
    spread = float(np.sqrt(((gains - mean * tokens) ** 2).sum() * rows / (rows - 1)) / tokens.sum())  # of a ratio
    reach = spread * float(t.ppf(0.5 + confidence / 2, rows - 1))
    return Difference(mean, min(float(drawn.low), mean - reach), max(float(drawn.high), mean + reach))


def perplexity(nll: float) -> float:
    return math.exp(min(nll, 700.0))
