"""Trains one block on token rows, and keeps the state that brought the best held-out likelihood.
Knows the bank, rows and checkpoints; nothing of characters, strategies or where files live.

Only the fresh block's factors are Parameters of the optimizer and leaves of the graph: the base is frozen, and no
other block is mounted.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from recipes.bank import Bank
from recipes.block import Block
from recipes.exchanges import Row
from recipes.likelihood import reply_logits, score
from recipes.recipe import Recipe
from recipes.running import Report, Run
from recipes.scores import mean_nll

WINDOW = 4  # batches sorted by length together: little padding, and the order stays random


@dataclass(frozen=True)
class Trained:
    """The best block, and how it came about; NLL in nats a token, None without held-out rows."""

    block: Block
    nll_before: float | None
    nll_after: float | None
    steps: int
    best_step: int
    seconds: float
    tokens_per_second: float


def train(
    bank: Bank,
    block: Block,
    rows: Sequence[Row],
    heldout: Sequence[Row],
    recipe: Recipe,
    *,
    seed: int,
    report: Report = lambda _: None,
    checkpoint: Path | None = None,
    until: float | None = None,
) -> Trained:
    """Train `block` from where it stands (or from the checkpoint, when that file exists) and return the best state.

    Stops early after `recipe.patience` evaluations without improvement, or once `time.monotonic` has reached `until`.

    Raises:
        TrainingFailed: the loss is no finite number.
    """
    learner = Fresh(bank, block, rows, heldout, recipe.batch, seed)
    run = Run(learner, recipe, checkpoint)
    with bank.using(learner.block):
        state = run.go(report, until)
    after = None if state.nll_before is None else state.best_nll
    return Trained(bank.unpack(learner.block), state.nll_before, after, state.step, state.best_step, state.seconds,
                   run.speed)  # fmt: skip


class Talks:
    """One character's conversations in batches."""

    def __init__(self, rows: Sequence[Row], batch: int, seed: int) -> None:
        self.rows, self.batch, self.seed = list(rows), batch, seed

    def epoch(self, number: int) -> list[list[Row]]:
        """The order depends on the seed and the epoch alone."""
        order, size = random.Random(f"{self.seed}:{number}"), self.batch
        rows = self.rows.copy()
        order.shuffle(rows)
        batches: list[list[Row]] = []
        for start in range(0, len(rows), WINDOW * size):
            window = sorted(rows[start : start + WINDOW * size], key=lambda row: len(row.tokens))
            batches += [window[at : at + size] for at in range(0, len(window), size)]
        order.shuffle(batches)
        return batches

    def tokens(self, batch: list[Row]) -> int:
        return sum(len(row.tokens) for row in batch)


class Fresh(Talks):
    """One block that learns its replies."""

    def __init__(self, bank: Bank, block: Block, rows: Sequence[Row], heldout: Sequence[Row], batch: int,
                 seed: int) -> None:  # fmt: skip
        super().__init__(rows, batch, seed)
        self.base, self.device, self.probes = bank.base, bank.base.device, heldout
        self.block = bank.pack(block).mapped(lambda leaf: nn.Parameter(leaf.detach().clone()))

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        return [([leaf for leaf in self.block.leaves if isinstance(leaf, nn.Parameter)], 1.0)]

    def loss(self, batch: list[Row], epoch: float) -> torch.Tensor:
        said = reply_logits(self.base, batch)
        return functional.cross_entropy(said.logits, said.targets)

    def evaluate(self) -> float:
        return mean_nll(score(self.base, self.probes))
