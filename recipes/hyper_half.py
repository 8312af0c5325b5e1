"""Hyper-Half LoRA (HyCoRA, arXiv 2511.08017, eq. 1-4): a hyper-network writes one half of every character's block, and
the other half is shared. Knows shapes and tensors; nothing of rows, training or files.

    h_0 = ReLU(W_in [e_c; e_l] + b_in)              (1)
    h_{i+1} = h_i + W_2 ReLU(W_1 h_i + b_1) + b_2   (2)
    A_sp = U (D h_N + b_d) + b_u                    (3)
    y = W_0 x + alpha / r B_sh A_sp x               (4)

Equation 2 is printed without `h_i +`; the text calls the blocks residual, and so they are here. W_in and the blocks are
one for all; U and D are one for every kind of projection (its path without the layer's number), since kinds differ in
shape. What is generated here for a character is an ordinary block: whoever uses it knows of no hyper-network.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from recipes.block import Block, Pair, fresh_block
from recipes.cohort_recipe import CohortRecipe

Shapes = Mapping[str, tuple[int, int]]  # module path -> (d_out, d_in)
LAYER = re.compile(r"(?<=\.)\d+(?=\.)")  # the number of a layer in such a path


@dataclass(frozen=True)
class Halves:
    """Both factors of n characters at every projection; what is shared has no first dimension."""

    a: dict[str, torch.Tensor]  # (n, r, d_in) or (r, d_in)
    b: dict[str, torch.Tensor]  # (n, r, d_out) or (r, d_out)

    def of(self, who: int | torch.Tensor) -> "Halves":
        """Those of one character, without the first dimension, or of (m,) in their order; what is shared stays."""
        return Halves(*({path: each[who] if each.dim() == 3 else each for path, each in half.items()}
                        for half in (self.a, self.b)))  # fmt: skip


class Residual(nn.Module):
    """Equation 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h + self.second(torch.relu(self.first(h)))


class Writer(nn.Module):
    """Equation 3 for one kind of projection: (n, layers, d_h) -> (n, layers, r, d)."""

    def __init__(self, hidden: int, bottleneck: int, rank: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, rank * width)
        self.shape = (rank, width)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.up(self.down(h)).unflatten(-1, self.shape)


class HyperHalf(nn.Module):
    """The hyper-network, the characters it knows, and the shared halves."""

    def __init__(self, shapes: Shapes, recipe: CohortRecipe, members: int, seed: int, persona_width: int = 0) -> None:
        super().__init__()
        self.recipe, self.persona_width = recipe, persona_width if recipe.persona else 0
        self.kinds = _kinds(shapes)
        self.depth = 1 + max(layer for paths in self.kinds.values() for layer in paths.values())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._make(shapes, members)
        self._share(fresh_block(dict(shapes), recipe.rank, recipe.alpha, seed))
        self._spread(shapes)

    def _make(self, shapes: Shapes, members: int) -> None:
        of, width = self.recipe, self.persona_width
        self.characters = nn.Parameter(torch.randn(members, of.character_width))
        self.layers = nn.Parameter(torch.randn(self.depth, of.layer_width))
        self.persona = nn.Linear(width, of.character_width, bias=False) if width else None
        self.inward = nn.Linear(of.character_width + of.layer_width, of.hidden_width)
        self.blocks = nn.Sequential(*[Residual(of.hidden_width) for _ in range(of.residual_blocks)])
        self.write_a, self.write_b = nn.ModuleDict(), nn.ModuleDict()
        for place, paths in enumerate(self.kinds.values()):
            d_out, d_in = shapes[next(iter(paths))]
            if of.writes("a"):
                self.write_a[str(place)] = Writer(of.hidden_width, of.bottleneck, of.rank, d_in)
            if of.writes("b"):
                self.write_b[str(place)] = Writer(of.hidden_width, of.bottleneck, of.rank, d_out)

    def _share(self, fresh: Block) -> None:
        """The halves that nobody writes, as in any LoRA: A random, B zero."""
        paths = sorted(fresh.pairs)
        self.paths = {path: str(place) for place, path in enumerate(paths)}  # names without dots
        shared_a = {} if self.recipe.writes("a") else {path: fresh.pairs[path].a for path in paths}
        shared_b = {} if self.recipe.writes("b") else {path: fresh.pairs[path].b.t() for path in paths}
        self.shared_a = _parameters({self.paths[path]: each for path, each in shared_a.items()})
        self.shared_b = _parameters({self.paths[path]: each for path, each in shared_b.items()})

    @torch.no_grad()
    def _spread(self, shapes: Shapes) -> None:
        """Scale U so that a written A has the spread of an ordinary one, a uniform one in +-1 / sqrt(d_in); a written B
        starts at zero."""
        h = self.hidden(self.characters)
        for place, paths in zip(self.write_a, self.kinds.values(), strict=False):
            writer: Any = self.write_a[place]
            writer.up.bias.zero_()
            d_in = shapes[next(iter(paths))][1]
            writer.up.weight.mul_((3 * d_in) ** -0.5 / writer(h).std())
        for each in self.write_b.values():
            up: Any = each.up
            up.weight.zero_()
            up.bias.zero_()

    @property
    def biases(self) -> list[nn.Parameter]:
        """b_u of every writer: what it writes for everybody."""
        writers: list[Any] = [*self.write_a.values(), *self.write_b.values()]
        return [each.up.bias for each in writers]

    def embeddings(self, personas: torch.Tensor | None = None, kept: torch.Tensor | None = None) -> torch.Tensor:
        """(members, d_c): e_c of everybody; `personas` (members, p) where the network reads them, `kept` (members, 1)
        the ids that are not left out."""
        ids = self.characters if kept is None else self.characters * kept
        return ids + self.read(personas)

    def read(self, personas: torch.Tensor | None) -> torch.Tensor | float:
        """What personas (n, p) add to ids."""
        return 0.0 if self.persona is None or personas is None else self.persona(personas)

    def hidden(self, who: torch.Tensor) -> torch.Tensor:
        """(n, d_c) -> (n, layers, d_h): equations 1 and 2 for every layer."""
        n = len(who)
        pairs = torch.cat([who[:, None].expand(n, self.depth, -1), self.layers.expand(n, -1, -1)], -1)
        found: torch.Tensor = self.blocks(torch.relu(self.inward(pairs)))
        return found

    def forward(self, who: torch.Tensor) -> Halves:
        """(n, d_c) -> the halves of n characters, every projection at once."""
        h = self.hidden(who) if self.recipe.writes_something else None
        return Halves(self._half(self.write_a, self.shared_a, h), self._half(self.write_b, self.shared_b, h))

    def _half(
        self, writers: nn.ModuleDict, shared: nn.ParameterDict, h: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        if h is None or not len(writers):
            return {path: shared[place] for path, place in self.paths.items()}
        found: dict[str, torch.Tensor] = {}
        for place, paths in enumerate(self.kinds.values()):
            written = writers[str(place)](h[:, list(paths.values())]).unbind(1)  # layers of (n, r, d)
            found |= dict(zip(paths, written, strict=True))
        return found

    @torch.no_grad()
    def materialised(self, who: torch.Tensor) -> Block:
        """(d_c,) -> the block of one character, in ordinary memory as any other block."""
        halves = self(who[None]).of(0)
        pairs = {path: Pair(halves.a[path].cpu().clone(), halves.b[path].t().cpu().clone()) for path in self.paths}
        return Block(pairs, self.recipe.rank, self.recipe.alpha)


def _parameters(tensors: Mapping[str, torch.Tensor]) -> nn.ParameterDict:
    whole = {name: each.clone(memory_format=torch.contiguous_format) for name, each in tensors.items()}
    return nn.ParameterDict({name: nn.Parameter(each) for name, each in whole.items()})


def _kinds(shapes: Shapes) -> dict[str, dict[str, int]]:
    """Kind -> path -> layer: projections of one shape whose paths differ in the first number alone."""
    found: dict[str, dict[str, int]] = {}
    numbers: dict[int, int] = {}
    for path in shapes:
        number = LAYER.search(path)
        kind = f"{path[: number.start()]}*{path[number.end() :]}" if number else path
        layer = numbers.setdefault(int(number.group()) if number else -1, len(numbers))
        found.setdefault(f"{kind} {shapes[path]}", {})[path] = layer
    return found


def likeness(blocks: Sequence[Block], half: Literal["a", "b"] = "a") -> torch.Tensor:
    """(n, n) mean cosine of a half between characters, over projections: near 1 everywhere where it is written, the
    roles have collapsed."""
    total = torch.zeros(len(blocks), len(blocks))
    for path in blocks[0].pairs:
        halves = [getattr(block.pairs[path], half).flatten() for block in blocks]
        flat = nn.functional.normalize(torch.stack(halves), dim=1)
        total += flat @ flat.T
    return total / len(blocks[0].pairs)
