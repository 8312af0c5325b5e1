"""Fusion, its tuning, and the expansion that starts from it, on a pico model."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipes.bank import Bank
from recipes.base_model import load_base
from recipes.block import Block, Pair, fresh_block
from recipes.exchanges import Messages, PromptForm, with_system
from recipes.expansion import expand, inherited, warm
from recipes.fusion import LARGEST_WEIGHT, PASSES, TUNED_ON, fuse
from recipes.likelihood import nll_under
from recipes.merging import Part
from recipes.recipe import Merging, load_recipe
from recipes.running import Progress
from recipes.task import Lineage, Neighbour, Task
from registry.errors import NeekoError, UsageError

SETTINGS = ["rank=4", "alpha=16", "learning_rate=0.02", "epochs=3", "batch=2", "warmup_steps=1"]


def talk(question: str, reply: str) -> Messages:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return with_system("You are Moth.", turns)


@pytest.fixture(scope="module")
def bank(pico_llama: Path) -> Bank:
    bank = Bank(load_base(pico_llama, name="pico", fingerprint="f", device=torch.device("cpu")))
    for parameter in bank.base.model.parameters():
        parameter.mul_(3.0)  # large enough to be steered by the layers: it learns within a few steps
    return bank


@pytest.fixture(scope="module")
def task(bank: Bank) -> Iterator[Task]:
    """A newcomer with two neighbours who were trained on other words, one of them on something like its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    form, recipe = PromptForm(bank.base.tokenizer), load_recipe("quick", SETTINGS)
    kin = []
    for name, words in (("Ant", "Crumbs, crumbs!"), ("Bee", "Dust and dusk!")):
        train = [talk(f"Who? {index}", words) for index in range(6)]
        made = expand(Task(name, bank, form, recipe, train, [], seed=len(name)))
        kin.append(Neighbour(name, name * 8, made.block, 0.5))
    yield Task("Moth", bank, form, recipe, [talk(f"Who? {index}", "Dust, dust!") for index in range(6)],
               [talk("Who, then?", "Dust, dust!")], seed=3, neighbours=kin)  # fmt: skip
    torch.set_num_threads(threads)


def nll(task: Task, block: Block | None) -> float:
    return nll_under(task.bank, block, task.probes())


def test_a_fused_block_is_the_merge_of_its_neighbours_and_says_so(task: Task) -> None:
    made = fuse(task)
    assert made.strategy == "fuse"
    assert made.parents == [Lineage("Ant", "Ant" * 8, 0.5), Lineage("Bee", "Bee" * 8, 0.5)]
    assert made.block.rank == 4
    assert made.nll_before == nll(task, None)
    assert made.reason.startswith("Merged 2 of the residents by svd (Ant 0.50, Bee 0.50), ")
    assert 0 < made.details["merge"]["discarded"] < 1
    assert set(made.details["merge"]["discarded_by_module"]) == set(task.bank.base.shapes)


def test_a_fused_block_helps_before_anything_is_learned(task: Task) -> None:
    assert nll(task, fuse(task).block) < nll(task, None)


def test_without_neighbours_expand_is_advised(task: Task) -> None:
    with pytest.raises(NeekoError, match="nobody to fuse Moth from: use --strategy expand"):
        fuse(replace(task, neighbours=()))


def test_cat_is_as_wide_as_all_the_neighbours(task: Task) -> None:
    wide = replace(task, width=8, merging=Merging(method="cat"))
    made = fuse(wide)
    assert (made.block.rank, made.details["merge"]["discarded"]) == (8, pytest.approx(0, abs=1e-9))


# tuning


def test_tuning_finds_weights_under_which_the_dialogues_are_likelier(task: Task) -> None:
    seen: list[Progress] = []
    made = fuse(replace(task, tune=True, report=seen.append))
    assert made.details["merge"]["tuned_to"] < made.details["merge"]["tuned_from"]
    assert nll(task, made.block) < nll(task, fuse(task).block)
    assert len(seen) == made.details["merge"]["passes"] <= PASSES
    assert all(progress.steps == PASSES for progress in seen)
    assert all(abs(parent.weight) <= LARGEST_WEIGHT for parent in made.parents)
    assert f"in {len(seen)} forward passes" in made.reason


def test_many_neighbours_are_tuned_in_more_passes(task: Task) -> None:
    crowd = [replace(task.neighbours[place % 2], weight=1 / 16) for place in range(16)]
    seen: list[Progress] = []
    made = fuse(replace(task, neighbours=crowd, tune=True, report=seen.append))
    assert {progress.steps for progress in seen} == {48}
    assert 2 * 16 + 1 < made.details["merge"]["passes"] <= 48


def test_tuning_begins_with_the_weights_it_says(task: Task) -> None:
    """Near its bounds the optimizer would begin elsewhere: these lie at the least that ties may have."""
    weights = [0.98, 0.015][: len(task.neighbours)] + [0.015] * (len(task.neighbours) - 2)
    lopsided = [replace(each, weight=weight) for each, weight in zip(task.neighbours, weights, strict=True)]
    plain = replace(task, neighbours=lopsided, merging=Merging(method="ties"))
    rows = task.rows()[:TUNED_ON]
    start = nll_under(task.bank, fuse(plain).block, rows)
    assert fuse(replace(plain, tune=True)).details["merge"]["tuned_from"] == pytest.approx(start, abs=1e-5)


def test_tuning_takes_a_neighbour_away_who_only_harms(task: Task) -> None:
    """A weight below zero: the opposite of what somebody would say."""
    ant, wasp = task.neighbours[0], _opposite(task.neighbours[1])
    made = fuse(replace(task, tune=True, neighbours=[ant, wasp]))
    assert made.parents[1].weight < 0


def _opposite(neighbour: Neighbour) -> Neighbour:
    pairs = {path: Pair(a, -b) for path, (a, b) in neighbour.block.pairs.items()}
    return replace(neighbour, name="Wasp", block=Block(pairs, neighbour.block.rank, neighbour.block.alpha))


def test_tuning_touches_no_neighbours_block(task: Task) -> None:
    before = [factor.clone() for each in task.neighbours for pair in each.block.pairs.values() for factor in pair]
    fuse(replace(task, tune=True))
    after = [factor for each in task.neighbours for pair in each.block.pairs.values() for factor in pair]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_signs_are_tuned_only_where_a_merge_can_take_them(task: Task) -> None:
    good, bad = task.neighbours[1], _opposite(task.neighbours[1])
    kin = [replace(good, weight=0.5), replace(bad, weight=0.5)]
    made = fuse(replace(task, tune=True, neighbours=kin, merging=Merging(method="ties")))
    assert all(parent.weight > 0 for parent in made.parents)


def test_a_spent_budget_keeps_the_best_weights_so_far(task: Task) -> None:
    made = fuse(replace(task, tune=True, until=0.0))
    assert made.details["merge"]["passes"] == 1


def test_there_is_nothing_to_tune_on_without_dialogues(task: Task) -> None:
    with pytest.raises(NeekoError, match="too few dialogues"):
        fuse(replace(task, tune=True, train=[]))


# warm starts


def test_a_warm_start_adds_what_the_merge_adds(task: Task) -> None:
    fresh = fresh_block(task.bank.base.shapes, 4, 16.0, 3)
    start, merged = warm(fresh, inherited(task)), fuse(task).block
    assert (start.rank, start.alpha) == (4, 16.0)
    for path, (a, b) in start.pairs.items():
        assert torch.allclose(
            start.scale * b @ a, merged.scale * merged.pairs[path].b @ merged.pairs[path].a, atol=1e-5
        )


def test_ranks_that_the_neighbours_leave_empty_start_fresh(task: Task) -> None:
    """Zeros on both sides would never learn: neither factor would have a gradient."""
    fresh = fresh_block(task.bank.base.shapes, 12, 16.0, 3)
    start = warm(fresh, inherited(task))
    for path, (a, b) in start.pairs.items():
        assert torch.equal(a[8:], fresh.pairs[path].a[8:])
        assert not b[:, 8:].any()


def test_a_neighbour_who_never_learned_anything_does_not_keep_the_newcomer_from_it(task: Task) -> None:
    """A neutral block has no rank at all: a start copied from it would have no gradient."""
    neutral = fresh_block(task.bank.base.shapes, 4, 16.0, 5)
    made = expand(replace(task, neighbours=[Neighbour("Fly", "f" * 64, neutral, 1.0)]))
    assert made.nll_after is not None and made.nll_before is not None
    assert made.nll_after < made.nll_before


def test_ranks_that_a_wider_parent_never_used_start_fresh(task: Task) -> None:
    wide = fuse(replace(task, width=12)).block  # of true rank eight
    fresh = fresh_block(task.bank.base.shapes, 12, 16.0, 3)
    start = warm(fresh, [Part(wide, 1.0)])
    assert all(torch.equal(a[8:], fresh.pairs[path].a[8:]) for path, (a, _) in start.pairs.items())


def test_an_expansion_from_neighbours_starts_ahead_and_names_them(task: Task) -> None:
    short = replace(task, recipe=load_recipe("quick", [*SETTINGS, "learning_rate=0.002"]))
    cold, started = expand(replace(short, neighbours=())), expand(short)
    assert started.nll_after is not None and cold.nll_after is not None
    assert started.nll_after < cold.nll_after
    assert started.nll_before == cold.nll_before == nll(task, None)
    assert [each.name for each in started.parents] == ["Ant", "Bee"]
    assert cold.parents == []
    assert "a block started from Ant, Bee" in started.reason


def test_a_mixed_pair_is_refused_by_merges_of_entries(task: Task) -> None:
    narrow = expand(replace(task, neighbours=(), recipe=load_recipe("quick", [*SETTINGS, "rank=2"]))).block
    kin = [task.neighbours[0], replace(task.neighbours[1], block=narrow)]
    with pytest.raises(UsageError, match="blocks of one rank"):
        fuse(replace(task, neighbours=kin, merging=Merging(method="elementwise")))
    assert fuse(replace(task, neighbours=kin)).block.rank == 4
