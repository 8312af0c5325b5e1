"""Synthetic roles on the pico base: who they are, what they are asked, and that nothing is measured twice."""

from pathlib import Path

import pytest

from recipes import running
from recipes.bank import Bank
from recipes.base_model import BaseModel
from tests.studies.hycora_capacity import ASKED, FACTS, LEARNED, WORDS, Capacity, _lives
from tests.studies.test_forgetting import base

__all__ = ["base"]
SETTINGS = ("contrast=0", "batch=6", "rank=4", "hidden_width=16", "learning_rate=0.004", "epochs=1")


@pytest.fixture
def capacity(base: BaseModel, tmp_path: Path) -> Capacity:
    return Capacity(Bank(base), tmp_path / "cells.jsonl", tmp_path / "work", lambda _: None, SETTINGS)


def test_every_fact_has_as_many_words(capacity: Capacity) -> None:
    assert {len(set(words.split())) for _, words in FACTS.values()} == {WORDS}


def test_no_two_lives_are_alike() -> None:
    lives = _lives(64)
    assert len(set(map(tuple, lives))) == 64 and lives == _lives(64)


def test_a_question_ends_in_the_word_that_is_asked_for(capacity: Capacity) -> None:
    fact = next(iter(FACTS.items()))
    learned, asked = (capacity.question("Rome", fact, wording).row for wording in (LEARNED, ASKED))
    assert asked.scored.count(True) == 1 and asked.scored[-1]
    assert asked.tokens[-1] == capacity.tokens(" Rome")[0] in capacity.question("Rome", fact, ASKED).words
    trained = [row.tokens for row in capacity.rows(("Rome", "dog", "doctor"))]
    was_seen = [any(row[: len(each.tokens)] == each.tokens for row in trained) for each in (learned, asked)]
    assert was_seen == [True, False]


def test_what_was_measured_is_not_measured_again(capacity: Capacity, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    capacity.run((3,), ((8, 4),))
    cell = capacity.cells[3, 8, 4]
    assert (cell.asked, cell.steps) == (9, 3)
    monkeypatch.setattr(Capacity, "measure", lambda *_: pytest.fail("it was measured already"))
    Capacity(capacity.bank, capacity.path, tmp_path / "work", lambda _: None, SETTINGS).run((3,), ((8, 4),))


def test_a_killed_training_goes_on_from_where_it_was(capacity: Capacity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0.0)
    seen: list[int] = []

    def killed_once(progress: running.Progress) -> None:
        seen.append(progress.step)
        if seen == [1, 2]:
            raise KeyboardInterrupt

    capacity.report = killed_once
    with pytest.raises(KeyboardInterrupt):
        capacity.run((3,), ((8, 4),))
    capacity.run((3,), ((8, 4),))
    assert seen == [1, 2, 3] and not list(capacity.work.iterdir())
