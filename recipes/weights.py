"""The weights of a sum of blocks. Knows numbers alone, and imports no torch, so that wrong ones are refused early."""

import math
from collections.abc import Sequence

from registry.errors import UsageError


def softmax(similarities: Sequence[float], temperature: float) -> list[float]:
    """w_i = exp(s_i / T) / sum_j exp(s_j / T): positive, summing to 1."""
    highest = max(similarities)
    powers = [math.exp((each - highest) / temperature) for each in similarities]
    return [each / sum(powers) for each in powers]


def normalised(weights: Sequence[float]) -> list[float]:
    """The same weights, summing to 1.

    Raises:
        UsageError: one is zero or no number, or they sum to zero.
    """
    if not all(math.isfinite(each) for each in weights):
        raise UsageError("A weight must be a finite number: give --from NAME=0.5, for example.")
    if not all(weights):
        raise UsageError("A weight of zero takes nothing from that character: leave it out.")
    total = math.fsum(weights)
    if abs(total) < 1e-6 * sum(map(abs, weights)):
        raise UsageError("The weights sum to zero, so they cannot be brought to 1: change one of them.")
    return [each / total for each in weights]
