"""How members of a cohort become their own: whoever shares a half also knows what is the others', so every block learns
on, both halves, from what is its character's alone, and keeps the others' replies unlikely.
Knows written blocks and rows; nothing of networks, files or the registry.

    L = NLL of own replies + rivalry mean_j max(0, margin - (NLL_own block(x_j) - NLL_j's block(x_j)))

x_j opens another member's reply. Its NLL under the block that was written for its owner is a constant, so that a
member's finish depends on nobody else's, and the margin bounds what is unlearned.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recipes.bank import Bank
from recipes.block import Block
from recipes.cohort import Learning, Member
from recipes.cohort_recipe import CohortRecipe
from recipes.exchanges import Row
from recipes.likelihood import reply_logits, score, scored_under, sums
from recipes.running import Report, Run
from recipes.training import Fresh

OPENING = 40  # tokens of a reply, by which it is plain whose it is


@dataclass(frozen=True)
class Opening:
    """How another member's conversation goes on, and its NLL under the block written for that member."""

    row: Row
    nll: float


@dataclass(frozen=True)
class Openings:
    """Of one member: those to train on and those of its probes."""

    rows: list[Opening]
    probes: list[Opening]


def openings(bank: Bank, members: Sequence[Member], blocks: Sequence[Block]) -> list[Openings]:
    """Everybody's, read once."""
    return [Openings(_read(bank, member.rows, block), _read(bank, member.probes, block))
            for member, block in zip(members, blocks, strict=True)]  # fmt: skip


def _read(bank: Bank, rows: Sequence[Row], block: Block) -> list[Opening]:
    cut = [_opening(row) for row in rows]
    return [Opening(row, found.nll) for row, found in zip(cut, scored_under(bank, block, cut), strict=True)]


def _opening(row: Row) -> Row:
    stop = row.scored.index(True) + OPENING
    return Row(row.tokens[:stop], row.scored[:stop])


class Own(Fresh):
    """One member's block, which learns what is its own and unlearns what is the others'."""

    def __init__(self, bank: Bank, block: Block, member: Member, others: Sequence[Openings], recipe: CohortRecipe,
                 seed: int) -> None:  # fmt: skip
        super().__init__(bank, block, member.rows, member.probes, recipe.batch, seed)
        self.recipe = recipe
        self.strange = [each for other in others for each in other.rows]
        self.strange_probes = [each for other in others for each in other.probes]

    def loss(self, batch: list[Row], epoch: float) -> torch.Tensor:
        order = random.Random(f"{self.seed}:{epoch:.9f}:others")
        drawn = order.sample(self.strange, min(self.recipe.rivals, len(self.strange)))
        own = super().loss(batch, epoch)
        return own + self.recipe.rivalry * self.too_likely(drawn) if drawn else own

    def too_likely(self, drawn: Sequence[Opening]) -> torch.Tensor:
        """Nats a token that others' openings are short of the margin, the mean over them."""
        said = reply_logits(self.base, [each.row for each in drawn])
        mine = sums(said, len(drawn)) / torch.bincount(said.owner, minlength=len(drawn))
        theirs = torch.tensor([each.nll for each in drawn], device=self.device)
        return (self.recipe.margin - (mine - theirs)).clamp(min=0).mean().float()

    def evaluate(self) -> float | None:
        """The same loss on probes."""
        own = super().evaluate()
        if own is None or not self.strange_probes:
            return own
        mine = score(self.base, [each.row for each in self.strange_probes])
        apart = [found.nll - each.nll for found, each in zip(mine, self.strange_probes, strict=True)]
        return own + self.recipe.rivalry * sum(max(0.0, self.recipe.margin - each) for each in apart) / len(apart)


def own_checkpoint(path: Path, place: int) -> Path:
    """Beside the cohort's own."""
    return path.with_name(f"{path.stem}.{place}{path.suffix}")


def finished(learning: Learning, report: Report = lambda _: None, checkpoint: Path | None = None) -> list[Block]:
    """What the network wrote for everybody, after each one's own finish. Each keeps the state that is best on its own
    probes, so that nobody is overfitted for another's sake.

    Raises:
        TrainingFailed: a loss is no finite number.
    """
    bank, settings = learning.bank, learning.recipe.finishing
    blocks = [learning.block(place) for place in range(len(learning.members))]
    if not settings.epochs:
        return blocks
    known, found = openings(bank, learning.members, blocks), []
    for place, (member, block) in enumerate(zip(learning.members, blocks, strict=True)):
        learner = Own(bank, block, member, known[:place] + known[place + 1 :], settings, learning.seed)
        with bank.using(learner.block):
            Run(learner, settings, checkpoint and own_checkpoint(checkpoint, place)).go(report)
        found.append(bank.unpack(learner.block))
    return found
