"""The bank at run time: a base model whose projections add whichever block is in use.
Knows blocks and projections; nothing of characters, files, text or training loops.

    y = W x + s B (A x),   s = alpha / r of the block in use, nothing added when none is
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from recipes.base_model import BaseModel
from recipes.block import Block
from registry.errors import BaseMismatch


class Projected(nn.Module):
    """A frozen linear map with a low-rank term beside it, plugged in and out by the bank."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.pair: tuple[torch.Tensor, torch.Tensor] | None = None
        self.scale = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (..., d_in) -> (..., d_out)
        y = self.base(x)
        if self.pair is None:
            return y
        a, b = (factor.to(x.dtype) for factor in self.pair)  # (r, d_in), (d_out, r)
        low = functional.linear(x, a)  # (..., r)
        flat = torch.addmm(y.flatten(0, -2), low.flatten(0, -2), b.t(), alpha=self.scale)
        return flat.view(y.shape)


class Bank:
    """Wraps the projections of one base model once; blocks come and go without touching it.

    The base's own weights are only ever read. A block in use is referenced, not copied: while it is being trained,
    its factors are the Parameters of the optimizer.
    """

    def __init__(self, base: BaseModel) -> None:
        self.base = base
        self._wrapped: dict[str, Projected] = {}
        for path in base.projections:
            parent, _, leaf = path.rpartition(".")
            owner = base.model.get_submodule(parent)
            wrapped = Projected(getattr(owner, leaf))
            setattr(owner, leaf, wrapped)
            self._wrapped[path] = wrapped

    def on_device(self, block: Block) -> Block:
        """The block's factors on the base's device, checked against its shapes.

        Raises:
            BaseMismatch: the block has modules or shapes this base has not.
        """
        for path, pair in block.pairs.items():
            shape = (pair.b.shape[0], pair.a.shape[1])
            if self.base.shapes.get(path) != shape:
                raise BaseMismatch(f"The block does not fit {self.base.name}: {path} has shape {shape}.")
        moved = {
            path: type(pair)(*(factor.to(self.base.device) for factor in pair)) for path, pair in block.pairs.items()
        }
        return Block(moved, block.rank, block.alpha)

    @contextmanager
    def using(self, block: Block | None) -> Iterator[None]:
        """Add `block` (None: the bare base) for the time of the context; whatever was in use comes back after."""
        before = [(each, each.pair, each.scale) for each in self._wrapped.values()]
        for path, wrapped in self._wrapped.items():
            wrapped.pair = block.pairs.get(path) if block else None
            wrapped.scale = block.scale if block else 0.0
        try:
            yield
        finally:
            for wrapped, pair, scale in before:
                wrapped.pair, wrapped.scale = pair, scale
