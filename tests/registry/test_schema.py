"""The database file: opened, migrated once, refused with a sentence; and what SQL itself refuses, whoever writes.

The refusals are tried with Python's own sqlite3 on the migrated file, past the Registry and SQLAlchemy.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from registry import schema
from registry.errors import NeekoError, RegistryBusy, RegistryTooNew
from registry.layout import Layout
from registry.names import fold
from registry.store import Registry

MIGRATIONS = Path(schema.__file__).parent / "migrations"
PARTIAL_INDEXES = {
    "live_ranges",
    "reservations",
    "one_active_gate",
    "residents",
}  # in the migrations alone: SQLModel cannot state them
DIGEST = "a" * 64


@pytest.fixture
def database(registry: Registry) -> Iterator[sqlite3.Connection]:
    """The migrated file with two banks of 64 and 32 ranks, and a plain connection to it."""
    registry.bank("base", "first", capacity=64)
    registry.bank("other", "second", capacity=32)
    with closing(sqlite3.connect(registry.layout.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


def insert(connection: sqlite3.Connection, start: int, stop: int, **changed: object) -> int:
    """A row of `character`, a ready one of the first bank unless told otherwise; returns its id."""
    row: dict[str, object] = {
        "bank_id": 1, "name": f"{start}-{stop}", "start": start, "stop": stop, "status": "ready", "strategy": "expand",
        "block": DIGEST, "description": "{}", "recipe": "{}", "metrics": "{}", "environment": "{}",
        "data_digests": "{}", "system_message": "", "seed": 0, "reason": "", "created_at": "",
    } | changed  # fmt: skip
    marks = ", ".join("?" * len(row))
    done = connection.execute(f"INSERT INTO character ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    return int(done.lastrowid or 0)


# the migrations


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [schema.HEAD]


def test_the_tables_are_what_the_migrations_make(registry: Registry) -> None:
    def compared(_thing: object, name: str | None, _kind: str, _reflected: bool, _other: object) -> bool:
        return name not in PARTIAL_INDEXES

    with registry.engine.connect() as connection:
        options = {"compare_type": True, "include_object": compared}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, SQLModel.metadata) == []


def test_every_column_may_be_empty_exactly_where_the_tables_say(registry: Registry) -> None:
    with closing(sqlite3.connect(registry.layout.database)) as connection:
        for table in SQLModel.metadata.tables.values():
            rows = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
            made = {name: bool(required or key) for _, name, _, required, _, key in rows}
            assert made == {column.name: not column.nullable for column in table.columns}


def test_the_indexes_that_the_allocator_lives_on_are_used(database: sqlite3.Connection) -> None:
    query = "SELECT start, stop FROM character WHERE bank_id = 1 AND status IN ('reserved', 'ready') ORDER BY start"
    plan = " ".join(str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {query}"))
    assert "COVERING INDEX live_ranges" in plan or "INDEX live_ranges" in plan
    assert "TEMP B-TREE" not in plan


def test_the_file_is_in_wal_and_commits_are_synced(registry: Registry) -> None:
    with registry.engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        values = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]
    assert values == ["wal", 2, 1]


def test_opening_again_changes_nothing_and_needs_no_alembic(registry: Registry) -> None:
    registry.bank("base", "first")
    registry.engine.dispose()
    code = (
        "import sys; from registry.layout import Layout; from registry.store import Registry\n"
        "print([bank.fingerprint for bank in Registry(Layout.default()).banks()], 'alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['first'] False"


# files that cannot be opened


def test_a_registry_of_a_newer_version_is_refused_untouched(database: sqlite3.Connection, layout: Layout) -> None:
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    before = list(database.iterdump())
    with pytest.raises(RegistryTooNew) as caught:
        Registry(layout)
    assert str(layout.database) in str(caught.value)
    assert "upgrade" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert list(database.iterdump()) == before


@pytest.mark.parametrize("make", ["text", "folder", "home is a file"])
def test_what_is_no_database_is_refused_in_a_sentence_and_left_alone(make: str, layout: Layout) -> None:
    if make == "home is a file":
        layout.home.write_text("mine")
    elif make == "folder":
        layout.database.mkdir(parents=True)
    else:
        layout.home.mkdir()
        layout.database.write_text("dear diary, " * 500)
    with pytest.raises(NeekoError) as caught:
        Registry(layout)
    assert str(layout.database) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    if make == "text":
        assert layout.database.read_text() == "dear diary, " * 500


@pytest.mark.parametrize("name", ["what?", "50%41", "a#b", "with space", "é", "a&b=c", "50%"])
def test_the_registry_lies_in_the_home_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "homes" / name)
    assert Registry(layout).bank("base", "first").id == 1
    assert layout.database.is_file()
    assert [path.name for path in layout.home.parent.iterdir()] == [name]


def test_a_missing_home_is_made(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "one" / "two" / "three")
    assert Registry(layout).banks() == []
    assert layout.database.is_file()


def test_a_writer_that_holds_the_lock_too_long_is_named_busy(
    layout: Layout, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.engine.dispose()
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.2)
    waiting = Registry(layout)
    with closing(sqlite3.connect(layout.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryBusy, match="try again"):
            waiting.bank("base", "first")
        assert waiting.banks() == [], "reading never waits for a writer"
        other.execute("ROLLBACK")
    assert waiting.bank("base", "first").id == 1


# what SQL refuses


@pytest.mark.parametrize(
    ("start", "stop"), [(10, 20), (12, 18), (8, 22), (5, 11), (19, 30), (10, 11), (19, 20), (0, 64), (0, 11), (5, 20)]
)
@pytest.mark.parametrize("status", ["ready", "reserved"])
@pytest.mark.parametrize("there", ["ready", "reserved"])
def test_overlapping_live_ranges_are_refused(
    database: sqlite3.Connection, start: int, stop: int, status: str, there: str
) -> None:
    insert(database, 10, 20, status=there)
    with pytest.raises(sqlite3.IntegrityError, match="overlap"):
        insert(database, start, stop, status=status)


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (20, 64), (20, 21), (9, 10)])
def test_ranges_that_only_touch_are_allowed(database: sqlite3.Connection, start: int, stop: int) -> None:
    insert(database, 10, 20)
    assert insert(database, start, stop) > 0


def test_an_overlap_with_any_of_many_is_refused(database: sqlite3.Connection) -> None:
    for start in (0, 16, 32, 48):
        insert(database, start, start + 8)
    for start in (0, 7, 15, 23, 31, 39, 47, 55):
        with pytest.raises(sqlite3.IntegrityError, match="overlap"):
            insert(database, start, start + 2)
    for start in (8, 24, 40, 56):
        insert(database, start, start + 8)
    with pytest.raises(sqlite3.IntegrityError, match="overlap"):
        insert(database, 0, 64)


def test_removed_characters_and_other_banks_stand_in_nobodys_way(database: sqlite3.Connection) -> None:
    insert(database, 10, 20)
    assert insert(database, 12, 18, status="removed") > 0
    assert insert(database, 12, 18, bank_id=2) > 0


@pytest.mark.parametrize(
    "change", ["start = 5, stop = 11", "start = 15", "status = 'ready'", "status = 'reserved'", "bank_id = 1"]
)
def test_a_change_into_an_overlap_is_refused(database: sqlite3.Connection, change: str) -> None:
    insert(database, 10, 20)
    if "status" in change:
        moved = insert(database, 15, 25, status="removed")
    elif "bank_id" in change:
        moved = insert(database, 15, 25, bank_id=2)
    else:
        moved = insert(database, 20, 30)
    with pytest.raises(sqlite3.IntegrityError, match="overlap"):
        database.execute(f"UPDATE character SET {change} WHERE id = ?", [moved])


def test_a_character_never_stands_in_its_own_way(database: sqlite3.Connection) -> None:
    mine = insert(database, 10, 20, status="reserved")
    database.execute("UPDATE character SET status = 'ready', start = 12, stop = 22 WHERE id = ?", [mine])
    assert database.execute("SELECT start, stop, status FROM character").fetchall() == [(12, 22, "ready")]


@pytest.mark.parametrize(("start", "stop"), [(60, 65), (64, 72), (0, 65)])
def test_ranges_outside_the_capacity_are_refused(database: sqlite3.Connection, start: int, stop: int) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="outside the capacity"):
        insert(database, start, stop)
    inside = insert(database, 0, 8)
    with pytest.raises(sqlite3.IntegrityError, match="outside the capacity"):
        database.execute("UPDATE character SET start = ?, stop = ? WHERE id = ?", [start, stop, inside])


@pytest.mark.parametrize(("start", "stop"), [(-1, 7), (8, 8), (9, 8), (-8, -1), (None, 8), (0, None)])
def test_what_is_no_half_open_range_is_refused(database: sqlite3.Connection, start: int, stop: int) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        insert(database, start, stop)


@pytest.mark.parametrize("block", [None, "", "a" * 63, "a" * 65])
def test_a_ready_character_without_a_digest_is_refused(database: sqlite3.Connection, block: str | None) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="ready_has_a_block"):
        insert(database, 0, 8, block=block)
    reserved = insert(database, 0, 8, status="reserved", block=None)
    with pytest.raises(sqlite3.IntegrityError, match="ready_has_a_block"):
        database.execute("UPDATE character SET status = 'ready', block = ? WHERE id = ?", [block, reserved])


def test_an_unknown_status_is_refused(database: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="status_is_known"):
        insert(database, 0, 8, status="halfway")


@pytest.mark.parametrize(
    ("capacity", "words"),
    [(19, "cut off"), (1, "cut off"), (0, "CHECK|cut off"), (-5, "CHECK|cut off"), (None, "NOT NULL")],
)
def test_a_capacity_that_cuts_a_live_range_off_is_refused(
    database: sqlite3.Connection, capacity: int | None, words: str
) -> None:
    insert(database, 10, 20)
    with pytest.raises(sqlite3.IntegrityError, match=words):
        database.execute("UPDATE bank SET capacity = ? WHERE id = 1", [capacity])
    assert database.execute("SELECT capacity FROM bank WHERE id = 1").fetchone() == (64,)


def test_a_capacity_may_shrink_to_the_last_live_range(database: sqlite3.Connection) -> None:
    insert(database, 10, 20)
    insert(database, 30, 40, status="removed")
    insert(database, 20, 30, bank_id=2)
    database.execute("UPDATE bank SET capacity = 20 WHERE id = 1")
    assert database.execute("SELECT capacity FROM bank WHERE id = 1").fetchone() == (20,)


@pytest.mark.parametrize(("one", "other"), [("Moth", "MOTH"), ("Chloé", "chloe"), ("Isaac  Newton", "isaac newton")])
def test_two_characters_of_one_folded_name_are_refused(database: sqlite3.Connection, one: str, other: str) -> None:
    first, second = insert(database, 0, 8), insert(database, 8, 16)
    add = "INSERT INTO handle (key, character_id, text, is_name) VALUES (?, ?, ?, ?)"
    database.execute(add, [fold(one), first, one, True])
    with pytest.raises(sqlite3.IntegrityError, match="handle.key"):
        database.execute(add, [fold(other), second, other, False])


def test_two_banks_over_one_fingerprint_are_refused(database: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="fingerprint"):
        database.execute("INSERT INTO bank (base, fingerprint, capacity, created_at) VALUES ('x', 'first', 8, '')")


@pytest.mark.parametrize("statement", ["DELETE FROM bank WHERE id = 1", "DELETE FROM character"])
def test_nothing_is_deleted_from_under_its_children(database: sqlite3.Connection, statement: str) -> None:
    mine = insert(database, 0, 8)
    database.execute("INSERT INTO handle (key, character_id, text, is_name) VALUES ('moth', ?, 'Moth', 1)", [mine])
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        database.execute(statement)


def test_a_character_of_no_bank_is_refused(database: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        insert(database, 0, 8, bank_id=77)
