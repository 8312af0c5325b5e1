"""The contract of every strategy: a task in, a made block out. Strategies never see the database.
Knows nothing of how a block is made."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from recipes.bank import Bank
from recipes.block import Block
from recipes.exchanges import Messages, PromptForm
from recipes.recipe import Recipe
from recipes.training import Progress


@dataclass(frozen=True)
class Task:
    """What a strategy is given. `train` holds whole conversations; a held-out item ends with its reference reply."""

    name: str
    bank: Bank
    form: PromptForm
    recipe: Recipe
    train: list[Messages]
    heldout: list[Messages]
    seed: int
    report: Callable[[Progress], None] = lambda _: None
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Lineage:
    """A parent and its weight."""

    name: str
    block: str
    weight: float


@dataclass(frozen=True)
class Made:
    """What a strategy gives back; NLL in nats a token, None when nothing was held out."""

    block: Block
    nll_before: float | None
    nll_after: float | None
    seconds: float
    tokens_per_second: float
    reason: str
    parents: list[Lineage] = field(default_factory=list)
    steps: int = 0
    best_step: int = 0


class Strategy(Protocol):
    """How a block is made."""

    def __call__(self, task: Task) -> Made: ...
