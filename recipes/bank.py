"""The bank at run time: one rank space over one base model, of which only the blocks in use are resident.
Knows blocks, ranges and projections; nothing of characters, files, text or training loops.

    y = W x + B (w ⊙ (A x))        w: the row's weight times alpha / r inside its ranges, zero outside

Paged, as S-LoRA (arXiv 2311.03285) pages adapters: a block is mounted at its range, copied into physical ranks of one
large A and B a projection, and evicted (the longest unused first) without touching the base or any other block. A step
of decoding reads exactly the ranks its rows use, wherever they lie; nothing is gathered or copied for a batch, so
another character for a row is another entry in the plan, and a resident that nobody uses costs only its memory.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recipes.base_model import BaseModel
from recipes.block import Block, Pair
from recipes.projections import Group, Packed, Plan, Projected, Ranks, Stretch, readers_of_one_x
from registry.errors import BaseMismatch, RankError, UsageError
from registry.ranks import RankRange, allocate

PlanKey = tuple[list[dict[RankRange, float]], int | None]  # the rows' mixes, and how many tokens each has
Mix = Mapping[RankRange, float]  # the ranges a row uses, and how much of each; empty is the bare base
MOST_BYTES = 2 * 2**30  # of resident blocks: two hundred of rank 8 on a model of 135M parameters


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
        self._made: tuple[PlanKey, Plan] | None = None  # the last plan, while nobody moves
        self._paths = readers_of_one_x(base)
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
        """The block as PEFT names it, in main memory wherever it was trained."""
        pairs = {path: Pair(a.detach().cpu(), packed.b[path].detach().t().cpu())
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

    def mount(self, block: Block, at: RankRange) -> None:
        """Make a block resident at its range, in the base's dtype; what was unused longest makes room.

        Raises:
            RankError: the range is not the block's rank wide, overlaps a resident one, or too much is pinned or in use.
            BaseMismatch: the block does not fit the base.
        """
        if at.rank != block.rank:
            raise RankError(f"A block of rank {block.rank} cannot lie at {at}.")
        clash = [each for each in self._residents if each.start < at.stop and at.start < each.stop and each != at]
        if clash:
            raise RankError(f"{at} overlaps the resident {clash[0]}.")
        packed, before = self.pack(block), self._residents.get(at)
        self.evict(at)
        place = self._room_for(block.rank)
        self._residents[at] = Resident(self._laid(packed, place), place, before.pins if before else 0)

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
        return any(stretch.block is resident.block for plan in self._plans for stretch in plan.stretches)

    def evict(self, at: RankRange) -> None:
        """Forget a resident; nothing happens when it is not there. Raises RankError when a row is using it."""
        if at in self._residents and self._is_in_use(self._residents[at]):
            raise RankError(f"The block at {at} is in use and cannot leave.")
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
        with self._planned(Plan([Stretch(packed, packed.scale)] if packed else [])):
            yield

    @contextmanager
    def serving(self, rows: Sequence[Mix], *, tokens: int | None = None) -> Iterator[None]:
        """Row i of the batch uses the resident ranges of `rows[i]`, each with its weight (one entry alone: every row
        does, where `tokens` is not given), in passes of `tokens` a row where that is known.

        Raises:
            KeyError: a range is not resident.
        """
        key = [dict(mix) for mix in rows], tokens
        if self._made is None or self._made[0] != key:  # most steps serve whom the last one served
            stretches = self._stretches(rows)
            whole = all(stretch.stop is None for stretch in stretches)
            ranks = self._ranks(rows) if tokens == 1 and len(stretches) > 1 else None
            self._made = key, Plan(stretches, ranks, None if whole else len(rows), tokens)
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

    def _stretches(self, rows: Sequence[Mix]) -> list[Stretch]:
        """Every one of neighbouring rows that use a block with one weight."""
        stretches: list[Stretch] = []
        for at in dict.fromkeys(at for mix in rows for at in mix):
            resident = self._residents.pop(at)
            self._residents[at] = resident  # used last
            weights = [mix.get(at, 0.0) for mix in rows]
            for start, stop in _spans(weights):
                whole = start == 0 and stop == len(rows)
                scale = resident.block.scale * weights[start]
                stretches.append(Stretch(resident.block, scale, start, None if whole else stop))
        return stretches

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


def _spans(weights: Sequence[float]) -> Iterator[tuple[int, int]]:
    """[start, stop) of every stretch of one weight other than zero."""
    start = 0
    for stop in range(1, len(weights) + 1):
        if stop == len(weights) or weights[stop] != weights[start]:
            if weights[start]:
                yield start, stop
            start = stop
