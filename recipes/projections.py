"""What every projection of a base adds in a step: the low-rank terms that one plan asks for, multiplied once for all
projections that read the same x. Knows tensors and physical ranks; nothing of who is resident, or where.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from recipes.base_model import BaseModel
from registry.errors import BaseError

Lows = tuple[torch.Tensor, ...]  # A x, one tensor a projection


@dataclass(frozen=True)
class Packed:
    """A block as the bank multiplies it: the A of projections that read one x stacked, so that they share a product.
    Either may have a first dimension, one entry for every row of the batch."""

    a: dict[int, torch.Tensor]  # group -> (n r, d_in)
    b: dict[str, torch.Tensor]  # projection -> (r, d_out)
    rank: int
    alpha: float

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [*self.a.values(), *self.b.values()]

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Packed":
        """The same block with every tensor changed."""
        a = {group: change(leaf) for group, leaf in self.a.items()}
        b = {path: change(leaf) for path, leaf in self.b.items()}
        return Packed(a, b, self.rank, self.alpha)


@dataclass(frozen=True)
class Stretch:
    """Neighbouring rows [start, stop) of a batch that use one block; `stop` None means every row."""

    block: Packed
    scale: float
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Ranks:
    """Which physical ranks each row of a step of decoding uses: N entries, row after row."""

    at: torch.Tensor  # (N,) physical rank
    row: torch.Tensor  # (N,) row of the batch
    weight: torch.Tensor | None  # (N,) of a blend; None when every one is 1 (alpha / r lies in the pages of A)
    offsets: torch.Tensor  # (B,) where the entries of each row begin
    patterns: dict[int, tuple[torch.Tensor, torch.Tensor | None]]  # n -> (B, n R) places to multiply; their order


@dataclass
class Plan:
    """Which rows of the next forward pass use which blocks; one object that every projection looks at."""

    stretches: list[Stretch] = field(default_factory=list)
    ranks: Ranks | None = None  # the same for passes of one token a row
    rows: int | None = None  # of the batch, where the stretches name rows
    tokens: int | None = None  # of each row, where that is known

    def follow(self, other: "Plan") -> None:
        """Become the other plan, for all who look at this one."""
        self.stretches, self.ranks, self.rows, self.tokens = other.stretches, other.ranks, other.rows, other.tokens

    def width(self, x: torch.Tensor) -> int:
        """Tokens of a row in x, which some models flatten to (rows * tokens, d_in) before a projection.

        Raises:
            BaseError: x is not the whole batch (an expert sees some tokens only), so its rows cannot be told apart.
        """
        if self.rows is None:
            return 1
        seen = x.shape[:-1].numel()
        whole = seen == self.rows * self.tokens if self.tokens else x.shape[0] == self.rows
        if not whole:
            raise BaseError(f"A projection sees {seen} tokens of {self.rows} rows: this base cannot mix characters.")
        return seen // self.rows


class Group:
    """Projections that read the same x; the first to be called multiplies for all of them."""

    def __init__(self, number: int, width: int) -> None:
        self.number, self.width = number, width  # n projections
        self.pages: torch.Tensor | None = None  # (R n, d_in): the n rows of a block's ranks lie together
        self._x: torch.Tensor | None = None
        self._seen: tuple[torch.Tensor, list[Lows]] | None = None

    def seen(self, x: torch.Tensor, plan: Plan, last: bool) -> tuple[torch.Tensor, list[Lows]]:
        """x as (tokens, d_in), and A x for every stretch, by projection; forgotten after the `last` of the group asked.

        For single tokens there is one entry instead: (N,) a projection, what each rank of the plan gives.
        """
        if self._x is not x or self._seen is None:
            flat = x.flatten(0, -2)
            self._x, self._seen = x, (flat, self._lows(flat, plan, plan.width(x)))
        found = self._seen
        if last:
            self._x = self._seen = None
        return found

    def _lows(self, flat: torch.Tensor, plan: Plan, width: int) -> list[Lows]:
        if plan.ranks:
            return [self._single(flat, plan.ranks)]
        return [self._low(flat, stretch, width) for stretch in plan.stretches]

    def _low(self, flat: torch.Tensor, stretch: Stretch, width: int) -> Lows:
        """(tokens of the stretch, d_in) -> n times (tokens, r)."""
        rows = flat if stretch.stop is None else flat[stretch.start * width : stretch.stop * width]
        a = stretch.block.a[self.number]
        a = a if a.dtype == flat.dtype else a.to(flat.dtype)
        if a.dim() == 3:  # every row its own
            low = torch.bmm(rows.view(len(a), -1, rows.shape[1]), a.transpose(1, 2)).flatten(0, 1)
        else:
            low = nn.functional.linear(rows, a)
        return low.split(stretch.block.rank, dim=1) if self.width > 1 else (low,)

    def _single(self, flat: torch.Tensor, ranks: Ranks) -> Lows:
        """(B, d_in) -> n times (N,): only the dot products that the plan names."""
        assert self.pages is not None
        pattern, order = ranks.patterns[self.width]
        if flat.device.type == "cpu" and flat.dtype == torch.float32:
            low = torch.sparse.sampled_addmm(pattern, flat, self.pages.t(), beta=0.0).values()
        else:
            low = (self.pages[pattern.col_indices()] * flat[ranks.row.repeat_interleave(self.width)]).sum(-1)
        if order is not None:
            low = low.index_select(0, order)
        low = low.view(self.width, -1)
        return (low if ranks.weight is None else low * ranks.weight).unbind()


class Projected(nn.Module):
    """A frozen linear map, and the low-rank terms that the plan asks for."""

    def __init__(self, base: nn.Module, path: str, group: Group, place: int, plan: Plan) -> None:
        super().__init__()
        self.base, self.path, self.group, self.place, self.plan = base, path, group, place, plan
        self.last = place == group.width - 1
        self.linear = base.forward  # looked up once: torch searches a module's children at every call
        self.pages: torch.Tensor | None = None  # (R, d_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (..., d_in) -> (..., d_out)
        plan = self.plan
        if not plan.stretches:
            return self.linear(x)
        flat, lows = self.group.seen(x, plan, self.last)
        y: torch.Tensor = self.linear(flat)  # (tokens, d_out)
        if plan.ranks is not None:
            self._add_single(y, lows[0][self.place], plan.ranks)
        else:
            self._add_stretches(y, lows, plan.width(x))
        return y if x.dim() == 2 else y.view(x.shape[0], -1, y.shape[1])

    def _add_single(self, y: torch.Tensor, low: torch.Tensor, ranks: Ranks) -> None:
        """(N,) to (B, d_out): each row's own ranks of B, weighted and summed."""
        assert self.pages is not None
        y.add_(torch.embedding_bag(self.pages, ranks.at, ranks.offsets, False, 0, False, low)[0])

    def _add_stretches(self, y: torch.Tensor, lows: list[Lows], width: int) -> None:
        for stretch, low in zip(self.plan.stretches, lows, strict=True):
            b = stretch.block.b[self.path]
            if b.dtype != y.dtype:  # trained in fp32 under a bf16 base
                b = b.to(y.dtype)
            rows = y if stretch.stop is None else y[stretch.start * width : stretch.stop * width]
            if b.dim() == 3:  # every row its own
                own = rows.view(len(b), -1, rows.shape[1])
                own.baddbmm_(low[self.place].reshape(len(b), -1, b.shape[1]), b, alpha=stretch.scale)
            else:
                rows.addmm_(low[self.place], b, alpha=stretch.scale)


def readers_of_one_x(base: BaseModel) -> list[list[str]]:
    """The projections, those that are given one and the same tensor together, in the order they are called.

    Seen in a forward pass over one token rather than guessed from names; a projection that was not called (an idle
    expert) stands alone.
    """
    seen: list[tuple[str, torch.Tensor]] = []

    def note(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _module, inputs: seen.append((path, inputs[0]))

    hooks = [base.model.get_submodule(path).register_forward_pre_hook(note(path)) for path in base.projections]
    with torch.inference_mode():
        base.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=base.device), use_cache=False)
    for hook in hooks:
        hook.remove()
    groups: dict[int, list[str]] = {}
    for path, x in seen:
        groups.setdefault(id(x), []).append(path)
    called = {path for path, _ in seen}
    return [*groups.values(), *([path] for path in base.projections if path not in called)]
