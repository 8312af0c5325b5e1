"""Fusion: a block merged from its nearest neighbours', without training (Neeko, arXiv 2402.13717; the merges are ours).
Knows neighbours and their weights; nothing of how they were found. No neighbour's block is ever written to.

With a few dialogues, `tune` fits the weights on their likelihood, as LoraHub (arXiv 2307.13269) does: no gradient,
a bounded number of forward passes, and weights below zero allowed.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from recipes.likelihood import nll_under
from recipes.merging import Merged, Part, merge
from recipes.recipe import FACTOR_WISE, SIGN_ELECTING
from recipes.running import Progress
from recipes.task import Lineage, Made, Neighbour, Task
from registry.errors import NeekoError
from registry.names import counted, some_of

PASSES = 30  # over the exchanges that weights are tuned on
TUNED_ON = 16  # conversations: three numbers are fitted, and more would only cost time
PRECISION = 0.02  # of a weight: finer ones change no likelihood that a few dialogues could tell
LARGEST_WEIGHT, LEAST_WEIGHT = 2.0, 0.01


def fuse(task: Task) -> Made:
    """Merge the neighbours' blocks by their weights; with `task.tune`, by the weights most likely to say the dialogues.

    Raises:
        NeekoError: nobody to fuse, or nothing to tune on.
        UsageError: the method cannot merge these blocks.
    """
    if not task.neighbours:
        raise NeekoError(f"There is nobody to fuse {task.name} from: use --strategy expand.")
    started = time.monotonic()
    probes = task.probes()
    weights, tuning = _tuned(task) if task.tune else ([each.weight for each in task.neighbours], {})
    merged = _merged(task, weights)
    parents = lineage([replace(each, weight=weight) for each, weight in zip(task.neighbours, weights, strict=True)])
    before = nll_under(task.bank, None, probes) if probes else None
    found = {"method": task.merging.method, "discarded": merged.lost_in_all, "passes": 0, **tuning}
    details = {"merge": {**found, "discarded_by_module": merged.lost}}
    return Made(merged.block, "fuse", before, None, time.monotonic() - started, _reason(task, parents, found),
                parents=parents, details=details)  # fmt: skip


def _merged(task: Task, weights: Sequence[float]) -> Merged:
    parts = [Part(each.block, weight) for each, weight in zip(task.neighbours, weights, strict=True)]
    return merge(parts, task.merging, task.width or task.recipe.rank, seed=task.seed)


def most_passes(task: Task) -> int:
    """COBYQA begins with two a weight, and has to go on from there."""
    return max(PASSES, 3 * len(task.neighbours))


def _tuned(task: Task) -> tuple[list[float], dict[str, float]]:
    """The weights under which the block that will be kept finds the dialogues likeliest, and what that took."""
    import numpy as np
    from scipy.optimize import minimize

    rows = task.rows()[:TUNED_ON]
    passes: list[tuple[float, list[float]]] = []
    most = most_passes(task)

    def nll(weights: np.ndarray) -> float:
        started = time.monotonic()
        block = _merged(task, weights.tolist()).block
        value = nll_under(task.bank, block, rows)
        passes.append((value, weights.tolist()))
        speed = sum(len(row.tokens) for row in rows) / (time.monotonic() - started)
        task.report(Progress(len(passes), most, value, speed, None))
        if task.until is not None and time.monotonic() > task.until:
            raise _OutOfTime
        return value

    start = np.array([each.weight for each in task.neighbours])
    lowest = LEAST_WEIGHT if task.merging.method in SIGN_ELECTING else -LARGEST_WEIGHT
    with suppress(_OutOfTime):
        nll(start)  # near a bound COBYQA would begin elsewhere
        minimize(nll, start, method="COBYQA", bounds=[(lowest, LARGEST_WEIGHT)] * len(start),
                 options={"maxfev": most - 1, "initial_tr_radius": 0.3, "final_tr_radius": PRECISION})  # fmt: skip
    best, weights = min(passes)
    return weights, {"passes": len(passes), "tuned_on": len(rows), "tuned_from": passes[0][0], "tuned_to": best}


class _OutOfTime(Exception):
    """The budget is spent; what was found so far is good."""


def _reason(task: Task, parents: Sequence[Lineage], found: Mapping[str, Any]) -> str:
    whom = some_of([f"{each.name} {each.weight:.2f}" for each in parents])
    share = f"{found['discarded']:.1%}"
    lost = f"{share} of their sum's energy discarded"
    if task.merging.method in FACTOR_WISE:
        lost = f"off their exact sum by {share} of its energy"
    text = f"Merged {len(parents)} of the residents by {task.merging.method} ({whom}), {lost}"
    if not found["passes"]:
        return f"{text}."
    return (
        f"{text}; weights tuned on {counted(found['tuned_on'], 'conversation')} in {found['passes']} forward passes, "
        f"{found['tuned_from']:.3f} -> {found['tuned_to']:.3f} nats a token."
    )


def lineage(neighbours: Sequence[Neighbour]) -> list[Lineage]:
    """Who a block was made from, as it is kept."""
    return [Lineage(each.name, each.digest, each.weight) for each in neighbours]
