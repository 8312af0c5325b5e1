"""The bank at run time: one rank space over one base model, of which only the blocks in use are resident.
Knows blocks, ranges and projections; nothing of characters, files, text or training loops.

    y = W x + B (w ⊙ (A x))        w: the row's weight times alpha / r inside its ranges, zero outside

Paged: a block is mounted at its range, used, and evicted (the longest unused first) without touching the base or any
other block. Nothing is gathered or copied for a batch: neighbouring rows that use one block are multiplied with that
block's own tensors. So another character for a row costs one new entry in the plan, and a resident that nobody uses
costs only its memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from recipes.base_model import BaseModel
from recipes.block import Block, Pair
from registry.errors import BaseError, BaseMismatch, RankError
from registry.ranks import RankRange

Mix = Mapping[RankRange, float]  # the ranges a row uses, and how much of each; empty is the bare base
MOST_BYTES = 2 * 2**30  # of resident blocks: two hundred of rank 8 on a model of 135M parameters


@dataclass(frozen=True)
class Packed:
    """A block as the bank multiplies it: the A of projections that read one x stacked, so that they share a product."""

    a: dict[int, torch.Tensor]  # group -> (n r, d_in)
    b: dict[str, torch.Tensor]  # projection -> (d_out, r)
    cut: dict[str, tuple[int, int]]  # projection -> its rows of the group's A
    rank: int
    alpha: float

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [*self.a.values(), *self.b.values()]

    @property
    def nbytes(self) -> int:
        return sum(leaf.nbytes for leaf in self.leaves)

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Packed":
        """The same block with every tensor changed."""
        a = {group: change(leaf) for group, leaf in self.a.items()}
        b = {path: change(leaf) for path, leaf in self.b.items()}
        return Packed(a, b, self.cut, self.rank, self.alpha)


@dataclass(frozen=True)
class Run:
    """Neighbouring rows [start, stop) of a batch that use one block; `stop` None means every row."""

    block: Packed
    scale: float
    start: int = 0
    stop: int | None = None


@dataclass
class Plan:
    """Which rows of the next forward pass use which blocks; one object that every projection looks at."""

    runs: list[Run] = field(default_factory=list)
    rows: int | None = None  # of the batch, where the runs name rows


class Group:
    """Projections that read the same x; the first to be called multiplies for all of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._x: torch.Tensor | None = None
        self._lows: list[torch.Tensor | None] = []

    def lows(self, x: torch.Tensor, runs: list[Run], last: bool) -> list[torch.Tensor | None]:
        """(tokens of the run, n r) for every run; forgotten after the `last` of the group has asked."""
        if self._x is not x:
            self._x, self._lows = x, [self._low(x, run) for run in runs]
        found = self._lows
        if last:
            self._x, self._lows = None, []
        return found

    def _low(self, x: torch.Tensor, run: Run) -> torch.Tensor | None:
        a = run.block.a.get(self.number)
        rows = x if run.stop is None else x[run.start : run.stop]
        return None if a is None else nn.functional.linear(rows.flatten(0, -2), a.to(x.dtype))


class Projected(nn.Module):
    """A frozen linear map, and the low-rank terms that the plan asks for."""

    def __init__(self, base: nn.Module, path: str, group: Group, last: bool, plan: Plan) -> None:
        super().__init__()
        self.base, self.path, self.group, self.last, self.plan = base, path, group, last, plan

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (..., d_in) -> (..., d_out)
        y: torch.Tensor = self.base(x)
        runs = self.plan.runs
        if not runs:
            return y
        if self.plan.rows not in (None, x.shape[0]):
            raise BaseError(f"{self.path} sees {x.shape[0]} rows of {self.plan.rows}: this base cannot mix characters.")
        flat = y.flatten(0, -2)
        for run, low in zip(runs, self.group.lows(x, runs, self.last), strict=True):
            if low is not None and self.path in run.block.b:
                flat = self._add(flat, low, run, flat.shape[0] // x.shape[0])
        return flat.view(y.shape)

    def _add(self, flat: torch.Tensor, low: torch.Tensor, run: Run, width: int) -> torch.Tensor:
        """y + s B (A x) on the rows of the run, each of `width` tokens."""
        first, last = run.block.cut[self.path]
        low, b = low[:, first:last], run.block.b[self.path].to(low.dtype).t()
        if run.stop is None:
            return torch.addmm(flat, low, b, alpha=run.scale)
        flat[run.start * width : run.stop * width].addmm_(low, b, alpha=run.scale)
        return flat


@dataclass
class Resident:
    """A mounted block; it is not evicted while anybody has pinned it."""

    block: Packed
    pins: int = 0


class Bank:
    """Wraps the projections of one base model once; blocks come and go without touching it.

    The base's own weights are only ever read.
    """

    def __init__(self, base: BaseModel, most_bytes: int = MOST_BYTES) -> None:
        self.base, self.most_bytes = base, most_bytes
        self._plan = Plan()
        self._residents: dict[RankRange, Resident] = {}  # the longest unused first
        self._groups = _readers_of_one_x(base)
        for number, paths in enumerate(self._groups):
            group = Group(number)
            for path in paths:
                self._wrap(path, group, last=path == paths[-1])

    def _wrap(self, path: str, group: Group, *, last: bool) -> None:
        parent, _, leaf = path.rpartition(".")
        owner = self.base.model.get_submodule(parent)
        setattr(owner, leaf, Projected(getattr(owner, leaf), path, group, last, self._plan))

    # from PEFT's pairs to what the bank multiplies, and back

    def pack(self, block: Block) -> Packed:
        """The block's factors on the base's device, in tensors of their own.

        Raises:
            BaseMismatch: the block has modules or shapes this base has not.
        """
        for path, pair in block.pairs.items():
            shape = (pair.b.shape[0], pair.a.shape[1])
            if self.base.shapes.get(path) != shape:
                raise BaseMismatch(f"The block does not fit {self.base.name}: {path} has shape {shape}.")
        a, b, cut = {}, {}, {}
        for number, paths in enumerate(self._groups):
            present = [path for path in paths if path in block.pairs]
            if present:
                a[number] = torch.cat([block.pairs[path].a for path in present]).to(self.base.device)
            for place, path in enumerate(present):
                b[path] = block.pairs[path].b.clone().to(self.base.device)
                cut[path] = (place * block.rank, (place + 1) * block.rank)
        return Packed(a, b, cut, block.rank, block.alpha)

    def unpack(self, packed: Packed) -> Block:
        """The block as PEFT names it; shares the tensors."""
        pairs = {path: Pair(packed.a[number][slice(*packed.cut[path])].detach(), packed.b[path].detach())
                 for number, paths in enumerate(self._groups) for path in paths if path in packed.b}  # fmt: skip
        return Block(pairs, packed.rank, packed.alpha)

    # the pages

    @property
    def mounted(self) -> list[RankRange]:
        """The resident ranges, the longest unused first."""
        return list(self._residents)

    @property
    def nbytes(self) -> int:
        """What the residents take."""
        return sum(each.block.nbytes for each in self._residents.values())

    def mount(self, block: Block, at: RankRange, *, pin: bool = False) -> None:
        """Make a block resident at its range, in the base's dtype; what was unused longest makes room.

        Raises:
            RankError: the range is not the block's rank wide, overlaps a resident one, or all that is resident is
                pinned or in use.
            BaseMismatch: the block does not fit the base.
        """
        if at.rank != block.rank:
            raise RankError(f"A block of rank {block.rank} cannot lie at [{at.start}, {at.stop}).")
        clash = [each for each in self._residents if each.start < at.stop and at.start < each.stop and each != at]
        if clash:
            raise RankError(f"[{at.start}, {at.stop}) overlaps the resident [{clash[0].start}, {clash[0].stop}).")
        packed = self.pack(block).mapped(lambda leaf: leaf.to(self.base.dtype))
        before = self._residents.pop(at, None)
        self._make_room(packed.nbytes)
        self._residents[at] = Resident(packed, (before.pins if before else 0) + pin)

    def _make_room(self, wanted: int) -> None:
        in_use = {id(run.block) for run in self._plan.runs}
        idle = [at for at, each in self._residents.items() if not each.pins and id(each.block) not in in_use]
        for at in idle:
            if self.nbytes + wanted <= self.most_bytes:
                return
            del self._residents[at]
        if self.nbytes + wanted > self.most_bytes and self._residents:
            raise RankError(
                f"The bank holds {self.nbytes / 2**20:.0f} MiB of pinned blocks and has no room for another "
                f"{wanted / 2**20:.0f}: unpin one."
            )

    def evict(self, at: RankRange) -> None:
        """Forget a resident; nothing happens when it is not there."""
        self._residents.pop(at, None)

    def pin(self, at: RankRange) -> None:
        """Keep a resident until it is unpinned as often as it was pinned. Raises KeyError when it is not resident."""
        self._residents[at].pins += 1

    def unpin(self, at: RankRange) -> None:
        """Let a resident go again; nothing happens when it was evicted on purpose."""
        if at in self._residents:
            self._residents[at].pins = max(0, self._residents[at].pins - 1)

    def is_mounted(self, at: RankRange) -> bool:
        return at in self._residents

    # use

    @contextmanager
    def using(self, block: Packed | Block | None) -> Iterator[None]:
        """Every row uses `block`, mounted or not (None: the bare base); what was in use comes back afterwards."""
        packed = self.pack(block) if isinstance(block, Block) else block
        with self._planned([Run(packed, packed.scale)] if packed else [], None):
            yield

    @contextmanager
    def serving(self, rows: Sequence[Mix]) -> Iterator[None]:
        """Row i of the batch uses the resident ranges of `rows[i]`, each with its weight.

        Raises:
            KeyError: a range is not resident.
        """
        with self._planned(self._runs(rows), len(rows)):
            yield

    @contextmanager
    def _planned(self, runs: list[Run], rows: int | None) -> Iterator[None]:
        before = self._plan.runs, self._plan.rows
        self._plan.runs, self._plan.rows = runs, rows if runs else None
        try:
            yield
        finally:
            self._plan.runs, self._plan.rows = before

    def _runs(self, rows: Sequence[Mix]) -> list[Run]:
        """One run for every stretch of neighbouring rows that use a block with one weight."""
        runs: list[Run] = []
        for at in dict.fromkeys(at for mix in rows for at in mix):
            resident = self._residents.pop(at)
            self._residents[at] = resident  # used last
            weights = [mix.get(at, 0.0) for mix in rows]
            for start, stop in _stretches(weights):
                whole = start == 0 and stop == len(rows)
                scale = resident.block.scale * weights[start]
                runs.append(Run(resident.block, scale, start, None if whole else stop))
        return runs


def _stretches(weights: Sequence[float]) -> Iterator[tuple[int, int]]:
    """[start, stop) of every stretch of one weight other than zero."""
    start = 0
    for stop in range(1, len(weights) + 1):
        if stop == len(weights) or weights[stop] != weights[start]:
            if weights[start]:
                yield start, stop
            start = stop


def _readers_of_one_x(base: BaseModel) -> list[list[str]]:
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
