"""Expansion: a fresh block, trained on the newcomer's dialogues alone (Neeko, arXiv 2402.13717, section 3.4).
Knows no other character while it trains: no other block is in the graph, or mounted at all. Where neighbours are given
it starts from a copy of their merged blocks (a warm start)."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from recipes.block import Block, Pair, fresh_block
from recipes.exchanges import Row
from recipes.fusion import lineage
from recipes.likelihood import nll_under
from recipes.merging import Part, merge
from recipes.recipe import Merging
from recipes.scores import perplexity
from recipes.task import Made, Task
from recipes.training import Trained, train
from registry.names import counted, some_of

EMPTY = 1e-3  # of a factor's largest row: below it, a millionth of the largest singular value, is only rounding


def expand(task: Task) -> Made:
    """Train a block from LoRA's initial state, or from the neighbours' merged one.

    Raises:
        NeekoError: every conversation holds a held-out prompt, so there is nothing to train on.
        TrainingFailed: the loss is no number any more.
    """
    rows, probes, recipe = task.rows(), task.probes(), task.expands_by
    fresh = fresh_block(task.bank.base.shapes, recipe.rank, recipe.alpha, task.seed)
    start = warm(fresh, inherited(task)) if task.neighbours or task.entry else fresh
    done = train(task.bank, start, rows, probes, recipe, seed=task.seed, report=task.report,
                 checkpoint=task.checkpoint, until=task.until)  # fmt: skip
    if probes and (start is not fresh or done.nll_after is None):
        done = _measured(task, done, probes)
    details = {"cohort": task.entry.card()} if task.entry else {}
    reason = _reason(task, done, len(rows), len(probes))
    return Made(done.block, "expand", done.nll_before, done.nll_after, done.seconds, reason,
                done.tokens_per_second, lineage(task.neighbours), done.steps, done.best_step, details)  # fmt: skip


def _measured(task: Task, done: Trained, probes: list[Row]) -> Trained:
    """Beside the bare base, which a warm start does not begin as; the end, too, where the probes were too few to judge
    by and no run has read it."""
    before, after = nll_under(task.bank, None, probes), done.nll_after
    if after is None:
        after = nll_under(task.bank, done.block, probes)
    return replace(done, nll_before=before, nll_after=after)


def inherited(task: Task) -> list[Part]:
    """What to start from: the neighbours' blocks, or what a cohort writes for somebody new."""
    if task.entry:
        return [Part(task.entry.block(), 1.0)]
    return [Part(each.block, each.weight) for each in task.neighbours]


def warm(fresh: Block, parts: Sequence[Part]) -> Block:
    """What the merged blocks add to the base, under the fresh block's rank and alpha.

    Ranks that the merge does not fill at a module keep their fresh start: with zeros on both sides neither factor would
    ever have a gradient.
    """
    merged = merge(parts, Merging(), fresh.rank).block
    root = (merged.scale / fresh.scale) ** 0.5
    pairs = dict(fresh.pairs)
    for module, (a, b) in merged.pairs.items():
        sizes = a.norm(dim=1)  # sqrt of the singular values
        filled = sizes > EMPTY * sizes.max()
        pairs[module] = Pair(torch.where(filled[:, None], a * root, fresh.pairs[module].a),
                             torch.where(filled, b * root, 0.0))  # fmt: skip
    return Block(pairs, fresh.rank, fresh.alpha)


def _reason(task: Task, done: Trained, learned: int, judges: int) -> str:
    kin = some_of([each.name for each in task.neighbours])
    kin = kin or (task.entry.cohort.title if task.entry else "")
    start = f"a block started from {kin}" if kin else "a fresh block"
    trained = f"Trained {start} on {counted(learned, 'conversation')}"
    if done.nll_before is None or done.nll_after is None:
        return f"{trained} for {done.steps} steps; nothing could be held out."
    change = f"held-out perplexity {perplexity(done.nll_before):.2f} -> {perplexity(done.nll_after):.2f}"
    if judges < task.expands_by.fewest_probes:
        few = f"{judges} held-out {'reply is' if judges == 1 else 'replies are'} too few to stop by"
        return f"{trained} for {done.steps} steps: {change}; {few}."
    if done.best_step == 0:
        left = "what it inherited" if kin else "neutral"
        return f"No step of {done.steps} improved the held-out likelihood, so the block is left at its start, {left}."
    return f"{trained}: {change}, best after step {done.best_step} of {done.steps}."
