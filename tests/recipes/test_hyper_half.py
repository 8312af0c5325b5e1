"""The hyper-network: the paper's equations by hand, the spread of what it writes, and one batch of many characters
against each one's own block alone."""

from pathlib import Path

import pytest
import torch

from recipes.bank import Bank
from recipes.base_model import load_base
from recipes.cohort_recipe import CohortRecipe, load_cohort_recipe
from recipes.exchanges import Row
from recipes.hyper_half import HyperHalf, likeness
from recipes.likelihood import reply_logits

SHAPES = {f"model.layers.{layer}.{name}": shape for layer in range(3)
          for name, shape in {"q_proj": (24, 16), "down_proj": (16, 40)}.items()}  # fmt: skip


def recipe(**changes: object) -> CohortRecipe:
    return load_cohort_recipe("hycora", [f"{key}={value}" for key, value in changes.items()])


def test_what_is_written_follows_the_equations() -> None:
    network = HyperHalf(SHAPES, recipe(character_width=5, layer_width=7, hidden_width=11, bottleneck=3), 2, seed=1)
    written = network(network.embeddings()).a["model.layers.2.q_proj"][1]

    def affine(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        weight, bias = layer.parameters()
        return weight @ x + bias

    h = torch.cat([network.characters[1], network.layers[2]])
    h = affine(network.inward, h).clamp(min=0)  # (1)
    for block in network.blocks:
        h = h + affine(block.second, affine(block.first, h).clamp(min=0))  # (2)
    writer = network.write_a["0"]
    assert torch.allclose(written, affine(writer.up, affine(writer.down, h)).view(8, 16), atol=1e-6)  # (3)


@pytest.mark.parametrize("generated", ["a", "both"])
def test_a_written_half_has_the_spread_of_an_ordinary_one(generated: str) -> None:
    shapes = {f"layers.{layer}.up": (64, 300) for layer in range(8)}
    network = HyperHalf(shapes, recipe(generated=generated), 6, seed=0)
    blocks = [network.materialised(each) for each in network.characters]
    spread = torch.cat([pair.a for block in blocks for pair in block.pairs.values()]).std()
    assert spread == pytest.approx((3 * 300) ** -0.5, rel=0.01)
    assert all(not pair.b.any() for block in blocks for pair in block.pairs.values())  # they start neutral


@pytest.mark.parametrize(("generated", "own"), [("a", (True, False)), ("b", (False, True)), ("both", (True, True)),
                                                ("none", (False, False))])  # fmt: skip
def test_the_arrangement_says_which_half_is_ones_own(generated: str, own: tuple[bool, bool]) -> None:
    network = HyperHalf(SHAPES, recipe(generated=generated), 2, seed=0)
    halves = network(network.embeddings())
    assert tuple(next(iter(half.values())).dim() == 3 for half in (halves.a, halves.b)) == own
    one, two = (network.materialised(each) for each in network.characters)
    path = next(iter(SHAPES))
    assert torch.equal(one.pairs[path].a, two.pairs[path].a) == (not own[0])


def test_a_seed_makes_one_network_whatever_was_drawn_before() -> None:
    torch.manual_seed(5)
    one = HyperHalf(SHAPES, recipe(), 2, seed=3)
    torch.manual_seed(6)
    two = HyperHalf(SHAPES, recipe(), 2, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_parameters_grow_by_one_embedding_a_character() -> None:
    counts = [sum(each.numel() for each in HyperHalf(SHAPES, recipe(), n, seed=0).parameters()) for n in (2, 3, 7)]
    assert counts[1] - counts[0] == 128
    assert counts[2] - counts[0] == 5 * 128


@pytest.mark.parametrize("generated", ["a", "b", "both", "none"])
def test_a_batch_of_many_characters_is_as_each_alone(generated: str, pico_llama: Path) -> None:
    bank = Bank(load_base(pico_llama, name="pico", fingerprint="f", device=torch.device("cpu")))
    network = HyperHalf(bank.base.shapes, recipe(generated=generated), 3, seed=0)
    with torch.no_grad():
        for each in (*network.shared_b.values(), *(writer.up.bias for writer in network.write_b.values())):
            each.normal_(std=0.1)
    rows = [Row(list(range(5, 5 + length)), [False] * 3 + [True] * (length - 3)) for length in (9, 12, 7, 9)]
    roles = torch.tensor([2, 0, 0, 1])
    halves = network(network.embeddings()[roles])
    with bank.using(bank.stacked(halves.a, halves.b, 8, 32)), torch.no_grad():
        together = reply_logits(bank.base, rows)
    for place, (row, role) in enumerate(zip(rows, roles.tolist(), strict=True)):
        with bank.using(network.materialised(network.embeddings()[role])), torch.no_grad():
            alone = reply_logits(bank.base, [row]).logits
        assert torch.allclose(together.logits[together.owner == place], alone, atol=1e-4)
    with torch.no_grad():
        bare = reply_logits(bank.base, rows[:1]).logits
    assert not torch.allclose(together.logits[together.owner == 0], bare, atol=1e-3)


def test_likeness_is_the_mean_cosine() -> None:
    network = HyperHalf(SHAPES, recipe(), 3, seed=0)
    blocks = [network.materialised(each) for each in network.characters]
    found = likeness([*blocks, blocks[0]])
    assert torch.allclose(found.diagonal(), torch.ones(4))
    assert found[0, 3] == pytest.approx(1.0)
    assert 0 < found[0, 1] < 0.95
    others = HyperHalf(SHAPES, recipe(generated="b"), 2, seed=0)
    torch.nn.init.normal_(others.write_b["0"].up.weight)
    assert likeness([others.materialised(each) for each in others.characters], "b")[0, 1] < 0.95
