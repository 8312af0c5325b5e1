"""The weights of a sum of blocks. Knows numbers alone, and imports no torch, so that wrong ones are refused early."""

import math
from collections.abc import Sequence

from registry.errors import UsageError

HUGE = 1e9
LARGEST = 10.0  # of a weight once their sum is 1: beyond it the blocks all but cancel, and rounding is what is left


def softmax(similarities: Sequence[float], temperature: float) -> list[float]:
    """w_i = exp(s_i / T) / sum_j exp(s_j / T): positive, summing to 1."""
    highest = max(similarities)
    powers = [math.exp((each - highest) / temperature) for each in similarities]
    return [each / sum(powers) for each in powers]


def normalised(weights: Sequence[float]) -> list[float]:
    """The same weights, summing to 1.

    Raises:
        UsageError: one is zero or no number, or their sum is not clearly above zero: brought to 1, a sum below zero
            would turn every sign around, and one near zero would blow every weight up.
    """
    if not all(abs(each) < HUGE for each in weights):  # no number is not less than anything
        raise UsageError(f"A weight must be a finite number, below {HUGE:.0g}: give --from NAME=0.5, for example.")
    if not all(weights):
        raise UsageError("A weight of zero takes nothing from that character: leave it out.")
    total = math.fsum(weights)
    if total * LARGEST < max(map(abs, weights)):
        raise UsageError(
            f"The weights sum to {total:.3g}, and are brought to 1: let those above zero outweigh the others."
        )
    return [each / total for each in weights]
