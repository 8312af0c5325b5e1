"""The HyCoRA study's measures and page, from readings whose truth is known."""

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.base_model import BaseModel
from recipes.block import Block, Pair, fresh_block
from tests.studies import common, hycora_page, hycora_results
from tests.studies.hycora import BASE, WRITTEN, Cell, Study
from tests.studies.hycora_capacity import SPACES
from tests.studies.hycora_capacity import Cell as Crowd
from tests.studies.hycora_figures import ROLES as MANY
from tests.studies.hycora_figures import scattered, trained
from tests.studies.hycora_newcomers import AMOUNTS, METHODS, PROFILE, TARGETS
from tests.studies.hycora_newcomers import Cell as Newcomer
from tests.studies.hycora_results import Arrivals, Results, distinctness, likelihood, rouge
from tests.studies.hycora_ways import HYCORA, INDEPENDENT, NEEKO, SHARED, TABLE, TRIED, WITHOUT
from tests.studies.test_forgetting import PEOPLE, ROLES, base

__all__ = ["base"]
NLL = {BASE: 2.0, INDEPENDENT.name: 1.6, SHARED.name: 1.5, HYCORA.name: 1.4}  # 1.55 elsewhere
APART = {INDEPENDENT.name: 0.1, HYCORA.name: 0.2, SHARED.name: 0.0, NEEKO.name: 0.0}  # 0.05 elsewhere


def reading(way: str, seed: int, name: str) -> Cell:
    """Ten tokens a question; the second question is always 0.2 nats dearer than the first."""
    nll, apart = NLL.get(way, 1.55), APART.get(way, 0.05)
    own = [10 * nll - 1, 10 * nll + 1]
    other = [each + 10 * apart for each in own] if apart else []
    return Cell(way, seed, name, own, [10, 10], other, 0.5, 40, 30, [0.2, 0.4], [0.1, 0.1])


def readings() -> list[Cell]:
    names = [way.name for way in TABLE]
    table = [reading(way, seed, name) for way in names for seed in (0, 1) for name in ROLES]
    tried = [reading(TRIED[0].name, 0, name) for name in ROLES]
    return [*(reading(BASE, 0, name) for name in ROLES), *table, *tried]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hycora_results, "DRAWS", 50)


@pytest.fixture
def results() -> Results:
    return Results(readings(), [way.name for way in TABLE])


def test_measures_are_a_token_and_more_is_better(results: Results) -> None:
    assert results.interval(likelihood, HYCORA.name).mean == pytest.approx(-1.4)
    assert results.interval(distinctness, HYCORA.name).mean == pytest.approx(0.2)
    assert results.interval(distinctness, SHARED.name).mean == 0
    assert results.interval(rouge, HYCORA.name).mean == pytest.approx(0.3)
    gain = results.interval(likelihood, HYCORA.name, over=SHARED.name)
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))  # on the same draw, so nothing varies
    assert gain.bold() == "**+0.100 [+0.100, +0.100]**"


def test_nobody_is_told_from_another_by_a_gates_pick(results: Results) -> None:
    assert results.interval(distinctness, NEEKO.name).shown() == "–"
    assert results.interval(distinctness, HYCORA.name, over=NEEKO.name).bold() == "–"
    assert results.found_by_the_gate == 0  # 1.55 and 1.6 nats
    found = [replace(cell, own=reading(INDEPENDENT.name, 0, "Ant").own) if cell.way == NEEKO.name else cell
             for cell in readings()]  # fmt: skip
    assert Results(found, results.ways).found_by_the_gate == 1


def test_ways_that_are_not_told_apart_are_said_to_be_alike(results: Results) -> None:
    *first, last = hycora_page._ranked(results).split(" > ")
    assert first == [HYCORA.name, SHARED.name, first[2]] and last == INDEPENDENT.name
    assert first[2].count(" ≈ ") == len(TABLE) - 4


def test_a_seed_that_is_not_whole_is_left_out() -> None:
    cells = [cell for cell in readings() if cell.key != (HYCORA.name, 1, "Bee")]
    assert Results(cells, [HYCORA.name, SHARED.name]).seeds == [0]


def arrivals(cells: list[Newcomer]) -> Arrivals:
    return Arrivals(cells, [reading(BASE, 0, name) for name in ROLES])


def came(name: str, method: str, exchanges: int, nll: float, seed: int = 0) -> Newcomer:
    return Newcomer(name, method, exchanges, seed, [10 * nll - 1, 10 * nll + 1], [10, 10])


def test_a_share_is_the_mean_of_everybodys_own(results: Results) -> None:
    found = arrivals([came(name, "expand", 8, nll) for name, nll in zip(ROLES, (1.5, 1.6, 1.7), strict=True)])
    assert found.share("expand", 8).mean == pytest.approx(np.mean(np.exp([-0.5, -0.4, -0.3])))
    assert found.of("Bee", "expand", 8) == pytest.approx(np.exp(-0.4))


def test_who_is_half_measured_takes_nobody_away() -> None:
    """Ant has been measured with one exchange already and from its profile, the others have not."""
    whole = [came(name, method, 8, nll) for name in ROLES for method, nll in (("expand", 1.5), ("fuse", 1.5))]
    found = arrivals([*whole, came("Ant", "expand", 1, 1.2), came("Ant", PROFILE, 0, 1.2)])
    assert (found.people, found.keys) == (sorted(ROLES), [("expand", 8), ("fuse", 8)])
    assert found.best(8) == ("expand", ["fuse"])
    assert found.best(1) is None


def test_numbers_trained_grow_with_roles_only_where_they_are_ones_own(base: BaseModel) -> None:
    counts = trained(base.shapes, 48, (INDEPENDENT, SHARED, HYCORA, WITHOUT))
    independent, shared, hycora, without = (counts[way.name] for way in (INDEPENDENT, SHARED, HYCORA, WITHOUT))
    numbers = sum(d_out + d_in for d_out, d_in in base.shapes.values())
    assert independent == [8 * numbers * roles for roles in MANY]
    assert shared == [8 * numbers] * len(MANY)
    assert hycora[1] - hycora[0] == 128 * (MANY[1] - MANY[0])
    assert hycora[0] - without[0] == (128 + 48 + 2) * 128  # the two projections of the contrastive loss


def test_every_layer_of_everybody_is_drawn(base: BaseModel) -> None:
    blocks = [fresh_block(base.shapes, 2, 4, seed) for seed in range(3)]
    layers = len({path.split(".")[2] for path in base.shapes})
    assert np.shape(scattered(blocks, "a")) == (3, layers, 2)


def _filled(block: Block) -> Block:
    """With a B that is no zero."""
    return replace(block, pairs={path: Pair(a, a.mean() + torch.ones_like(b)) for path, (a, b) in block.pairs.items()})


def study(base: BaseModel, work: Path, cells: list[Cell]) -> Study:
    found = Study(PEOPLE, base, ROLES, work / "cells.jsonl", work)
    for cell in cells:
        found.keep(cell)
    blocks = {name: _filled(fresh_block(base.shapes, 2, 4, place)) for place, name in enumerate(ROLES)}
    for way in TABLE:
        found.save(blocks, found.folder(way, 0) / WRITTEN)
    return found


def test_the_page_says_what_was_measured(base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cast = study(base, tmp_path / "six", readings())
    for name in ROLES:
        for method in METHODS:
            for exchanges in AMOUNTS:
                nll = 1.58 if exchanges < 64 else 1.3  # shares of the base's perplexity: 0.657 and 0.497
                common.store(cast.path.with_name("newcomers.jsonl"), came(name, method, exchanges, nll))
    monkeypatch.setattr(hycora_page, "PAGE", tmp_path / "docs" / "hycora.md")
    hycora_page.write(cast, study(base, tmp_path / "four", readings()))
    text = (tmp_path / "docs" / "hycora.md").read_text()
    assert text.count("likelihood: **HyCoRA beats shared LoRA** (+0.100 [+0.100, +0.100]).") == 2  # of either cast
    assert "distinctness: **HyCoRA beats independent LoRA** (+0.100 [+0.100, +0.100])." in text
    assert "distinctness: **HyCoRA beats shared LoRA**, which has none by definition (+0.200" in text
    tables = [list(lines) for is_row, lines in groupby(text.splitlines(), lambda line: line.startswith("|")) if is_row]
    assert all(len({row.count("|") for row in table[:2]}) == 1 for table in tables)
    assert "ROUGE-L: **HyCoRA does not differ significantly from shared LoRA**" in text
    assert [f"(target {target}: {verdict})" in text for target, verdict in
            zip(TARGETS.values(), ("reached", "missed", "reached"), strict=True)] == [True] * 3  # fmt: skip
    by_person = [line for line in text.splitlines() if line.startswith(f"| {HYCORA.name} | 4.06 (+0.200) | ")]
    assert [line.count("(+0.200)") for line in by_person] == [len(ROLES)] * 2
    assert text.count(f"| {HYCORA.name} |" + " 0.300 (0.100) |" * len(ROLES)) == 2
    assert f"| {TRIED[0].name} | " in text and f"| {TRIED[1].name} | " not in text
    assert {path.name for path in (tmp_path / "docs").glob("*.svg")} == {"hycora.svg", "hycora-halves.svg"}


def test_what_is_not_whole_has_no_rows_yet(base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped characters were not read yet, nor anybody's blocks brought here with the readings."""
    cast = study(base, tmp_path / "six", readings())
    elsewhere = Study(PEOPLE, base, ROLES, cast.path, tmp_path / "elsewhere")
    monkeypatch.setattr(hycora_page, "PAGE", tmp_path / "docs" / "hycora.md")
    hycora_page.write(elsewhere, study(base, tmp_path / "four", readings()[:1]))
    rows = [line for line in (tmp_path / "docs" / "hycora.md").read_text().splitlines() if f"| {SHARED.name} |" in line]
    assert len(rows) == 6  # table, differences, twice by character, tried, parameters: none of the shipped ones
    assert not (tmp_path / "docs" / "hycora-halves.svg").exists()


def test_what_the_most_roles_of_every_space_recall_is_told() -> None:
    held = list(zip(SPACES, (24, 6, 12), strict=True))
    cells = [Crowd(roles, *space, 24, told, 24, 9) for roles in (8, 64) for space, told in held]
    (told,) = hycora_page._held([*cells, Crowd(256, *SPACES[0], 24, 18, 24, 9)])
    assert "75% by 256 roles with d_c 128 and k 28, 25% by 64 roles with d_c 8 and k 28, 50% by 64 roles" in told
    assert not list(hycora_page._held([]))


def test_a_beaten_way_is_said_to_be_beaten(results: Results) -> None:
    worse = [replace(cell, own=[each + 3 for each in cell.own]) if cell.way == HYCORA.name else cell
             for cell in readings()]  # fmt: skip
    told = list(hycora_page._findings(Results(worse, [way.name for way in TABLE])))
    assert any("likelihood: **HyCoRA is beaten by shared LoRA** (-0.200" in line for line in told)
