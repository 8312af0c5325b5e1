"""A figure: one number with its target and the peer it was measured against. Knows nothing of what is measured."""

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from registry.layout import Layout

BENCH_HOME = Path(__file__).parents[2] / ".bench"  # models stay here between runs


@dataclass(frozen=True)
class Figure:
    """`value` must be at most `target` (or at least, when `at_least`); `peer` says what stands on the other side."""

    name: str
    value: float
    target: float
    unit: str
    peer: str
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "value": round(self.value, 4), "holds": self.holds}


def in_turn(ours: Callable[[], float], theirs: Callable[[], float], runs: int) -> tuple[float, float]:
    """Medians of both sides, measured alternately so that a slow minute hits both."""
    pairs = [(ours(), theirs()) for _ in range(runs)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def interleaved(runs: int, **sides: Callable[[], Any]) -> dict[str, float]:
    """Median seconds of every side, each once a round so that a slow minute hits all; a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(runs + 1):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def wall(command: Sequence[str], **options: Any) -> float:
    """Seconds a whole process takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, **options)
    return time.perf_counter() - started


def bench_layout() -> Layout:
    return Layout(BENCH_HOME)


def embedded_base() -> Any:
    """A copy of the default base of its own."""
    from recipes.base_model import load_base
    from recipes.sources import DEFAULT_BASE, fingerprint, local_folder

    folder = local_folder(bench_layout(), DEFAULT_BASE)
    return load_base(folder, name=DEFAULT_BASE, fingerprint=fingerprint(bench_layout(), folder))
