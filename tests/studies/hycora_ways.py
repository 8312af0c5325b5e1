"""The ways of the HyCoRA study to train several characters: what each is, and the blocks that it gives them.
Knows members and recipes; nothing of files, questions or numbers told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from recipes.bank import Bank
from recipes.block import Block, fresh_block
from recipes.cohort import Learning, Member
from recipes.cohort_recipe import load_cohort_recipe
from recipes.hyper_half import likeness
from recipes.own_part import completed
from recipes.recipe import load_recipe
from recipes.running import Progress, Run
from recipes.training import train

Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Way:
    """`kind` is independent (a block each), gated (the same, and a gate picks one), or that of a cohort; `changes` of
    its preset; `why` it was tried."""

    name: str
    kind: str
    changes: tuple[str, ...] = ()
    why: str = ""

    @property
    def is_of_one_block(self) -> bool:
        """Whether everybody has the same one."""
        return self.kind == "shared" and not load_cohort_recipe(self.kind, self.changes).own_epochs


@dataclass(frozen=True)
class Trained:
    """Everybody's block, what of it the network wrote, and how it went; `likeness` is the mean cosine between
    characters of A as it was written."""

    blocks: dict[str, Block]
    written: dict[str, Block]
    likeness: float
    steps: int = 0
    best_step: int = 0


INDEPENDENT = Way("independent LoRA", "independent", ("averaging=0.98",))  # as the cohorts' presets average
NEEKO = Way("Neeko, the gate asked", "gated")
SHARED = Way("shared LoRA", "shared")
HYCORA = Way("HyCoRA", "hycora")
WITHOUT = Way("HyCoRA without the contrastive loss", "hycora", ("contrast=0",))
BOTH_WRITTEN = Way("A and B both written", "hycora", ("generated=both",))
B_WRITTEN = Way("A shared, B written", "hycora", ("generated=b",))
TABLE = (
    INDEPENDENT,
    NEEKO,
    SHARED,
    HYCORA,
    WITHOUT,
    BOTH_WRITTEN,
    B_WRITTEN,
)
TRIED = (
    Way("HyCoRA, as it was written", "hycora", ("own_epochs=0",), "what the part of one's own brings"),
    Way("shared LoRA and a part of one's own", "shared", ("own_epochs=4",), "the same part beside one block for all"),
    Way("HyCoRA, contrast of the code", "hycora", ("contrast=26",),
        "the authors' program takes two means, which weighs the contrast some 90 times as much as equation 6"),
    Way("HyCoRA, that from the start", "hycora", ("contrast=26", "contrast_start=0"), "an earlier start epoch"),
    Way("HyCoRA, that from half an epoch", "hycora", ("contrast=26", "contrast_start=0.5"), "one between"),
    Way("HyCoRA, ids ten times faster", "hycora", ("pace_ids=10",), "what is one's own may learn too slowly"),
    Way("HyCoRA, 6e-4", "hycora", ("learning_rate=0.0006",), "the prototype's step size"),
    Way("HyCoRA, reading personas", "hycora", ("persona=true", "id_dropout=0.2"), "newcomers without dialogues"),
    Way("shared LoRA, 6e-4", "shared", ("learning_rate=0.0006", "epochs=4"), "smaller steps, for longer"),
    Way("shared LoRA, longer", "shared", ("epochs=3",), "its last state is its best"),
    Way("shared LoRA, rank 16", "shared", ("rank=16",), "as many numbers as a block and an own part"),
    Way("shared LoRA, batches of 4", "shared", ("batch=4",), "twice the steps"),
    Way("independent LoRA, 6e-4", "independent", ("averaging=0.98", "learning_rate=0.0006", "epochs=8"),
        "smaller steps, for longer"),
    Way("independent LoRA, rank 16", "independent", ("averaging=0.98", "rank=16"), "more room"),
    Way("independent LoRA, batches of 4", "independent", ("averaging=0.98", "batch=4"), "twice the steps"),
)  # fmt: skip


def together(bank: Bank, members: Sequence[Member], way: Way, seed: int, own: Mapping[str, Block],
             report: Report = lambda _: None) -> Trained:  # fmt: skip
    """Train everybody in this way; `own` are the blocks that were trained alone, by whom, for ways that add them."""
    if way.kind == "independent":
        return _each_alone(bank, members, way, seed, report)
    recipe = load_cohort_recipe(way.kind, way.changes)
    learning = Learning(bank, members, recipe, seed)
    state = Run(learning, recipe).go(report)
    parts = [own[member.name] for member in members] if recipe.own_epochs else []
    written = {member.name: learning.block(place) for place, member in enumerate(members)}
    blocks = {name: whole.block for name, whole in zip(written, completed(learning, parts), strict=True)}
    return Trained(blocks, written, alike(list(written.values())), state.step, state.best_step)


def _each_alone(bank: Bank, members: Sequence[Member], way: Way, seed: int, report: Report) -> Trained:
    recipe = load_recipe("standard", way.changes)
    blocks = {}
    for member in members:
        start = fresh_block(bank.base.shapes, recipe.rank, recipe.alpha, crc32(f"{seed}:{member.name}".encode()))
        blocks[member.name] = train(bank, start, member.rows, member.probes, recipe, seed=seed, report=report).block
    return Trained(blocks, blocks, alike(list(blocks.values())))


def alike(blocks: Sequence[Block]) -> float:
    """Mean cosine of A between characters."""
    found, count = likeness(blocks), len(blocks)
    return float(found.sum() - found.trace()) / (count * (count - 1))
