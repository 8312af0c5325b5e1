"""A character is onboarded anew: the old one serves until the new one is whole, and can come back."""

from pathlib import Path
from typing import Any

import pytest

from registry.errors import LeaseLost, NameTaken
from registry.store import Onboarded, Registry
from registry.tables import Character
from tests.neekoctl.conftest import QUICK
from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")


@pytest.fixture
def registry(inhabited: Registry) -> Registry:
    return inhabited


def lives(neekoctl: Any) -> list[tuple[str, str]]:
    return [(row["name"], row["block"]) for row in neekoctl("list", "--json").document]


def test_a_replacement_takes_name_and_aliases_and_leaves_the_others(neekoctl, registry: Registry,
                                                                    tmp_path: Path) -> None:  # fmt: skip
    before = dict(lives(neekoctl))
    profile = write_profile(tmp_path, "Bee", ("Apis",))
    document = neekoctl("add-character", profile, "--replace", *QUICK, "--seed", 5, "--json").document
    assert document["replaced"] == before["Bee"] != document["block"]
    assert document["certificate"] == {"others": 2, "identical": 2}
    assert dict(lives(neekoctl)) == {**before, "Bee": document["block"]}
    assert registry.find("apis").block == document["block"]
    assert [(row["kind"], row["character"]) for row in neekoctl("log", "--json").document[:2]] == [
        ("moved in", "Bee"), ("moved out", "Bee")]  # fmt: skip
    assert neekoctl("check").code == 0
    assert neekoctl("rollback", 3, "--yes").code == 0
    assert dict(lives(neekoctl)) == before


def test_a_failed_replacement_changes_nothing(neekoctl, registry: Registry, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from neekoctl import onboarding

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    before = lives(neekoctl)
    monkeypatch.setattr(onboarding, "_strategy", fails)
    assert neekoctl("add-character", write_profile(tmp_path, "Bee"), "--replace", *QUICK).code == 1
    assert lives(neekoctl) == before
    assert neekoctl("chat", "--as", "bee", "--once", "Hello", "--max-new-tokens", 2).code == 0


def test_where_nobody_has_the_name_replacing_is_adding(neekoctl, registry: Registry, tmp_path: Path) -> None:
    first = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--replace", *QUICK, "--json").document
    again = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--replace", *QUICK, "--json").document
    assert (first["replaced"], again["replaced"]) == (None, first["block"])


def test_nobody_is_replaced_by_an_alias(neekoctl, registry: Registry, tmp_path: Path) -> None:
    taken = neekoctl("add-character", write_profile(tmp_path, "Bee", ("Cub",)), "--replace", *QUICK)
    assert (taken.code, "Cub already answers" in taken.err) == (1, True)


def test_a_replacement_is_not_made_from_whom_it_replaces(neekoctl, registry: Registry, tmp_path: Path) -> None:
    done = neekoctl("add-character", write_profile(tmp_path, "Bee"), "--replace", "--strategy", "fuse", "--json")
    assert sorted(parent["character"] for parent in done.document["parents"]) == ["Ant", "Cub"]
    children = neekoctl("add-character", write_profile(tmp_path, "Eft"), "--strategy", "fuse", "--from", "Bee").code
    assert children == 0
    assert neekoctl("add-character", write_profile(tmp_path, "Bee"), "--replace", *QUICK).code == 0
    assert [row["character"] for row in neekoctl("stale", "--json").document] == ["Eft"]


def test_who_lives_alone_has_nobody_to_be_remade_from(neekoctl, tmp_path: Path) -> None:
    profile = write_profile(tmp_path, "Bee")
    neekoctl("add-character", profile, *QUICK)
    alone = neekoctl("add-character", profile, "--replace", "--strategy", "fuse")
    assert (alone.code, "nobody to fuse Bee from" in alone.err) == (1, True)


def test_auto_remakes_who_lives_alone(neekoctl, tmp_path: Path) -> None:
    for _ in range(2):
        done = neekoctl(
            "add-character", write_profile(tmp_path), "--replace", "--strategy", "auto", "--preset", "quick"
        )
        assert done.code == 0, done.err


def test_of_two_replacements_at_once_the_later_is_refused_before_it_begins(registry: Registry) -> None:
    bee, bank = registry.find("Bee"), registry.banks()[0]
    first = registry.reserve(bank, "Bee", [], 8, "expand", bee)
    with pytest.raises(NameTaken, match="Bee is being replaced by another command"):
        registry.reserve(bank, "BEE", [], 8, "expand", bee)
    registry.commit(first, _like(bee))
    assert registry.find("Bee").id == first.character_id


def test_whoever_was_to_be_replaced_and_has_left_is_not_replaced(registry: Registry) -> None:
    bee = registry.find("Bee")
    held = registry.reserve(registry.banks()[0], "Bee", [], 8, "expand", bee)
    registry.remove(bee)
    with pytest.raises(LeaseLost, match="removed or replaced meanwhile"):
        registry.commit(held, _like(bee))
    registry.release(held)
    assert not registry.answers_to("Bee")


def _like(bee: Character) -> Onboarded:
    return Onboarded(bee.block or "", {"name": "Bee", "aliases": []}, {}, {}, {}, {}, "", 0, "", None, None)
