"""A member's own part: trained alone, added at a share, nobody else's business, and gone on with when killed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipes import own_part, running
from recipes.bank import Bank
from recipes.block import Block
from recipes.cohort import Learning
from recipes.cohort_recipe import CohortRecipe
from recipes.likelihood import nll_under
from recipes.own_part import completed, own_checkpoint, own_parts
from recipes.running import Progress, Run
from registry.errors import TrainingFailed
from tests.recipes.test_cohort import bank, members, recipe

__all__ = ["bank"]


def settings(**changes: object) -> CohortRecipe:
    return recipe(**{"generated": "none", "own_epochs": 48, "epochs": 5} | changes)


@pytest.fixture
def learning(bank: Bank) -> Learning:
    """A shared block that everybody speaks with, so that nothing is anybody's own but the own part."""
    found = Learning(bank, members(bank.base), settings(), seed=0)
    Run(found, found.recipe).go()
    return found


def test_whose_training_failed_is_told(learning: Learning, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_part, "train", lambda *_, **__: (_ for _ in ()).throw(TrainingFailed("The loss is nan.")))
    with pytest.raises(TrainingFailed, match="While Ant learned alone: The loss is nan."):
        own_parts(learning)


def nll(learning: Learning, block: Block, owner: int) -> float:
    return nll_under(learning.bank, block, learning.members[owner].probes)


def same(one: Block, two: Block) -> bool:
    return all(torch.equal(*pair) for path in one.pairs for pair in zip(one.pairs[path], two.pairs[path], strict=True))


def made(learning: Learning) -> list[Block]:
    return [each.block for each in completed(learning, own_parts(learning))]


def adds(block: Block, path: str) -> torch.Tensor:
    a, b = block.pairs[path]
    return block.scale * b @ a


def test_everybody_is_told_from_the_others(learning: Learning) -> None:
    shared, blocks = learning.block(0), made(learning)
    for owner in range(3):
        own = nll(learning, blocks[owner], owner)
        assert own < nll(learning, shared, owner) + 0.1
        assert all(nll(learning, blocks[other], owner) > own + 0.1 for other in {0, 1, 2} - {owner})


def test_a_block_is_the_weighted_sum_cut_to_its_rank(learning: Learning) -> None:
    learning.recipe = learning.recipe.model_copy(update={"own_share": 0.25})
    learning.members = [replace(each, probes=[]) for each in learning.members]  # which could overrule the share
    found, written, own = made(learning)[1], learning.block(1), own_parts(learning)[1]
    assert found.rank == written.rank == own.rank == 4
    for path in written.pairs:
        u, s, v = torch.linalg.svd(0.75 * adds(written, path) + 0.25 * adds(own, path), full_matrices=False)
        assert s[4] > 0.01 * s[0]  # something is cut
        assert torch.allclose(adds(found, path), u[:, :4] * s[:4] @ v[:4], atol=1e-5)


def test_an_own_part_depends_on_nobody_else(bank: Bank, learning: Learning) -> None:
    fewer = Learning(bank, learning.members[:2], learning.recipe, seed=0)
    fewer.network.load_state_dict(learning.network.state_dict() | {"characters": learning.network.characters[:2]})
    assert same(made(fewer)[0], made(learning)[0])


def test_without_own_epochs_it_is_what_was_written(bank: Bank) -> None:
    written = Learning(bank, members(bank.base), settings(own_epochs=0), seed=0)
    assert all(same(block, written.block(place)) for place, block in enumerate(made(written)))


@pytest.mark.parametrize(("cost", "share"), [(-0.1, 0.5), (0.01, 0.5), (0.03, 0.0)])
def test_being_told_apart_has_its_price(cost: float, share: float, learning: Learning,
                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    own = own_parts(learning)
    told = {
        id(learning.members[place].probes): iter((2.0 + cost, 2.0)) for place in range(3)
    }  # the sum, what was written
    monkeypatch.setattr(own_part, "nll_under", lambda _, block, probes: next(told[id(probes)]))
    assert [each.own_share for each in completed(learning, own)] == [share] * 3


def test_an_own_part_that_costs_likelihood_is_left_out(learning: Learning) -> None:
    """One small step alone is worth less than what five epochs wrote."""
    learning.recipe = learning.recipe.model_copy(update={"own_epochs": 1, "learning_rate": 1e-4, "own_share": 0.9})
    told: list[str] = []
    found = completed(learning, own_parts(learning), told.append)[0]
    assert same(found.block, learning.block(0))
    assert found.own_share == 0
    assert told[0].startswith("Ant keeps what the network wrote")
    learning.members = [replace(each, probes=[]) for each in learning.members]
    assert not same(made(learning)[0], learning.block(0))


def test_a_killed_member_goes_on_to_the_same_bytes(learning: Learning, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)
    whole, steps = own_parts(learning, checkpoint=tmp_path / "whole.safetensors"), []

    def dying(progress: Progress) -> None:
        steps.append(progress.step)
        if len(steps) == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        own_parts(learning, dying, tmp_path / "part.safetensors")
    assert own_checkpoint(tmp_path / "part.safetensors", 1).is_file()
    again = own_parts(learning, checkpoint=tmp_path / "part.safetensors")
    assert all(same(one, two) for one, two in zip(whole, again, strict=True))
