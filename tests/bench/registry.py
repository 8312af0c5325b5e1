"""The allocator under ten thousand allocations with random removals."""

import random
import statistics
import tempfile
import time
from pathlib import Path

from registry.layout import Layout
from registry.store import Registry
from tests.bench.figure import Figure
from tests.bench.population import bank, onboarded

ALLOCATIONS = 10_000
REMOVED = 0.4  # chance that an allocation is followed by a removal


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Layout(Path(folder)))
        row, order, seconds, live = bank(registry), random.Random(0), [], []
        for number in range(ALLOCATIONS):
            started = time.perf_counter()
            held = registry.reserve(row, f"Character {number}", [], order.choice([4, 8, 16, 32]), "expand")
            seconds.append(time.perf_counter() - started)
            live.append(registry.commit(held, onboarded(number)))
            if order.random() < REMOVED:
                registry.remove(live.pop(order.randrange(len(live))))
        ranges = sorted((each.start, each.stop) for each in registry.characters())
    overlaps = sum(first[1] > second[0] for first, second in zip(ranges, ranges[1:], strict=False))
    return [
        Figure("overlaps in 10,000 allocations", overlaps, 0, "", f"{len(ranges)} live ranges at the end"),
        Figure("median allocation", statistics.median(seconds) * 1000, 5, "ms", "one reserve, fsync included"),
    ]
