"""What is a member's own beside what the network wrote for it: a block trained from nothing on its conversations alone,
so that it holds what nobody else in the cohort knows, while the written one holds what is common.
Knows written blocks, rows and where a checkpoint may lie; nothing of networks or the registry.

    delta_W = (1 - share) B A + share B_own A_own, cut to the rank of either

Both were trained to speak for the member by themselves: their weighted sum is the mean of two models, which is about as
likely as the better of them (model soups, arXiv 2203.05482). Nothing of one member's own part depends on another's.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from recipes.block import Block, fresh_block
from recipes.cohort import Learning
from recipes.likelihood import nll_under
from recipes.merging import Part, merge
from recipes.recipe import Merging
from recipes.running import Report
from recipes.training import train
from registry.errors import TrainingFailed

PRICE = 0.02  # nats a token that being told from the others may cost: what a check on another machine lets pass


class Completed(NamedTuple):
    """A member's block, and the weight in it of what it learned alone."""

    block: Block
    own_share: float


def own_checkpoint(path: Path, place: int) -> Path:
    """Beside the cohort's own."""
    return path.with_name(f"{path.stem}.{place}{path.suffix}")


def own_parts(learning: Learning, report: Report = lambda _: None, checkpoint: Path | None = None,
              say: Callable[[str], None] = lambda _: None) -> list[Block]:  # fmt: skip
    """Everybody's, each at the state that is best on its own probes; none where the recipe has no epochs for them.
    `say` hears whose turn it is.

    Raises:
        TrainingFailed: a loss is no finite number.
    """
    places = range(len(learning.members) if learning.recipe.own_epochs else 0)
    found = []
    for place in places:
        name = learning.members[place].name
        say(f"{name} learns alone ({place + 1} of {len(places)})")
        try:
            found.append(_alone(learning, place, report, checkpoint))
        except TrainingFailed as error:
            raise TrainingFailed(f"While {name} learned alone: {error}") from error
    return found


def completed(learning: Learning, own: Sequence[Block], say: Callable[[str], None] = lambda _: None) -> list[Completed]:
    """Everybody's block: what the network wrote and, where there is one, the own part. `say` hears who does without."""
    written = [learning.block(place) for place in range(len(learning.members))]
    if not own:
        return [Completed(block, 0.0) for block in written]
    found = [_better(learning, place, *pair) for place, pair in enumerate(zip(written, own, strict=True))]
    for member, block in zip(learning.members, found, strict=True):
        if not block.own_share:
            say(f"{member.name} keeps what the network wrote: what it learned alone makes its probes less likely")
    return found


def _alone(learning: Learning, place: int, report: Report, checkpoint: Path | None) -> Block:
    bank, member, settings = learning.bank, learning.members[place], learning.recipe.alone
    seed = crc32(f"{learning.seed}:{member.name}".encode())
    start = fresh_block(bank.base.shapes, settings.rank, settings.alpha, seed)
    return train(bank, start, member.rows, member.probes, settings, seed=learning.seed, report=report,
                 checkpoint=checkpoint and own_checkpoint(checkpoint, place)).block  # fmt: skip


def _better(learning: Learning, place: int, written: Block, own: Block) -> Completed:
    """The sum, or what was written where probes say that the sum costs too much: few dialogues, as a rule."""
    share, probes = learning.recipe.own_share, learning.members[place].probes
    both = merge([Part(written, 1 - share), Part(own, share)], Merging(), written.rank).block
    if not probes or nll_under(learning.bank, both, probes) <= nll_under(learning.bank, written, probes) + PRICE:
        return Completed(both, share)
    return Completed(written, 0.0)
