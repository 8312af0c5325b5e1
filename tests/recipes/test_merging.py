"""Merges against dense float64 references: what is kept, what is discarded, and what is refused."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.block import Block, Pair
from recipes.merging import Merged, Part, merge, rank_for, spectrum
from recipes.recipe import Merging
from registry.errors import UsageError
from tests.bench.fusion import largest_tensor

SHAPES = {"layers.0.q": (12, 20), "layers.0.down": (30, 16)}


def block(seed: int, rank: int = 4, alpha: float = 8.0, shapes: dict[str, tuple[int, int]] = SHAPES) -> Block:
    generator = torch.Generator().manual_seed(seed)
    pairs = {path: Pair(torch.randn(rank, d_in, generator=generator), torch.randn(d_out, rank, generator=generator))
             for path, (d_out, d_in) in shapes.items()}  # fmt: skip
    return Block(pairs, rank, alpha)


def dense(block: Block, path: str) -> np.ndarray:
    """(alpha / r) B A in float64."""
    a, b = (each.double().numpy() for each in block.pairs[path])
    return block.alpha / block.rank * b @ a


def dense_sum(parts: list[Part], path: str) -> np.ndarray:
    return sum((part.weight * dense(part.block, path) for part in parts if path in part.block.pairs), start=0.0)  # type: ignore[return-value]


def parts(*weights: float, **options: float) -> list[Part]:
    return [Part(block(seed, **options), weight) for seed, weight in enumerate(weights)]  # type: ignore[arg-type]


def share(part: np.ndarray, whole: np.ndarray) -> float:
    return float((part**2).sum() / (whole**2).sum())


# svd


@given(weights=st.lists(st.floats(-2, 2).filter(lambda each: abs(each) > 0.05), min_size=1, max_size=4),
       ranks=st.lists(st.integers(1, 5), min_size=4, max_size=4),
       alphas=st.lists(st.floats(1, 32), min_size=4, max_size=4), rank=st.integers(1, 10))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_svd_is_the_best_block_of_its_rank_for_any_weights_ranks_and_alphas(weights, ranks, alphas, rank) -> None:
    given_ = [Part(block(place, ranks[place], alphas[place]), weight) for place, weight in enumerate(weights)]
    merged = merge(given_, Merging(), rank)
    for path in SHAPES:
        whole = dense_sum(given_, path)
        u, s, v = np.linalg.svd(whole, full_matrices=False)
        best = (u[:, :rank] * s[:rank]) @ v[:rank]
        assert np.abs(dense(merged.block, path) - best).max() < 1e-4 * s[0]
        assert merged.lost[path] == pytest.approx(float((s[rank:] ** 2).sum() / (s**2).sum()), abs=1e-6)
    assert (merged.block.rank, merged.block.scale) == (rank, 1.0)


def test_the_share_discarded_in_all_weighs_every_module_by_its_energy() -> None:
    given_ = parts(0.5, 0.3, 0.2)
    merged = merge(given_, Merging(), 4)
    rests = {path: dense_sum(given_, path) - dense(merged.block, path) for path in SHAPES}
    whole = {path: dense_sum(given_, path) for path in SHAPES}
    in_all = sum((rest**2).sum() for rest in rests.values()) / sum((each**2).sum() for each in whole.values())
    assert merged.lost_in_all == pytest.approx(in_all, abs=1e-6)
    assert 0 < merged.lost_in_all < 1


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99, 1.0])
def test_energy_picks_the_smallest_rank_that_keeps_it(energy: float) -> None:
    given_ = parts(0.5, 0.3, 0.2)
    merged = merge(given_, Merging(energy=energy), 12)
    assert merged.lost_in_all <= 1 - energy + 1e-6
    if merged.block.rank > 1:
        assert merge(given_, Merging(), merged.block.rank - 1).lost_in_all > 1 - energy - 1e-9


def test_an_energy_that_takes_more_ranks_than_there_are_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Keeping 100.0% takes 12 ranks, more than the 5"):
        merge(parts(0.5, 0.3, 0.2), Merging(energy=1.0), 5)


def test_energy_of_one_stops_at_the_rank_the_sum_has() -> None:
    twice = block(0)
    found = merge([Part(twice, 0.5), Part(twice, 0.5)], Merging(energy=0.999999), 8)
    assert found.block.rank == 4


def test_the_rank_for_an_energy_counts_the_modules_together() -> None:
    strong, weak = (spectrum(_terms(block(seed), path)) for seed, path in enumerate(SHAPES))
    assert rank_for([strong], 1.0) == rank_for([strong, weak], 1.0) == 4


def _terms(of: Block, path: str):
    from recipes.merging import Term

    return [Term(*of.pairs[path], 1.0, of.scale)]


def test_a_rank_beyond_the_parents_is_filled_with_zeros() -> None:
    merged = merge(parts(1.0), Merging(), 9).block
    assert {(pair.a.shape[0], pair.b.shape[1]) for pair in merged.pairs.values()} == {(9, 9)}
    assert all(not pair.a[4:].any() and not pair.b[:, 4:].any() for pair in merged.pairs.values())


def test_a_module_that_one_parent_lacks_is_merged_from_the_others() -> None:
    only = block(1, shapes={"layers.0.q": SHAPES["layers.0.q"]})
    given_ = [Part(block(0), 0.6), Part(only, 0.4)]
    merged = merge(given_, Merging(), 8).block
    for path in SHAPES:
        assert np.allclose(dense(merged, path), dense_sum(given_, path), atol=1e-4)


def test_svd_never_forms_the_product_it_approximates(monkeypatch) -> None:
    """No tensor made on the way has as many elements as delta_W."""
    d_out, d_in = 700, 900
    given_ = [Part(block(seed, shapes={"m": (d_out, d_in)}), 0.3) for seed in range(3)]
    seen = largest_tensor(lambda: merge(given_, Merging(), 4))
    assert 0 < seen < d_out * d_in / 10


# the others


def test_elementwise_is_the_mean_of_the_factors_and_keeps_the_scale() -> None:
    given_ = parts(0.7, 0.3)
    merged = merge(given_, Merging(method="elementwise"), 4)
    for path in SHAPES:
        a = sum(part.weight * part.block.pairs[path].a.double().numpy() for part in given_)
        b = sum(part.weight * part.block.pairs[path].b.double().numpy() for part in given_)
        assert np.allclose(dense(merged.block, path), 2.0 * b @ a, atol=1e-4)
    assert merged.block.alpha == 8.0


def test_elementwise_of_twins_is_the_twin() -> None:
    twin = block(0)
    merged = merge([Part(twin, 0.5), Part(twin, 0.5)], Merging(method="elementwise"), 4)
    assert merged.lost_in_all < 1e-12


def test_cat_is_exact_and_as_wide_as_all_together() -> None:
    given_ = [Part(block(0, 4, 8.0), 0.7), Part(block(1, 2, 3.0), -0.4)]
    merged = merge(given_, Merging(method="cat"), 6)
    for path in SHAPES:
        assert np.allclose(dense(merged.block, path), dense_sum(given_, path), atol=1e-4)
    assert merged.lost_in_all < 1e-12


def test_ties_trims_elects_and_merges_those_who_agree() -> None:
    given_ = parts(0.6, 0.4, 0.5)
    merged = merge(given_, Merging(method="ties", density=0.4), 4)
    roots = [np.sqrt(part.weight * part.block.scale) for part in given_]
    for path in SHAPES:
        for side in (0, 1):
            factors = [part.block.pairs[path][side].double().numpy() for part in given_]
            assert np.allclose(merged.block.pairs[path][side].numpy(), _ties(factors, roots, 0.4), atol=1e-5)


def _ties(tensors: list[np.ndarray], weights: list[float], density: float) -> np.ndarray:
    """arXiv 2306.01708, algorithm 1, on one factor."""
    thresholds = [np.sort(np.abs(each).ravel())[-int(density * each.size)] for each in tensors]
    trimmed = np.stack(
        [np.where(np.abs(each) >= bound, each, 0.0) for each, bound in zip(tensors, thresholds, strict=True)]
    )
    elected = np.where(trimmed.sum(0) >= 0, 1, -1)
    agree = np.sign(trimmed) == elected
    weighed = trimmed * np.array(weights)[:, None, None]
    return (weighed * agree).sum(0) / np.maximum(agree.sum(0), 1)


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_a_negative_weight_where_signs_are_elected_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match="elects signs before weights"):
        merge(parts(0.7, -0.3), Merging(method=method), 4)


@pytest.mark.parametrize("method", ["cat", "ties"])
def test_the_block_is_what_peft_merges_of_the_same_adapters(method: str) -> None:
    given_ = parts(0.6, 0.4)
    ours = merge(given_, Merging(method=method, density=0.5), 8 if method == "cat" else 4).block
    model = _peft([part.block for part in given_])
    model.add_weighted_adapter(["0", "1"], [0.6, 0.4], "merged", combination_type=method, density=0.5)
    for path in SHAPES:
        layer = model.base_model.model.get_submodule(path)
        assert np.allclose(dense(ours, path), layer.get_delta_weight("merged").detach().numpy(), atol=1e-4)


def _peft(blocks: list[Block]):
    """Linear maps without weights worth keeping, and the blocks as PEFT's adapters on them."""
    from peft import LoraConfig, PeftModel, get_peft_model

    layer = torch.nn.ModuleDict({path.rpartition(".")[2]: torch.nn.Linear(d_in, d_out, bias=False)
                                 for path, (d_out, d_in) in SHAPES.items()})  # fmt: skip
    root = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([layer])})
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q", "down"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: PeftModel = get_peft_model(root, config, adapter_name="0")
        for place in range(1, len(blocks)):
            model.add_adapter(str(place), config)
    for place, each in enumerate(blocks):
        for path, pair in each.pairs.items():
            target = model.base_model.model.get_submodule(path)
            target.lora_A[str(place)].weight.data.copy_(pair.a)
            target.lora_B[str(place)].weight.data.copy_(pair.b)
    return model


def test_dare_ties_drops_by_the_seed_alone_and_leaves_the_global_generator_be() -> None:
    given_, how = parts(0.6, 0.4), Merging(method="dare_ties")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = merge(given_, how, 4, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert _same(first, merge(given_, how, 4, seed=3))
    assert not _same(first, merge(given_, how, 4, seed=4))


def _same(one: Merged, two: Merged) -> bool:
    return all(torch.equal(one.block.pairs[path].a, two.block.pairs[path].a) for path in SHAPES)


@pytest.mark.parametrize("method", ["elementwise", "ties", "dare_ties"])
def test_what_factors_cannot_be_merged_entry_by_entry_is_refused(method: str) -> None:
    for other, what in ((block(1, 2, 8.0), "rank"), (block(1, 4, 9.0), "alpha")):
        with pytest.raises(UsageError, match=f"--merge {method} needs blocks of one {what}, .*use --merge svd"):
            merge([Part(block(0), 0.5), Part(other, 0.5)], Merging(method=method), 4)


@pytest.mark.parametrize(("method", "rank"), [("cat", 4), ("ties", 8), ("elementwise", 3)])
def test_a_rank_that_a_method_cannot_make_is_refused(method: str, rank: int) -> None:
    with pytest.raises(UsageError, match="leave --rank out, or use --merge svd"):
        merge(parts(0.5, 0.5), Merging(method=method), rank)


def test_the_missed_energy_of_a_lossy_merge_is_that_of_the_dense_difference() -> None:
    given_ = parts(0.7, 0.3)
    merged = merge(given_, Merging(method="elementwise"), 4)
    for path in SHAPES:
        whole = dense_sum(given_, path)
        assert merged.lost[path] == pytest.approx(share(whole - dense(merged.block, path), whole), rel=1e-4)


def test_merging_never_writes_to_a_parent() -> None:
    given_ = parts(0.7, 0.3)
    before = [factor.clone() for part in given_ for pair in part.block.pairs.values() for factor in pair]
    for method in ("svd", "elementwise", "cat", "ties", "dare_ties"):
        how = Merging(method=method)
        merge(given_, how, how.rank([4, 4]))
    after = [factor for part in given_ for pair in part.block.pairs.values() for factor in pair]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
