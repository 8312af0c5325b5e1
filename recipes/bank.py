"""The bank at run time: one rank space over one base model, of which only the blocks in use are resident.
Knows blocks, ranges and projections; nothing of characters, files, text or training loops.

    y = W x + B (w ⊙ (A x))        w: the row's weight times alpha / r inside its ranges, zero outside

Paged, as S-LoRA (arXiv 2311.03285) pages adapters: a block is mounted at its range, copied into physical ranks of one
large A and B a projection, and evicted (the longest unused first) without touching the base or any other block. A step
of decoding reads exactly the ranks its rows use, wherever they lie; nothing is gathered or copied for a batch, so
another character for a row is another entry in the plan, and a resident that nobody uses costs only its memory.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from recipes.base_model import BaseModel
from recipes.block import Block, Pair
from registry.errors import BaseError, BaseMismatch, RankError, UsageError
from registry.ranks import RankRange, allocate

Mix = Mapping[RankRange, float]  # the ranges a row uses, and how much of each; empty is the bare base
Lows = tuple[torch.Tensor, ...]  # A x, one tensor a projection
MOST_BYTES = 2 * 2**30  # of resident blocks: two hundred of rank 8 on a model of 135M parameters


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
class Run:
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

    runs: list[Run] = field(default_factory=list)
    ranks: Ranks | None = None  # the same for passes of one token a row
    rows: int | None = None  # of the batch, where the runs name rows
    tokens: int | None = None  # of each row, where that is known

    def follow(self, other: "Plan") -> None:
        """Become the other plan, for all who look at this one."""
        self.runs, self.ranks, self.rows, self.tokens = other.runs, other.ranks, other.rows, other.tokens

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
        """x as (tokens, d_in), and A x for every run, by projection; forgotten after the `last` of the group asked.

        For single tokens there is one entry instead: (N,) a projection, what each rank of the plan gives.
        """
        if self._x is not x or self._seen is None:
            flat = x.flatten(0, -2)
            width = plan.width(x)
            lows = (
                [self._single(flat, plan.ranks)] if plan.ranks else [self._low(flat, run, width) for run in plan.runs]
            )
            self._x, self._seen = x, (flat, lows)
        found = self._seen
        if last:
            self._x = self._seen = None
        return found

    def _low(self, flat: torch.Tensor, run: Run, width: int) -> Lows:
        """(tokens of the run, d_in) -> n times (tokens, r)."""
        rows = flat if run.stop is None else flat[run.start * width : run.stop * width]
        a = run.block.a[self.number]
        a = a if a.dtype == flat.dtype else a.to(flat.dtype)
        if a.dim() == 3:  # every row its own
            low = torch.bmm(rows.view(len(a), -1, rows.shape[1]), a.transpose(1, 2)).flatten(0, 1)
        else:
            low = nn.functional.linear(rows, a)
        return low.split(run.block.rank, dim=1) if self.width > 1 else (low,)

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
        if not plan.runs:
            return self.linear(x)
        flat, lows = self.group.seen(x, plan, self.last)
        y: torch.Tensor = self.linear(flat)  # (tokens, d_out)
        if plan.ranks is not None:
            self._add_single(y, lows[0][self.place], plan.ranks)
        else:
            self._add_runs(y, lows, plan.width(x))
        return y if x.dim() == 2 else y.view(x.shape[0], -1, y.shape[1])

    def _add_single(self, y: torch.Tensor, low: torch.Tensor, ranks: Ranks) -> None:
        """(N,) to (B, d_out): each row's own ranks of B, weighted and summed."""
        assert self.pages is not None
        y.add_(torch.embedding_bag(self.pages, ranks.at, ranks.offsets, False, 0, False, low)[0])

    def _add_runs(self, y: torch.Tensor, lows: list[Lows], width: int) -> None:
        for run, low in zip(self.plan.runs, lows, strict=True):
            b = run.block.b[self.path]
            if b.dtype != y.dtype:  # trained in fp32 under a bf16 base
                b = b.to(y.dtype)
            rows = y if run.stop is None else y[run.start * width : run.stop * width]
            if b.dim() == 3:  # every row its own
                own = rows.view(len(b), -1, rows.shape[1])
                own.baddbmm_(low[self.place].reshape(len(b), -1, b.shape[1]), b, alpha=run.scale)
            else:
                rows.addmm_(low[self.place], b, alpha=run.scale)


@dataclass
class Resident:
    """A mounted block, lying in physical ranks; it is not evicted while anybody has pinned it."""

    block: Packed
    at: RankRange
    pins: int = 0


class Bank:
    """Wraps the projections of one base model once; blocks come and go without touching it.

    The base's own weights are only ever read.
    """

    def __init__(self, base: BaseModel, most_bytes: int = MOST_BYTES) -> None:
        self.base = base
        self._device, self._dtype = base.device, base.dtype  # asked for at every plan; the model would search for them
        self._plan = Plan()
        self._plans: list[Plan] = []  # those of the contexts that are open, the innermost last
        self._residents: dict[RankRange, Resident] = {}  # the longest unused first
        self._made: tuple[tuple[list[dict[RankRange, float]], int | None], Plan] | None = (
            None  # the last plan, while nobody moves
        )
        self._paths = _readers_of_one_x(base)
        self._widths = {len(paths) for paths in self._paths}
        self._groups = [Group(number, len(paths)) for number, paths in enumerate(self._paths)]
        self._projected = {path: self._wrap(path, group, place)
                           for group, paths in zip(self._groups, self._paths, strict=True)
                           for place, path in enumerate(paths)}  # fmt: skip
        self.capacity = max(1, most_bytes // self.rank_bytes)  # physical ranks

    def _wrap(self, path: str, group: Group, place: int) -> Projected:
        parent, _, leaf = path.rpartition(".")
        owner = self.base.model.get_submodule(parent)
        wrapped = Projected(getattr(owner, leaf), path, group, place, self._plan)
        setattr(owner, leaf, wrapped)
        return wrapped

    @property
    def rank_bytes(self) -> int:
        """What one resident rank takes."""
        return sum(d_out + d_in for d_out, d_in in self.base.shapes.values()) * self._dtype.itemsize

    # from PEFT's pairs to what the bank multiplies, and back

    def pack(self, block: Block) -> Packed:
        """The block's factors on the base's device, in tensors of their own; zeros where it has none.

        Raises:
            BaseMismatch: the block has modules or shapes this base has not.
        """
        shapes, device = self.base.shapes, self._device
        for path, pair in block.pairs.items():
            shape = (pair.b.shape[0], pair.a.shape[1])
            if shapes.get(path) != shape:
                raise BaseMismatch(f"The block does not fit {self.base.name}: {path} has shape {shape}.")
        pairs = {path: block.pairs.get(path) or _nothing(block.rank, *shape) for path, shape in shapes.items()}
        a = {path: pair.a.to(device) for path, pair in pairs.items()}
        b = {path: pair.b.t().contiguous().to(device) for path, pair in pairs.items()}
        return self.stacked(a, b, block.rank, block.alpha)

    def stacked(self, a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor], rank: int, alpha: float) -> Packed:
        """Factors by projection, (r, d_in) and (r, d_out), as the bank multiplies them; no copy of B. With a first
        dimension, (rows, r, d), every row of the batch has its own: A, B or both."""
        groups = zip(self._groups, self._paths, strict=True)
        return Packed({group.number: torch.cat([a[path] for path in paths], dim=-2) for group, paths in groups},
                      dict(b), rank, alpha)  # fmt: skip

    def unpack(self, packed: Packed) -> Block:
        """The block as PEFT names it."""
        pairs = {path: Pair(a.detach(), packed.b[path].detach().t())
                 for group, paths in zip(self._groups, self._paths, strict=True)
                 for path, a in zip(paths, packed.a[group.number].split(packed.rank), strict=True)}  # fmt: skip
        return Block(pairs, packed.rank, packed.alpha)

    # the pages

    @property
    def mounted(self) -> list[RankRange]:
        """The resident ranges, the longest unused first."""
        return list(self._residents)

    def is_mounted(self, at: RankRange) -> bool:
        return at in self._residents

    @property
    def nbytes(self) -> int:
        """What the residents take."""
        return sum(each.at.rank for each in self._residents.values()) * self.rank_bytes

    def mount(self, block: Block, at: RankRange, *, pin: bool = False) -> None:
        """Make a block resident at its range, in the base's dtype; what was unused longest makes room.

        Raises:
            RankError: the range is not the block's rank wide, overlaps a resident one, or too much is pinned or in use.
            BaseMismatch: the block does not fit the base.
        """
        if at.rank != block.rank:
            raise RankError(f"A block of rank {block.rank} cannot lie at [{at.start}, {at.stop}).")
        clash = [each for each in self._residents if each.start < at.stop and at.start < each.stop and each != at]
        if clash:
            raise RankError(f"[{at.start}, {at.stop}) overlaps the resident [{clash[0].start}, {clash[0].stop}).")
        packed, before = self.pack(block), self._residents.get(at)
        self.evict(at)
        place = self._room_for(block.rank)
        self._residents[at] = Resident(self._laid(packed, place), place, (before.pins if before else 0) + pin)

    def refuse_too_wide(self, rank: int) -> None:
        """Raises RankError when a block of this rank could never be resident."""
        if rank > self.capacity:
            raise RankError(f"A bank over {self.base.name} holds {self.capacity} ranks at once: choose a lower rank.")

    def _room_for(self, rank: int) -> RankRange:
        """Free physical ranks side by side, idle residents evicted one after the other until there are."""
        idle = [at for at, each in self._residents.items() if not each.pins and not self._is_in_use(each)]
        self.refuse_too_wide(rank)
        while True:
            try:
                return allocate(rank, sorted(each.at for each in self._residents.values()), self.capacity)
            except (RankError, UsageError):
                if not idle:
                    raise RankError(
                        f"The bank holds {self.capacity} ranks at once and has no {rank} side by side that are neither "
                        f"pinned nor in use: unpin a block, or give the bank more memory."
                    ) from None
                del self._residents[idle.pop(0)]

    def _laid(self, packed: Packed, place: RankRange) -> Packed:
        """The block copied into physical ranks, its scale multiplied into A; what comes back lies there."""
        a, b = {}, {}
        with torch.inference_mode():
            for group, paths in zip(self._groups, self._paths, strict=True):
                source, n = packed.a[group.number], group.width
                if group.pages is None:
                    group.pages = self._empty(n * self.capacity, source.shape[1])
                a[group.number] = group.pages[n * place.start : n * place.stop].copy_(source * packed.scale)
                for path in paths:
                    wrapped = self._projected[path]
                    if wrapped.pages is None:
                        wrapped.pages = self._empty(self.capacity, packed.b[path].shape[1])
                    b[path] = wrapped.pages[place.start : place.stop].copy_(packed.b[path])
        return Packed(a, b, packed.rank, alpha=packed.rank)

    def _empty(self, rows: int, width: int) -> torch.Tensor:
        """Reserved, not filled: on a CPU memory is taken when it is first written to."""
        return torch.empty(rows, width, dtype=self._dtype, device=self._device)

    def _is_in_use(self, resident: Resident) -> bool:
        return any(run.block is resident.block for plan in self._plans for run in plan.runs)

    def evict(self, at: RankRange) -> None:
        """Forget a resident; nothing happens when it is not there. Raises RankError when a row is using it."""
        if at in self._residents and self._is_in_use(self._residents[at]):
            raise RankError(f"The block at [{at.start}, {at.stop}) is in use and cannot leave.")
        self._made = None
        self._residents.pop(at, None)

    def pin(self, at: RankRange) -> None:
        """Keep a resident until it is unpinned as often as it was pinned. Raises KeyError when it is not resident."""
        self._residents[at].pins += 1

    def unpin(self, at: RankRange) -> None:
        """Let a resident go again; nothing happens when it was evicted on purpose."""
        if at in self._residents:
            self._residents[at].pins = max(0, self._residents[at].pins - 1)

    # use

    @contextmanager
    def using(self, block: Packed | Block | None) -> Iterator[None]:
        """Every row uses `block`, mounted or not (None: the bare base); what was in use comes back afterwards."""
        packed = self.pack(block) if isinstance(block, Block) else block
        with self._planned(Plan([Run(packed, packed.scale)] if packed else [])):
            yield

    @contextmanager
    def serving(self, rows: Sequence[Mix], *, tokens: int | None = None) -> Iterator[None]:
        """Row i of the batch uses the resident ranges of `rows[i]`, each with its weight, in passes of `tokens` a row
        where that is known.

        Raises:
            KeyError: a range is not resident.
        """
        key = [dict(mix) for mix in rows], tokens
        if self._made is None or self._made[0] != key:  # most steps serve whom the last one served
            runs = self._runs(rows)
            whole = all(run.stop is None for run in runs)
            ranks = self._ranks(rows) if tokens == 1 and len(runs) > 1 else None
            self._made = key, Plan(runs, ranks, None if whole else len(rows), tokens)
        with self._planned(self._made[1]):
            yield

    @contextmanager
    def _planned(self, plan: Plan) -> Iterator[None]:
        self._plans.append(plan)
        self._plan.follow(plan)
        try:
            yield
        finally:
            self._plans.pop()
            self._plan.follow(self._plans[-1] if self._plans else Plan())

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

    def _ranks(self, rows: Sequence[Mix]) -> Ranks:
        """In numpy: these are small arrays of places, and torch would take longer to be asked than to answer."""
        uses = [(row, self._residents[at].at, weight) for row, mix in enumerate(rows) for at, weight in mix.items()]
        widths = [at.rank for _, at, _ in uses]
        owners = np.repeat([row for row, _, _ in uses], widths)
        weights = {weight for _, _, weight in uses}
        offsets = np.searchsorted(owners, np.arange(len(rows) + 1))
        ranges = [at for _, at, _ in uses]
        each = np.repeat(np.array([weight for _, _, weight in uses], dtype=np.float32), widths)
        return Ranks(
            at=self._moved(np.concatenate([np.arange(*at) for at in ranges])),
            row=self._moved(owners),
            weight=None if weights == {1.0} else self._moved(each).to(self._dtype),
            offsets=self._moved(offsets[:-1]),
            patterns={n: self._pattern(n, ranges, offsets) for n in self._widths},
        )

    def _pattern(self, n: int, ranges: list[RankRange], offsets: np.ndarray) -> tuple[Any, Any]:
        """Where the (B, n R) product of x and a group's pages is wanted; the order of its values module by module."""
        columns = self._moved(np.concatenate([np.arange(n * at.start, n * at.stop) for at in ranges]))
        values = torch.zeros(len(columns), dtype=self._dtype, device=columns.device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch announces that sparse tensors are in beta
            size = (len(offsets) - 1, n * self.capacity)
            pattern = torch.sparse_csr_tensor(self._moved(n * offsets), columns, values, size, check_invariants=False)
        modules = np.concatenate([np.repeat(np.arange(n), at.rank) for at in ranges])
        return pattern, self._moved(np.argsort(modules, kind="stable")) if n > 1 else None

    def _moved(self, places: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(places).to(self._device)


def _nothing(rank: int, d_out: int, d_in: int) -> Pair:
    return Pair(torch.zeros(rank, d_in), torch.zeros(d_out, rank))


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
