"""The ways of the forgetting study, and that a killed one goes on, on the pico base with three characters."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from recipes.base_model import BaseModel, load_base
from recipes.block import Block, Pair, fresh_block
from recipes.recipe import load_recipe
from registry.ranks import RankRange
from tests.studies.character_llm import Interviewed
from tests.studies.forgetting import BASE, Study
from tests.studies.forgetting_results import LADDER, Results
from tests.studies.forgetting_ways import OVERLAPPING, OWN, SHARED, WARM, WAYS, WIDE, Way, beside, moved, ranks

PEOPLE = [
    Interviewed(
        name,
        [],
        [(f"Who are you, {number}?", f"{name} {number}!") for number in range(6)],
        [(f"And {number}?", f"{name}, of course.") for number in range(2)],
        [],
    )
    for name in ("Ant", "Bee", "Cub")
]
ROLES = {"Ant": torch.tensor([1.0, 0.0]), "Bee": torch.tensor([0.8, 0.6]), "Cub": torch.tensor([0.0, 1.0])}
SETTINGS = ["rank=4", "alpha=16", "learning_rate=0.02", "epochs=1", "batch=2", "warmup_steps=1"]


@pytest.fixture(scope="module")
def base(pico_llama: Path) -> Iterator[BaseModel]:
    """On one thread: a pico model has nothing to share out."""
    base = load_base(pico_llama, name="pico", fingerprint="f", device=torch.device("cpu"))
    for parameter in base.model.parameters():
        parameter.mul_(3.0)  # large enough to be steered by the layers
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield base
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def study(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One seed of it, whole."""
    found = Study(PEOPLE, base, ROLES, tmp_path_factory.mktemp("work"), load_recipe("quick", SETTINGS), exchanges=6)
    found.run(0)
    return found


def lives(study: Study, way: Way) -> list[dict[str, Block]]:
    """Who was served by what after every step."""
    served: dict[str, Block] = {}
    steps = []
    for step in (1, 2, 3):
        served = served | study.step(way, 0, step, served)[0]
        steps.append(served)
    return steps


def equal(one: Block, other: Block) -> bool:
    return all(torch.equal(a, other.pairs[path].a) and torch.equal(b, other.pairs[path].b)
               for path, (a, b) in one.pairs.items())  # fmt: skip


def test_the_page_knows_every_way() -> None:
    assert tuple(way.name for way in WAYS) == LADDER


def test_everybody_who_is_there_is_read_after_every_step(study: Study) -> None:
    assert len(study.cells) == 3 + len(WAYS) * (1 + 2 + 3)
    assert {key[0] for key in study.cells} == {BASE, *LADDER}
    assert Results(list(study.cells.values()), 6).seeds == [0]


def test_each_seed_lets_another_one_come_first(study: Study) -> None:
    orders = [study.order(seed) for seed in range(3)]
    assert [order[0] for order in orders] == ["Ant", "Bee", "Cub"]
    assert all(sorted(order) == ["Ant", "Bee", "Cub"] for order in orders)


@pytest.mark.parametrize("way", [OWN, WARM])
def test_own_blocks_are_left_alone_and_read_the_same_to_the_last_bit(study: Study, way: Way) -> None:
    first, _, last = lives(study, way)
    name = study.order(0)[0]
    assert equal(first[name], last[name])
    readings = [study.cells[way.name, 6, 0, step, name] for step in (1, 2, 3)]
    assert readings[0].totals == readings[1].totals == readings[2].totals
    assert [each.moved for each in readings] == [0.0, 0.0, 0.0]


def test_a_shared_block_serves_all_and_moves_with_every_newcomer(study: Study) -> None:
    first, second, last = lives(study, SHARED)
    name = study.order(0)[0]
    assert all(equal(block, last[name]) for block in last.values())
    assert not equal(first[name], second[name])
    assert equal(first[name], lives(study, OWN)[0][name])  # from nothing every way of a rank begins alike
    assert study.cells[SHARED.name, 6, 0, 3, name].moved > 0
    assert {block.rank for served in lives(study, WIDE) for block in served.values()} == {12}


def test_neighbouring_ranges_share_half_of_their_ranks_and_what_is_in_them(study: Study) -> None:
    first, second, last = lives(study, OVERLAPPING)
    one, two, three = study.order(0)
    assert [OVERLAPPING.at(place, 4) for place in (0, 1, 2)] == [RankRange(0, 4), RankRange(2, 6), RankRange(4, 8)]
    assert equal(ranks(second[one], 0, 2), ranks(first[one], 0, 2))  # its own half
    assert not equal(ranks(second[one], 2, 4), ranks(first[one], 2, 4))  # changed by the training of the next
    assert equal(ranks(second[one], 2, 4), ranks(second[two], 0, 2))
    assert equal(last[one], second[one])  # and not by the one after
    assert equal(ranks(last[two], 2, 4), ranks(last[three], 0, 2))


def test_a_killed_study_goes_on(base: BaseModel, study: Study, tmp_path: Path, monkeypatch) -> None:
    """Killed while the second way's last newcomer is trained: what was read stays, and the rest comes out the same."""
    cut = Study(PEOPLE, base, ROLES, tmp_path, study.recipe, exchanges=6)
    save, saved = cut.save, []

    def save_or_die(changed, folder, seconds) -> None:
        saved.append(folder)
        if len(saved) == 5:  # three of the first way, two of the second, whose first is there already
            raise KeyboardInterrupt
        save(changed, folder, seconds)

    monkeypatch.setattr(cut, "save", save_or_die)
    with pytest.raises(KeyboardInterrupt):
        cut.run(0)
    kept = (tmp_path / "cells.jsonl").read_text()
    again = Study(PEOPLE, base, ROLES, tmp_path, study.recipe, exchanges=6)
    again.run(0)
    assert (tmp_path / "cells.jsonl").read_text().startswith(kept)
    assert {key: cell.totals for key, cell in again.cells.items()} == {
        key: cell.totals for key, cell in study.cells.items()
    }


# blocks rank by rank


def block(seed: int) -> Block:
    """Rank 4, with a B that is not zero."""
    drawn = fresh_block({"one": (5, 7), "two": (6, 3)}, 4, 8.0, seed)
    order = torch.Generator().manual_seed(seed)
    pairs = {path: Pair(a, torch.randn(b.shape, generator=order)) for path, (a, b) in drawn.pairs.items()}
    return Block(pairs, drawn.rank, drawn.alpha)


def test_a_block_is_the_sum_of_its_parts() -> None:
    whole = block(0)
    parts = ranks(whole, 0, 1), ranks(whole, 1, 4)
    assert [part.scale for part in parts] == [whole.scale, whole.scale]
    assert equal(beside(*parts), whole)
    assert (beside(*parts).rank, beside(*parts).alpha) == (4, 8.0)


def test_what_moved_is_the_norm_of_the_change() -> None:
    then, now = block(0), block(1)
    change = sum((now.pairs[path].b @ now.pairs[path].a - b @ a).square().sum() for path, (a, b) in then.pairs.items())
    size = sum((b @ a).square().sum() for a, b in then.pairs.values())
    assert moved(then, now) == pytest.approx(float(change / size) ** 0.5, rel=1e-5)
    assert moved(then, then) == 0.0
