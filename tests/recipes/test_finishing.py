"""A member's own finish: it learns what is its own, unlearns what is the others', touches nobody else, and goes on when
it was killed."""

from pathlib import Path

import pytest
import torch

from recipes import running
from recipes.bank import Bank
from recipes.block import Block
from recipes.cohort import Learning
from recipes.cohort_recipe import CohortRecipe
from recipes.finishing import OPENING, Own, _opening, finished, openings, own_checkpoint
from recipes.likelihood import scored_under
from recipes.running import Progress, Run
from recipes.scores import mean_nll
from recipes.training import Fresh
from tests.recipes.test_cohort import bank, members, recipe, row

__all__ = ["bank"]


def settings(**changes: object) -> CohortRecipe:
    return recipe(own_epochs=6, pace_own=0.5, rivalry=1.0, margin=0.5, **changes)


@pytest.fixture
def learning(bank: Bank) -> Learning:
    """A shared block that everybody speaks with, so that nothing is anybody's own before the finish."""
    found = Learning(bank, members(bank.base), settings(generated="none", epochs=8), seed=0)
    Run(found, found.recipe).go()
    return found


def nll(learning: Learning, block: Block, owner: int) -> float:
    return mean_nll(scored_under(learning.bank, block, learning.members[owner].probes))


def same(one: Block, two: Block) -> bool:
    return all(torch.equal(*pair) for path in one.pairs for pair in zip(one.pairs[path], two.pairs[path], strict=True))


def test_everybody_becomes_its_own(learning: Learning) -> None:
    shared, blocks = learning.block(0), finished(learning)
    for owner in range(3):
        assert nll(learning, blocks[owner], owner) < nll(learning, shared, owner) + 0.05
        for other in {0, 1, 2} - {owner}:
            assert nll(learning, blocks[other], owner) > nll(learning, shared, owner) + 0.2


def test_without_rivals_it_is_an_ordinary_training(learning: Learning) -> None:
    alone = Own(learning.bank, learning.block(0), learning.members[0], [], learning.recipe.finishing, seed=0)
    assert not alone.strange
    with learning.bank.using(alone.block):
        rows = list(learning.members[0].rows)
        assert torch.equal(alone.loss(rows, 0.5), Fresh.loss(alone, rows, 0.5))


def test_no_epochs_leave_what_was_written(bank: Bank) -> None:
    written = Learning(bank, members(bank.base), recipe(own_epochs=0), seed=0)
    assert all(same(block, written.block(place)) for place, block in enumerate(finished(written)))


def test_what_is_short_of_the_margin_is_the_loss(learning: Learning) -> None:
    """By hand: the block gives another's opening 0 nats more than its owner's own, so the whole margin is missing."""
    block, others = learning.block(0), openings(learning.bank, learning.members[1:], [learning.block(0)] * 2)
    own = Own(learning.bank, block, learning.members[0], others, learning.recipe.finishing, seed=0)
    with learning.bank.using(own.block), torch.no_grad():
        assert own.too_likely(own.strange[:3]).item() == pytest.approx(0.5, abs=1e-4)
        told = own.evaluate()
        assert told == pytest.approx(nll(learning, block, 0) + 0.5, abs=1e-3)


def test_an_opening_is_cut_behind_its_first_words() -> None:
    assert len(_opening(row(200)).tokens) == 1 + OPENING
    assert _opening(row(9)) == row(9)


def test_a_killed_finish_goes_on_to_the_same_bytes(learning: Learning, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0)
    whole, steps = finished(learning, checkpoint=tmp_path / "whole.safetensors"), []

    def dying(progress: Progress) -> None:
        steps.append(progress.step)
        if len(steps) == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished(learning, dying, tmp_path / "part.safetensors")
    assert own_checkpoint(tmp_path / "part.safetensors", 1).is_file()
    again = finished(learning, checkpoint=tmp_path / "part.safetensors")
    assert all(same(one, two) for one, two in zip(whole, again, strict=True))
