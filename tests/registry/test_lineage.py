"""Whom a character was made from, and what became of them."""

import pytest

from registry.lineage import Stale, ancestry, stale
from registry.store import Onboarded, Registry
from registry.tables import Character, Parent


def settle(registry: Registry, name: str, block: str, *parents: tuple[str, str]) -> Character:
    bank = registry.bank("base", "1")
    held = registry.reserve(bank, name, [], 1, "fuse" if parents else "expand")
    rows = [Parent(character_id=0, name=who, block=which * 64, weight=0.5) for who, which in parents]
    return registry.commit(held, Onboarded(block * 64, {}, {}, {}, {}, {}, "", 0, "", None, None, parents=rows))


@pytest.fixture
def child(registry: Registry) -> Character:
    settle(registry, "Ant", "a")
    settle(registry, "Bee", "b")
    return settle(registry, "Cub", "c", ("Ant", "a"), ("Bee", "b"))


def states(registry: Registry, character: Character) -> dict[str, str]:
    return {each.name: each.state for each in ancestry(registry, character)}


def test_parents_who_live_here_as_they_were_are_here(registry: Registry, child: Character) -> None:
    assert states(registry, child) == {"Ant": "here", "Bee": "here"}
    assert stale(registry) == []


def test_a_parent_who_moved_out_is_gone_and_breaks_nothing(registry: Registry, child: Character) -> None:
    registry.remove(registry.find("Ant"))
    assert states(registry, child) == {"Ant": "gone", "Bee": "here"}
    assert stale(registry) == []
    assert registry.resident("Cub").block == "c" * 64


def test_a_parent_with_another_block_was_replaced_and_the_child_is_stale(registry: Registry, child: Character) -> None:
    registry.remove(registry.find("Ant"))
    settle(registry, "ANT", "d")
    assert states(registry, child) == {"Ant": "replaced", "Bee": "here"}
    assert stale(registry) == [Stale("Cub", "Ant", "a" * 64, "d" * 64)]


def test_a_parent_who_came_back_with_the_same_block_is_here(registry: Registry, child: Character) -> None:
    registry.remove(registry.find("Ant"))
    settle(registry, "Old Ant", "a")
    assert states(registry, child)["Ant"] == "here"


def test_grandparents_are_told_with_their_children(registry: Registry, child: Character) -> None:
    grandchild = settle(registry, "Dot", "e", ("Cub", "c"))
    (parent,) = ancestry(registry, grandchild)
    assert [each.name for each in parent.parents] == ["Ant", "Bee"]
    assert parent.parents[0].parents == []


def test_a_block_that_was_made_twice_is_not_its_own_ancestor(registry: Registry) -> None:
    settle(registry, "Ant", "a")
    first = settle(registry, "Twin", "a", ("Ant", "a"))
    second = settle(registry, "Other", "a", ("Twin", "a"))
    assert len(ancestry(registry, first)) == 1
    assert ancestry(registry, second)[0].name == "Twin"


def test_an_ancestor_met_twice_is_told_with_its_parents_once(registry: Registry, child: Character) -> None:
    settle(registry, "Dot", "e", ("Cub", "c"))
    last = settle(registry, "Elk", "f", ("Dot", "e"), ("Cub", "c"))
    dot, cub = ancestry(registry, last)
    assert [each.name for each in dot.parents[0].parents] == ["Ant", "Bee"]
    assert cub.parents == []


def test_a_removed_child_is_not_stale(registry: Registry, child: Character) -> None:
    registry.remove(registry.find("Ant"))
    settle(registry, "Ant", "d")
    registry.remove(child)
    assert stale(registry) == []
