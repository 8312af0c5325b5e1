"""The ways of the forgetting study to add a character to those who are there: where its training starts, what it writes
to, and who is served by that from then on. Knows blocks and tasks; nothing of files, questions or numbers told.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from recipes.block import Block, Pair, fresh_block
from recipes.expansion import expand
from recipes.task import Task
from recipes.training import train
from registry.ranks import RankRange

Served = dict[str, Block]  # who is there, in the order of arrival, and what serves each
Add = Callable[[Served, Task], Served]  # those whom the newcomer's arrival gave another block, itself included


def own(served: Served, task: Task) -> Served:
    """The product's `expand`: a block of the newcomer's own, from scratch or from the neighbours of the task."""
    return {task.name: expand(task).block}


def shared(served: Served, task: Task) -> Served:
    """The usual way: the one block there is goes on with the newcomer, a fresh optimizer each time, and serves all."""
    if not served:
        return own(served, task)
    block = _trained(next(reversed(served.values())), task)
    return dict.fromkeys([*served, task.name], block)


def overlapping(served: Served, task: Task) -> Served:
    """The first half of the newcomer's ranks are the last half of its predecessor's: trained on, and changed there."""
    if not served:
        return own(served, task)
    last, rank = next(reversed(served)), task.recipe.rank
    common = OVERLAPPING.common(rank)
    fresh = fresh_block(task.bank.base.shapes, rank, task.recipe.alpha, task.seed)
    before = served[last]
    block = _trained(beside(ranks(before, rank - common, rank), ranks(fresh, common, rank)), task)
    return {last: beside(ranks(before, 0, rank - common), ranks(block, 0, common)), task.name: block}


def _trained(start: Block, task: Task) -> Block:
    return train(task.bank, start, task.rows(), task.probes(), task.recipe, seed=task.seed).block


@dataclass(frozen=True)
class Way:
    """How a character is added, and where its ranks lie."""

    name: str
    add: Add
    overlap: float = 0.0  # the share of a range that is also the next one's
    wide: bool = False  # the ranks of all characters together in one block
    warm: bool = False  # started from the merge of the nearest who are there

    def common(self, rank: int) -> int:
        """How many ranks neighbouring ranges share."""
        return int(self.overlap * rank)

    def at(self, place: int, rank: int) -> RankRange:
        """The range that serves whoever came as number `place`, from 0 on."""
        start = place * (rank - self.common(rank))
        return RankRange(start, start + rank)


OWN = Way("own blocks", own)
WARM = Way("own blocks, warm start", own, warm=True)
SHARED = Way("one shared block", shared, overlap=1.0)
WIDE = Way("one shared block, wide", shared, overlap=1.0, wide=True)
OVERLAPPING = Way("overlapping blocks", overlapping, overlap=0.5)
WAYS = (OWN, WARM, SHARED, WIDE, OVERLAPPING)


# blocks rank by rank


def ranks(block: Block, start: int, stop: int) -> Block:
    """Ranks [start, stop) of a block, at the same alpha / r."""
    pairs = {path: Pair(pair.a[start:stop], pair.b[:, start:stop]) for path, pair in block.pairs.items()}
    return Block(pairs, stop - start, block.scale * (stop - start))


def beside(first: Block, second: Block) -> Block:
    """The ranks of both, which have one alpha / r, in one block: its delta_W is the sum of theirs."""
    pairs = {path: Pair(torch.cat([one.a, second.pairs[path].a]), torch.cat([one.b, second.pairs[path].b], dim=1))
             for path, one in first.pairs.items()}  # fmt: skip
    return Block(pairs, first.rank + second.rank, first.alpha + second.alpha)


def moved(then: Block, now: Block) -> float:
    """|| B' A' - B A ||_F / || B A ||_F over all projections together, for blocks of one scale.

    From the factors alone: B' A' - B A = [B', B' - B] [A' - A; A], exactly zero where nothing has changed.
    """
    change = sum(_square(torch.cat([now.pairs[path].b, now.pairs[path].b - b], dim=1),
                         torch.cat([now.pairs[path].a - a, a]))
                 for path, (a, b) in then.pairs.items())  # fmt: skip
    size = sum(_square(b, a) for a, b in then.pairs.values())
    return float((change / size) ** 0.5) if change else 0.0


def _square(b: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """|| B A ||_F^2 = sum of (B^T B) ⊙ (A A^T), both r x r."""
    b, a = b.double(), a.double()
    return ((b.T @ b) * (a @ a.T)).sum()
