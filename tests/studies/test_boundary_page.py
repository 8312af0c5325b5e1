"""The boundary study's page, from cells whose truth is known."""

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from tests.studies import boundary_page as module
from tests.studies.boundary import METHODS, SEEDS, Cell, keys
from tests.studies.boundary_page import Results, amount

PEOPLE = ["Ant", "Bee", "Cub"]
LEVELS = {"base": 3.0, "fuse": 2.0, "fuse --tune": 1.8, "expand --warm-start fuse": 1.5, "expand": 2.5}


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.setattr(module, "DRAWS", 200)
    return Results([_cell(*key) for key in keys(PEOPLE)])


def _cell(name: str, method: str, exchanges: int, seed: int) -> Cell:
    """Ten questions of ten tokens; every method at its own level, a little noise from a seed of the key."""
    level = LEVELS.get(method, 2.2)  # another resident's block
    noise = np.random.default_rng(crc32(f"{name} {method} {exchanges} {seed}".encode())).normal(0, 0.05, 10)
    return Cell(name, method, exchanges, seed, (10 * (level + noise)).tolist(), [10] * 10, [0.25] * 10, 1.0)


def test_every_cell_is_measured_once() -> None:
    found = list(keys(PEOPLE))
    assert len(found) == len(set(found))
    assert {method for _, method, _, _ in found} >= set(METHODS)


def test_only_whole_seeds_are_told() -> None:
    cells = [_cell(*key) for key in keys(PEOPLE)]
    assert Results(cells).seeds == {0: [0], 1: list(SEEDS), 4: list(SEEDS), 16: list(SEEDS), 64: list(SEEDS)}
    lost = ("Cub", "expand", 64, SEEDS[-1])
    assert Results([cell for cell in cells if cell.key != lost]).seeds[64] == list(SEEDS[:-1])


def test_an_interval_holds_the_truth_and_a_real_gain_is_above_zero(results: Results) -> None:
    found = results.interval(results.nll("fuse", 0))
    assert found.low < 2.0 < found.high
    gain = results.less(results.nll("fuse", 0), results.nll("expand --warm-start fuse", 16))
    assert gain.low > 0.4
    assert gain.mean == pytest.approx(0.5, abs=0.05)


def test_distinctness_is_what_the_own_block_adds_to_anothers(results: Results) -> None:
    assert results.interval(results.distinct("expand --warm-start fuse", 64)).mean == pytest.approx(0.7, abs=0.05)


def test_a_fusion_is_the_same_at_every_amount_and_tuning_reads_sixteen() -> None:
    assert [amount("fuse", each) for each in (1, 64)] == [0, 0]
    assert [amount("fuse --tune", each) for each in (4, 16, 64)] == [4, 16, 16]
    assert amount("expand", 64) == 64


def test_the_page_holds_every_table_and_the_plot(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 50)
    monkeypatch.setattr(module, "PAGE", tmp_path / "boundary.md")
    module.write([_cell(*key) for key in keys(PEOPLE)])
    text = (tmp_path / "boundary.md").read_text(encoding="utf-8")
    assert text.count("\n| `expand --warm-start fuse` |") == 4  # perplexity, ROUGE-L, distinctness, seconds
    assert "| 64 | `expand --warm-start fuse` | none | `expand --warm-start fuse` |" in text
    assert "**+0.5" in text or "**+0.4" in text
    assert "{" not in text
    assert (tmp_path / "boundary.svg").read_text(encoding="utf-8").startswith("<?xml")
