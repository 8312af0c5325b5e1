"""The history of who lives here, and the way back: exactly as it was, or not at all."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from registry.errors import BlockDamaged, EncoderMismatch, NameTaken, NeekoError, UsageError
from registry.gates import Vectors, active_gate, embed_anew, put_gate
from registry.revisions import history, roll_back
from registry.seals import broken
from registry.store import Onboarded, Registry
from registry.tables import Character


def settle(
    registry: Registry, name: str, *aliases: str, block: str | None = None, encoder: str | None = None
) -> Character:
    bank = registry.bank("base", "1")
    held = registry.reserve(bank, name, list(aliases), 8, "expand")
    described = {"name": name, "aliases": list(aliases)}
    made = Onboarded(block or _stored(registry, name), described, {}, {}, {}, {}, "", 0, "", None, encoder)
    return registry.commit(held, made)


def _stored(registry: Registry, name: str) -> str:
    with registry.blocks.making() as folder:
        for file in ("adapter_config.json", "adapter_model.safetensors", "neeko.json"):
            (folder / file).write_text(name)
        return registry.blocks.put(folder)


def state(registry: Registry) -> list[tuple[str, int, int, str, list[str]]]:
    handles = registry.handles()
    return [(row.name, row.start, row.stop, row.block or "", sorted(handles[row.id])) for row in registry.characters()]


def test_every_move_is_a_revision_the_newest_first(registry: Registry) -> None:
    settle(registry, "Ant")
    registry.remove(settle(registry, "Bee"))
    told = [(row["revision"], row["kind"], row["character"]) for row in history(registry)]
    assert told == [(3, "moved out", "Bee"), (2, "moved in", "Bee"), (1, "moved in", "Ant")]


def test_nobody_is_embedded_anew_while_somebody_is_added(registry: Registry) -> None:
    ant = settle(registry, "Ant", encoder="one@1")
    held = registry.reserve(registry.bank("base", "1"), "Bee", [], 8, "expand")
    anew = [Vectors(ant.id, b"", {}, {})]
    with pytest.raises(NeekoError, match="Bee is being added"):
        embed_anew(registry, "two@2", anew)
    assert registry.find("Ant").encoder == "one@1"
    registry.release(held)
    embed_anew(registry, "two@2", anew)
    assert registry.find("Ant").encoder == "two@2"


def test_whoever_moves_in_while_all_are_embedded_anew_is_not_left_out(registry: Registry) -> None:
    anew = [Vectors(settle(registry, "Ant", encoder="one@1").id, b"", {}, {})]
    settle(registry, "Bee", encoder="one@1")
    with pytest.raises(NeekoError, match="Bee moved in meanwhile"):
        embed_anew(registry, "two@2", anew)
    assert registry.find("Ant").encoder == "one@1"


def test_going_back_restores_ranges_names_aliases_and_blocks(registry: Registry) -> None:
    settle(registry, "Ant", "Formica")
    bee = settle(registry, "Bee")
    settle(registry, "Cub", "Bear")
    before = state(registry)
    registry.remove(bee)
    settle(registry, "Dot")  # takes the range that Bee left
    assert state(registry) != before
    move = roll_back(registry, 3)
    assert state(registry) == before
    assert (move.moved_in, move.moved_out) == (["Bee"], ["Dot"])
    assert registry.find("bear").name == "Cub"
    with pytest.raises(LookupError):
        registry.find("Dot")


def test_going_back_can_be_gone_back_from(registry: Registry) -> None:
    settle(registry, "Ant")
    settle(registry, "Bee")
    both = state(registry)
    first = roll_back(registry, 1)
    assert [row[0] for row in state(registry)] == ["Ant"]
    settle(registry, "Cub")
    roll_back(registry, 2)
    assert state(registry) == both
    roll_back(registry, first.revision)
    assert [row[0] for row in state(registry)] == ["Ant"]


def test_the_empty_registry_is_revision_zero(registry: Registry) -> None:
    settle(registry, "Ant")
    roll_back(registry, 0)
    assert state(registry) == []


def test_the_gate_of_that_time_is_in_use_again(registry: Registry) -> None:
    settle(registry, "Ant")
    first = put_gate(registry, "encoder@1", {}, {}).version
    settle(registry, "Bee")
    second = put_gate(registry, "encoder@1", {}, {}).version
    assert roll_back(registry, 1).gate == first
    gate = active_gate(registry)
    assert gate is not None and gate.version == first
    roll_back(registry, 2)
    gate = active_gate(registry)
    assert gate is not None and gate.version == second


def test_a_block_that_was_pruned_is_named_and_nobody_is_moved(registry: Registry) -> None:
    settle(registry, "Ant")
    bee = settle(registry, "Bee")
    registry.remove(bee)
    settle(registry, "Cub")
    shutil.rmtree(registry.blocks.path(bee.block or ""))
    before = state(registry)
    with pytest.raises(BlockDamaged, match="The block of Bee"):
        roll_back(registry, 2)
    assert state(registry) == before
    assert len(history(registry)) == 4


def rebuild(registry: Registry, encoder: str) -> None:
    """As `gate rebuild --encoder` does."""
    embed_anew(registry, encoder, [Vectors(row.id, b"", {}, {}) for row in registry.characters()])
    put_gate(registry, encoder, {}, {})


@pytest.mark.parametrize("gone", ["Ant", "Bee"])
def test_nobody_of_another_encoder_comes_back_among_those_who_live_here(registry: Registry, gone: str) -> None:
    """Nor does a gate that knows none of their vectors."""
    for name in ("Ant", "Bee"):
        settle(registry, name, encoder="old/place@1")
    put_gate(registry, "old/place@1", {}, {})
    registry.remove(registry.find(gone))
    settle(registry, "Cub", encoder="old/place@1")
    rebuild(registry, "new@2")
    for number in (2, 3):  # to 3 the gate alone would come back
        with pytest.raises(EncoderMismatch, match="`neekoctl gate rebuild --encoder old/place` first"):
            roll_back(registry, number)
    assert (len(registry.characters()), len(history(registry))) == (2, 4)
    rebuild(registry, "moved/to@1")
    assert roll_back(registry, 2).moved_in == [gone]
    assert {row.encoder for row in registry.characters()} == {"moved/to@1"}


def test_those_who_left_under_different_encoders_do_not_come_back_together(registry: Registry) -> None:
    for name in ("Ant", "Bee"):
        settle(registry, name, encoder="old@1")
    registry.remove(registry.find("Ant"))
    rebuild(registry, "new@2")
    registry.remove(registry.find("Bee"))
    with pytest.raises(EncoderMismatch, match="choose another revision"):
        roll_back(registry, 2)
    assert registry.characters() == []


def test_somebody_who_is_being_added_is_waited_for(registry: Registry) -> None:
    settle(registry, "Ant")
    registry.remove(settle(registry, "Bee"))
    registry.reserve(registry.bank("base", "1"), "Cub", [], 8, "expand")
    with pytest.raises(NeekoError, match="Cub is being added"):
        roll_back(registry, 1)


@pytest.mark.parametrize(
    ("number", "sentence"), [(9, "There is no revision 9"), (-1, "no revision -1"), (2, "Nothing has changed")]
)
def test_a_revision_that_is_none_is_refused(registry: Registry, number: int, sentence: str) -> None:
    settle(registry, "Ant")
    settle(registry, "Bee")
    with pytest.raises(UsageError, match=sentence):
        roll_back(registry, number)


def test_a_state_that_the_schema_refuses_is_refused_in_words(registry: Registry) -> None:
    settle(registry, "Ant")
    registry.remove(settle(registry, "Bee"))
    with registry.writing() as session:
        session.connection().exec_driver_sql("UPDATE character SET start = 4, stop = 12 WHERE name = 'Bee'")
    before = state(registry)
    with pytest.raises(NeekoError, match="Revision 2 cannot come back.*live rank ranges overlap"):
        roll_back(registry, 2)
    assert (state(registry), len(history(registry))) == (before, 3)


def test_a_name_that_came_back_is_taken(registry: Registry) -> None:
    registry.remove(settle(registry, "Ant"))
    settle(registry, "Bee", "ant")
    roll_back(registry, 1)
    with pytest.raises(NameTaken):
        settle(registry, "ANT")


def test_what_came_before_the_migration_is_a_history_too(registry: Registry) -> None:
    settle(registry, "Ant")
    registry.remove(settle(registry, "Bee"))
    with closing(sqlite3.connect(registry.layout.database, isolation_level=None)) as connection:
        connection.executescript(
            "DROP TABLE cohort; DROP TABLE dialogue; DROP TABLE reading;"
            "ALTER TABLE character DROP COLUMN seal; ALTER TABLE probe DROP COLUMN routed_by;"
            "DROP TABLE revision; UPDATE alembic_version SET version_num = '0003';"
        )
    old = Registry(registry.layout)
    assert [(row["kind"], row["character"]) for row in history(old)] == [
        ("moved out", "Bee"), ("moved in", "Bee"), ("moved in", "Ant")]  # fmt: skip
    assert broken(old.find("Ant"), [], old.blocks) == {}
