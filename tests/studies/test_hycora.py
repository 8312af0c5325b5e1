"""The ways of the HyCoRA study on the pico base with three characters, and that a killed one goes on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipes.base_model import BaseModel
from tests.studies import hycora_newcomers
from tests.studies.hycora import BASE, Study
from tests.studies.hycora_newcomers import METHODS, Newcomers
from tests.studies.hycora_ways import HYCORA, INDEPENDENT, NEEKO, SHARED, TABLE, TRIED
from tests.studies.test_forgetting import PEOPLE, ROLES, base

__all__ = ["base"]
SMALL = ("epochs=2", "batch=4", "rank=4", "hidden_width=16", "bottleneck=4", "learning_rate=0.004")
LONE = tuple(each for each in SMALL if "width" not in each and "bottle" not in each)
WAYS = (replace(INDEPENDENT, changes=LONE), replace(SHARED, changes=SMALL), replace(HYCORA, changes=SMALL))


@pytest.fixture
def study(base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    monkeypatch.setattr("tests.studies.hycora.INDEPENDENT", WAYS[0])
    yield Study(PEOPLE, base, ROLES, tmp_path / "cells.jsonl", tmp_path, exchanges=6, probes=2)


def test_names_of_ways_differ() -> None:
    names = [way.name for way in (*TABLE, *TRIED)]
    assert len(set(names)) == len(names)


def test_everybody_is_read_in_every_way(study: Study) -> None:
    study.read_base()
    for way in WAYS:
        study.run(way, 0)
    assert {key[0] for key in study.cells} == {BASE, *(way.name for way in WAYS)}
    own, shared, hycora = ([study.cells[way.name, 0, name] for name in ROLES] for way in WAYS)
    assert all(cell.other and cell.other != cell.own for cell in (*own, *hycora))
    assert all(not cell.other for cell in shared)
    assert abs(own[0].likeness) < 0.5 < hycora[0].likeness < 1 == pytest.approx(shared[0].likeness)


def test_what_was_measured_is_not_measured_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.run(WAYS[2], 0)
    again = Study(PEOPLE, study.bank.base, ROLES, study.path, study.work, exchanges=6, probes=2)
    monkeypatch.setattr("tests.studies.hycora.together", lambda *_: pytest.fail("it was measured already"))
    again.run(WAYS[2], 0)
    assert again.cells == study.cells
    ant = PEOPLE[0]
    assert again.score(ant, again.load(WAYS[2], 0)["Ant"])[0] == again.cells[WAYS[2].name, 0, "Ant"].own


def test_readings_travel_and_blocks_are_trained_again(study: Study, tmp_path: Path) -> None:
    before = study.alone(0)
    elsewhere = Study(PEOPLE, study.bank.base, ROLES, study.path, tmp_path / "elsewhere", exchanges=6, probes=2)
    readings = elsewhere.path.read_text()
    after = elsewhere.alone(0)
    assert all(
        torch.equal(after[name].pairs[at].b, pair.b) for name in ROLES for at, pair in before[name].pairs.items()
    )
    assert elsewhere.path.read_text() == readings


def test_a_gate_that_errs_costs_likelihood(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bee's second question is taken to be for Ant: it is read under Ant's block, and written by it."""
    study.picks = {name: [name, name] for name in ROLES} | {"Bee": ["Bee", "Ant"]}
    study.run(NEEKO, 0)
    own, routed = (study.cells[way.name, 0, "Bee"] for way in (WAYS[0], NEEKO))
    assert routed.own[0] == pytest.approx(own.own[0], abs=1e-4)
    assert routed.own[1] == pytest.approx(own.other[1], abs=1e-4)
    assert len(routed.rouge) == 2
    ant = study.cells[NEEKO.name, 0, "Ant"]
    assert ant.own == study.cells[WAYS[0].name, 0, "Ant"].own


def test_a_newcomer_is_served_in_every_way_there_is(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hycora_newcomers, "COHORTS", {"hycora": WAYS[2], "shared": WAYS[1]})
    monkeypatch.setattr(hycora_newcomers, "READING", replace(WAYS[2], changes=(*SMALL, "persona=true")))
    found = Newcomers(study)
    found.run(0, (0, 4))
    assert {cell.method for cell in found.cells.values()} == set(METHODS)
    assert len(found.cells) == 3 * (1 + 1 + 1 + 2 + 2 + 3)
    by_key = {key[1:3]: cell.totals for key, cell in found.cells.items() if key[0] == "Ant"}
    assert by_key["hyper, hycora", 0] != by_key["hyper, hycora", 4]
    assert by_key["hyper, profile", 0] != by_key["hyper, hycora", 0]
    assert by_key["hyper, shared", 0] == by_key["hyper, shared", 4]  # nothing in it is anybody's own
    monkeypatch.setattr(Newcomers, "make", lambda *_: pytest.fail("it was measured already"))
    Newcomers(study).run(0, (0, 4))


def test_the_nearest_is_by_role(study: Study) -> None:
    assert (study.nearest("Ant"), study.nearest("Cub")) == ("Bee", "Bee")
