"""The contract of every strategy: a task in, a made block out. Strategies never see the database.
Knows nothing of how a block is made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recipes.bank import Bank
from recipes.base_model import BaseModel
from recipes.block import Block
from recipes.exchanges import Messages, PromptForm, Row
from recipes.recipe import Merging, Recipe
from recipes.running import Progress
from registry.errors import BaseError, NeekoError
from registry.heldout import refuse_nothing_to_learn

if TYPE_CHECKING:
    from recipes.hyper import Entry

TOLD = 16  # tokens by which a conversation is recognised


@dataclass(frozen=True)
class Neighbour:
    """A resident to make a block from, and how much of it; the weights of a task sum to 1."""

    name: str
    digest: str
    block: Block
    weight: float


@dataclass(frozen=True)
class Task:
    """What a strategy is given. `train` holds whole conversations; a held-out item ends with its reference reply.

    `neighbours` are what to fuse, or where an expansion starts from (nobody: from scratch), `width` the rank of a
    fusion where it is not the recipe's. `until` is the moment of `time.monotonic` at which training stops and its best
    state so far is taken.
    """

    name: str
    bank: Bank
    form: PromptForm
    recipe: Recipe
    train: list[Messages]
    heldout: list[Messages]
    seed: int
    report: Callable[[Progress], None] = lambda _: None
    checkpoint: Path | None = None
    neighbours: Sequence[Neighbour] = ()
    merging: Merging = field(default_factory=Merging)
    width: int | None = None
    tune: bool = False
    until: float | None = None
    entry: "Entry | None" = None  # into a cohort: what its network writes, or where an expansion starts from
    after_cohort: Recipe | None = None  # of such an expansion; None: `recipe`

    @property
    def expands_by(self) -> Recipe:
        """The recipe of an expansion from where this one starts."""
        return self.after_cohort if self.entry and self.after_cohort else self.recipe

    @property
    def exchanges(self) -> int:
        """Replies to learn from."""
        return sum(message["role"] == "assistant" for talk in self.train for message in talk)

    def rows(self) -> list[Row]:
        """The training conversations as token rows.

        Raises:
            NeekoError: there are none, or one is longer than the base reads.
        """
        refuse_nothing_to_learn(self.name, self.train)
        return readable(self.name, self.bank.base, [self.form.row(messages) for messages in self.train])

    def probes(self) -> list[Row]:
        """The held-out conversations, their last replies scored. Raises NeekoError when one is too long."""
        probes = [self.form.row(messages, last_only=True) for messages in self.heldout]
        return readable(self.name, self.bank.base, probes)


def readable(name: str, base: BaseModel, rows: list[Row]) -> list[Row]:
    """The rows of a character.

    Raises:
        NeekoError: one has more tokens than the base reads.
        BaseError: the tokenizer has tokens that the base has no embedding for.
    """
    longest = max((row.tokens for row in rows), key=len, default=[])
    if len(longest) > base.longest:
        end = " ".join(base.tokenizer.decode(longest[-TOLD:], skip_special_tokens=True).split())
        raise NeekoError(f"A conversation of {name} has {len(longest)} tokens and {base.name} reads at most "
                         f"{base.longest}: split the one that ends with {end!r}.")  # fmt: skip
    if any(max(row.tokens) >= base.vocabulary for row in rows):
        raise BaseError(f"{base.name} has {base.vocabulary} embeddings, and its tokenizer writes tokens beyond them: "
                        f"resize the embeddings, or mend the tokenizer.")  # fmt: skip
    return rows


@dataclass(frozen=True)
class Lineage:
    """A parent and its weight."""

    name: str
    block: str
    weight: float


@dataclass(frozen=True)
class Made:
    """What a strategy gives back; NLL in nats a token, of the bare base and of the block, None when nothing was held
    out, or when the strategy had no need to look. `strategy` is what was done in the end, `details` whatever else is
    worth keeping."""

    block: Block
    strategy: str
    nll_before: float | None
    nll_after: float | None
    seconds: float
    reason: str
    tokens_per_second: float = 0.0  # in training
    parents: list[Lineage] = field(default_factory=list)
    steps: int = 0
    best_step: int = 0
    details: dict[str, Any] = field(default_factory=dict)


class Strategy(Protocol):
    """How a block is made."""

    def __call__(self, task: Task) -> Made: ...
