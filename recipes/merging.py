"""Many blocks into one: each method a pure function from weighted factors to factors.
Knows tensors and weights; nothing of characters, models or why somebody is a neighbour.

What is to be approximated, at every module, is the weighted sum of what the blocks add to the base:

    delta_W = sum_i c_i B_i A_i        c_i = w_i alpha_i / r_i,  A_i in R^(r_i x d_in),  B_i in R^(d_out x r_i)

It is never formed: K = sum r_i is small, and everything is done on the stacked factors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from recipes.block import Block, Pair
from recipes.recipe import Merging
from registry.errors import UsageError


@dataclass(frozen=True)
class Part:
    """One block and its weight in the sum; a negative weight takes the block away."""

    block: Block
    weight: float


@dataclass(frozen=True)
class Merged:
    """A block, and its squared distance from the sum over the sum's own energy (squared Frobenius norms), by module and
    in all. For `svd`, a projection, that is the share of the energy it discards; factor-wise merges may exceed 1."""

    block: Block
    lost: dict[str, float]
    lost_in_all: float


@dataclass(frozen=True)
class Term:
    """One summand at one module."""

    a: torch.Tensor  # (r, d_in)
    b: torch.Tensor  # (d_out, r)
    weight: float
    scale: float

    @property
    def c(self) -> float:
        return self.weight * self.scale


@dataclass(frozen=True)
class Spectrum:
    """The sum at one module, exact: delta_W = u diag(s) v, with orthonormal u and v and s falling."""

    u: torch.Tensor  # (d_out, m)
    s: torch.Tensor  # (m,)
    v: torch.Tensor  # (m, d_in)

    def cut(self, rank: int) -> Pair:
        """The best approximation of this rank (Eckart and Young, 1936), sqrt(s) on either side; zeros beyond m."""
        keep = min(rank, len(self.s))
        root = self.s[:keep].sqrt()
        return _widened(Pair(root[:, None] * self.v[:keep], self.u[:, :keep] * root), rank)

    def energies(self, rank: int) -> tuple[float, float]:
        """(beyond the rank, in all)."""
        squares = self.s.double().square()
        return float(squares[rank:].sum()), float(squares.sum())


def spectrum(terms: Sequence[Term]) -> Spectrum:
    """Diagonalise the sum through two thin QR factorisations.

    [c_1 B_1 ... c_k B_k] = Q_b R_b,   [A_1; ...; A_k]^T = Q_a R_a,   R_b R_a^T = U S V (K x K)
    delta_W = (Q_b U) S (V Q_a^T)
    """
    q_b, r_b = torch.linalg.qr(torch.cat([term.b * term.c for term in terms], dim=1))
    q_a, r_a = torch.linalg.qr(torch.cat([term.a for term in terms]).t())
    u, s, v = torch.linalg.svd(r_b @ r_a.t(), full_matrices=False)
    return Spectrum(q_b @ u, s, v @ q_a.t())


def elementwise(terms: Sequence[Term]) -> Pair:
    """The weighted mean of the factors themselves (Neeko, arXiv 2402.13717, the fusion strategy); the scale stays.

    A = sum_i w_i A_i,   B = sum_i w_i B_i

    B A then also holds every cross term w_i w_j B_i A_j: it is the sum only when the blocks are alike.
    """
    a = torch.stack([term.weight * term.a for term in terms]).sum(0)
    b = torch.stack([term.weight * term.b for term in terms]).sum(0)
    return Pair(a, b)


def cat(terms: Sequence[Term]) -> Pair:
    """The factors side by side: exact, and as wide as all of them together.

    A = [c_1 A_1; ...; c_k A_k],   B = [B_1 ... B_k]
    """
    return Pair(torch.cat([term.c * term.a for term in terms]), torch.cat([term.b for term in terms], dim=1))


def ties(terms: Sequence[Term], density: float) -> Pair:
    """Trim, elect a sign, merge those who agree (TIES, arXiv 2306.01708), on each factor by itself, as PEFT does:

    A = ties(A_i; sqrt(c_i)),   B = ties(B_i; sqrt(c_i))        signs are elected before the weights are applied
    """
    from peft.utils.merge_utils import ties as merged

    return _by_factor(terms, lambda tensors, weights: merged(tensors, weights, density))


def dare_ties(terms: Sequence[Term], density: float) -> Pair:
    """Like `ties`, with entries dropped at random and the rest rescaled instead of trimmed (DARE, arXiv 2311.03099)."""
    from peft.utils.merge_utils import dare_ties as merged

    return _by_factor(terms, lambda tensors, weights: merged(tensors, weights, density))


def _by_factor(terms: Sequence[Term], merged: Callable[[list[torch.Tensor], torch.Tensor], torch.Tensor]) -> Pair:
    """PEFT's functions for lists of tensors, with the weights its `add_weighted_adapter` gives them."""
    roots = torch.tensor([term.c**0.5 for term in terms])
    return Pair(merged([term.a for term in terms], roots), merged([term.b for term in terms], roots))


def merge(parts: Sequence[Part], how: Merging, rank: int, *, seed: int = 0) -> Merged:
    """One block out of many, of `rank` (or of the rank that keeps `how.energy`, where that is asked for).

    `seed` is what `dare_ties` drops by.

    Raises:
        UsageError: the method cannot merge these blocks, or not into this rank.
    """
    blocks = [part.block for part in parts]
    how.refuse([each.rank for each in blocks], [each.alpha for each in blocks], [part.weight for part in parts], rank)
    terms = {module: _terms(parts, module) for module in sorted({path for part in parts for path in part.block.pairs})}
    if how.method == "svd":
        return _by_spectrum({module: spectrum(found) for module, found in terms.items()}, how, rank)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pairs = {module: _widened(_pair(found, how), rank) for module, found in terms.items()}
    alpha = parts[0].block.alpha if how.method == "elementwise" else float(rank)
    block = Block(pairs, rank, alpha)
    return _weighed(block, {module: missed(terms[module], pair, block.scale) for module, pair in pairs.items()})


def rank_for(spectra: Sequence[Spectrum], energy: float) -> int:
    """The smallest rank at which the modules together keep this share of their energy."""
    most = max(len(each.s) for each in spectra)
    kept = torch.zeros(most, dtype=torch.float64)
    for each in spectra:
        kept[: len(each.s)] += each.s.double().square()
    kept = kept.cumsum(0)
    return int(torch.searchsorted(kept, energy * float(kept[-1]))) + 1


def missed(terms: Sequence[Term], pair: Pair, scale: float) -> tuple[float, float]:
    """(energy of the sum less what the pair adds, energy of the sum), by Gram matrices: ||B A||^2 = <B^T B, A A^T>."""
    c = torch.tensor([term.c for term in terms for _ in range(term.a.shape[0])], dtype=torch.float64)
    a, b = torch.cat([term.a for term in terms]).double(), torch.cat([term.b for term in terms], dim=1).double() * c
    rest_a, rest_b = torch.cat([a, pair.a.double()]), torch.cat([b, -scale * pair.b.double()], dim=1)
    return _energy(rest_a, rest_b), _energy(a, b)


def _energy(a: torch.Tensor, b: torch.Tensor) -> float:
    return max(0.0, float(((b.t() @ b) * (a @ a.t())).sum()))


def _terms(parts: Sequence[Part], module: str) -> list[Term]:
    """The summands at a module; a block that has nothing there is left out."""
    return [Term(*part.block.pairs[module], part.weight, part.block.scale)
            for part in parts if module in part.block.pairs]  # fmt: skip


def _by_spectrum(spectra: dict[str, Spectrum], how: Merging, rank: int) -> Merged:
    if how.energy is not None:
        most, rank = rank, rank_for(list(spectra.values()), how.energy)
        if rank > most:
            raise UsageError(
                f"Keeping {how.energy:.1%} takes {rank} ranks, more than the {most} there can be: keep less."
            )
    block = Block({module: found.cut(rank) for module, found in spectra.items()}, rank, float(rank))
    return _weighed(block, {module: found.energies(rank) for module, found in spectra.items()})


def _pair(terms: Sequence[Term], how: Merging) -> Pair:
    if how.method == "elementwise":
        return elementwise(terms)
    if how.method == "cat":
        return cat(terms)
    return {"ties": ties, "dare_ties": dare_ties}[how.method](terms, how.density)


def _weighed(block: Block, energies: dict[str, tuple[float, float]]) -> Merged:
    lost = {module: gone / whole if whole else 0.0 for module, (gone, whole) in energies.items()}
    gone, whole = (sum(each[side] for each in energies.values()) for side in (0, 1))
    return Merged(block, lost, gone / whole if whole else 0.0)


def _widened(pair: Pair, rank: int) -> Pair:
    """The same product at a larger rank: zeros behind."""
    short = rank - pair.a.shape[0]
    if not short:
        return Pair(pair.a.contiguous(), pair.b.contiguous())
    a, b = pair.a.new_zeros(short, pair.a.shape[1]), pair.b.new_zeros(pair.b.shape[0], short)
    return Pair(torch.cat([pair.a, a]), torch.cat([pair.b, b], dim=1))
