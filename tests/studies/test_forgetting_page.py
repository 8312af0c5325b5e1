"""The forgetting study's measures and page, from readings whose truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.studies import forgetting_page, forgetting_results
from tests.studies.forgetting import Cell
from tests.studies.forgetting_results import (
    BASE,
    LADDER,
    OVERLAPPING,
    OWN,
    SHARED,
    Results,
    backward_transfer,
    final,
    forgetting,
    from_best,
    learned,
)

ORDERS = {0: ["Ant", "Bee", "Cub"], 1: ["Bee", "Cub", "Ant"]}
START = {SHARED: 1.6}  # nats a token after own training, 1.5 in the other ways
LOST = {SHARED: 0.2, OVERLAPPING: 0.1}  # in every step; the other ways keep what they have
NAN = float("nan")


def readings(exchanges: int = 32) -> list[Cell]:
    """Ten tokens a question; the second question is always 0.2 nats dearer than the first."""
    cells = [_cell(BASE, 0, 0, 0, name, 2.0) for name in ORDERS[0]]
    for way in LADDER:
        for seed, order in ORDERS.items():
            for step in (1, 2, 3):
                for came, name in enumerate(order[:step], start=1):
                    nll = START.get(way, 1.5) + LOST.get(way, 0.0) * (step - came)
                    cells.append(_cell(way, exchanges, seed, step, name, nll))
    return cells


def _cell(way: str, exchanges: int, seed: int, step: int, name: str, nll: float) -> Cell:
    changed = 0.25 if way in LOST and step == 3 else 0.0
    return Cell(way, exchanges, seed, step, name, [10 * nll - 1, 10 * nll + 1], [10, 10], 8, changed, 1.0)


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.setattr(forgetting_results, "DRAWS", 50)
    return Results(readings(), 32)


# By hand, three characters who came at steps 1, 2 and 3:
#   step   first  second  third
#   1      3.0
#   2      2.5    4.0
#   3      3.2    3.5     5.0
TABLE = np.array([[3.0, 2.5, 3.2], [NAN, 4.0, 3.5], [NAN, NAN, 5.0]])


def test_the_measures_are_those_of_the_papers() -> None:
    np.testing.assert_allclose(learned(TABLE), [3.0, 4.0, 5.0])
    np.testing.assert_allclose(final(TABLE), [3.2, 3.5, 5.0])
    np.testing.assert_allclose(forgetting(TABLE), [0.2, -0.5, NAN])  # first minus last, in accuracies
    np.testing.assert_allclose(from_best(TABLE), [3.2 - 2.5, 3.5 - 4.0, NAN])  # its best was after step 2
    np.testing.assert_allclose(backward_transfer(TABLE), [-0.2, 0.5, NAN])


def test_a_mean_is_over_what_is_defined() -> None:
    np.testing.assert_allclose(forgetting_results.mean(forgetting(TABLE)[None, :]), (0.2 - 0.5) / 2)
    assert np.isnan(forgetting_results.mean(np.full((2, 2), NAN)))


def test_forgetting_is_the_mean_over_those_who_came_before_the_last(results: Results) -> None:
    found = results.interval(forgetting, SHARED)
    assert found.mean == pytest.approx((2 * 0.2 + 1 * 0.2) / 2)  # of the first and of the second who came
    assert (found.low, found.high) == pytest.approx((0.2, 0.4))
    assert results.interval(forgetting, OWN).shown(signs="+.3f") == "+0.000 [+0.000, +0.000]"


def test_ways_are_compared_on_the_same_draw(results: Results) -> None:
    """Questions differ, and by the same in both ways: a draw of them makes no difference between the two."""
    found = results.interval(learned, OWN, over=BASE)
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert results.interval(learned, OWN).low < 1.5 < results.interval(learned, OWN).high
    assert results.interval(final, OWN, over=SHARED).mean == pytest.approx(0.1 + (0.4 + 0.2 + 0.0) / 3)


def test_the_map_is_by_place_in_the_order_and_not_by_name(results: Results) -> None:
    np.testing.assert_allclose(results.change(SHARED), [[0.0, NAN, NAN], [0.2, 0.0, NAN], [0.4, 0.2, 0.0]], atol=1e-9)
    np.testing.assert_allclose(results.first(SHARED), [1.6, 1.8, 2.0])  # Ant in one seed, Bee in the other
    np.testing.assert_allclose(results.present(SHARED), [1.6, 1.7, 1.8])
    np.testing.assert_allclose(results.present(BASE), [2.0, 2.0, 2.0])


def test_unchanged_readings_are_counted_to_the_last_bit(results: Results) -> None:
    assert results.unchanged(OWN) == (6, 6)  # three later readings a seed
    assert results.unchanged(SHARED) == (0, 6)
    cells = readings()
    place = next(place for place, cell in enumerate(cells) if cell.key == (OWN, 32, 0, 3, "Ant"))
    cells[place] = replace(cells[place], totals=[cells[place].totals[0], np.nextafter(cells[place].totals[1], 99)])
    assert Results(cells, 32).unchanged(OWN) == (5, 6)


def test_what_moved_is_told_of_those_who_came_before_the_last(results: Results) -> None:
    assert (results.moved_by_the_end(OWN), results.moved_by_the_end(SHARED)) == (0.0, 0.25)


def test_only_whole_seeds_are_told() -> None:
    assert Results(readings(), 32).seeds == [0, 1]
    assert Results([cell for cell in readings() if cell.key != (OVERLAPPING, 32, 1, 3, "Ant")], 32).seeds == [0]


@pytest.fixture
def page(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(forgetting_page, "PAGE", tmp_path / "forgetting.md")
    return tmp_path / "forgetting.md"


def test_the_page_tells_what_was_found(page: Path) -> None:
    forgetting_page.write(readings())
    text = page.read_text(encoding="utf-8")
    assert "**own blocks, rank 8**: nobody changed. All 6 later readings are the first to the last bit." in text
    assert "**one shared block, rank 8**: earlier characters' replies became less likely (forgetting +0.300 [" in text
    assert "75% of what own training had brought over the bare base" in text  # 0.3 of 0.4
    assert "more is forgotten of an earlier character than where ranges are disjoint (+0.150 [" in text
    assert "| own blocks, rank 8 over one shared block, rank 8 | **+0.100 [+0.100, +0.100]** | **+0.300 [" in text
    assert "{" not in text
    assert page.with_suffix(".svg").read_text(encoding="utf-8").startswith("<?xml")


def test_sentences_turn_with_the_numbers(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOST, SHARED, -0.1)  # a shared block that gets better for everybody
    monkeypatch.setitem(START, SHARED, 1.4)
    monkeypatch.setitem(LOST, OVERLAPPING, -0.1)
    forgetting_page.write(readings())
    text = page.read_text(encoding="utf-8")
    assert "**one shared block, rank 8**: earlier characters' replies became likelier (forgetting -0.150 [" in text
    assert "In the end replies are less likely with **own blocks, rank 8** than with one shared block, rank 8" in text
    assert "less is forgotten of an earlier character than where ranges are disjoint (-0.150 [" in text


def test_the_page_is_of_the_most_exchanges_and_compares_the_amounts(page: Path) -> None:
    forgetting_page.write(readings())
    assert "By the number of exchanges" not in page.read_text(encoding="utf-8")
    unfinished = readings(128)[:20]
    forgetting_page.write([*readings(), *readings(64)[3:], *unfinished[3:]])
    text = page.read_text(encoding="utf-8")
    assert "standard preset, at most 64 exchanges each" in text
    assert "\n| 32 | 2 | +0.300 [" in text and "\n| 64 | 2 | +0.300 [" in text and "\n| 128 |" not in text


def test_a_table_of_characters_names_each_once(page: Path) -> None:
    forgetting_page.write(readings())
    text = page.read_text(encoding="utf-8")
    assert [text.count(f"\n| {name} | {np.exp(2.0):.2f} | ") for name in ORDERS[0]] == [1, 1, 1]
