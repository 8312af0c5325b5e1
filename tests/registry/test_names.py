"""Names: what counts as the same name, and which names are offered when one is missed."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import names
from registry.names import NEAREST_SHOWN, fold, nearest, some_of

PEOPLE = ["Isaac Newton", "Sherlock Holmes", "Chloé O'Brien", "Ada Lovelace", "Ludwig van Beethoven", "Cleopatra"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Newton", "NEWTON"),
        ("Chloé", "chloe"),
        ("Chloe\u0301", "Chloé"),
        ("  Isaac \t Newton ", "isaac newton"),
        ("Isaac\u00a0Newton", "isaac newton"),
        ("夏目\u3000漱石", "夏目 漱石"),
        ("ශ්\u200dරී", "ශ්රී"),
        ("Weiß", "WEISS"),
        ("Ｎｅｗｔｏｎ", "newton"),
        ("İstanbul", "istanbul"),
        ("Dvořák", "dvorak"),
        ("ﬁnn", "Finn"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("한국", "한국"),
    ],
)
def test_names_that_people_take_for_the_same_share_a_key(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Newton", "Newtown"), ("O'Brien", "OBrien"), ("Ann Lee", "Annlee"), ("孔子", "老子"), ("カイ", "ガイ")],
)
def test_different_names_keep_different_keys(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@given(st.text())
def test_folding_twice_changes_nothing_more(name: str) -> None:
    assert fold(fold(name)) == fold(name)


@given(st.text())
def test_a_key_has_no_space_at_its_ends_and_none_doubled(name: str) -> None:
    assert fold(name) == " ".join(fold(name).split())


def test_the_examples_in_the_docstrings_hold() -> None:
    done = doctest.testmod(names)
    assert done.attempted > 0
    assert done.failed == 0


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("isac newton", "Isaac Newton"),
        ("newton", "Isaac Newton"),
        ("sherlok", "Sherlock Holmes"),
        ("chloe obrien", "Chloé O'Brien"),
        ("BEETHOVN", "Ludwig van Beethoven"),
        ("Kleopatra", "Cleopatra"),
    ],
)
def test_the_name_that_was_meant_comes_first(typed: str, meant: str) -> None:
    assert nearest(typed, PEOPLE)[0] == meant


@pytest.mark.parametrize("typed", ["", "qqq", "孔子"])
def test_nothing_is_offered_for_noise(typed: str) -> None:
    assert nearest(typed, PEOPLE) == []


def test_no_more_names_are_offered_than_fit_in_a_sentence() -> None:
    known = [f"Newton {number}" for number in range(20)]
    assert len(nearest("Newton", known)) == NEAREST_SHOWN
    assert nearest("Newton", []) == []


def test_a_sentence_names_some_of_many() -> None:
    assert some_of(["Ant", "Bee"]) == "Ant, Bee"
    assert some_of([str(number) for number in range(200)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 192 more"
