"""Opens the registry's SQLite file and brings its schema up to date. Knows the pragmas and Alembic; nothing of
characters.

Alembic is imported only when a migration has to run: a registry that is up to date opens with one small query.
"""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlmodel import text

from registry.errors import NeekoError, RegistryTooNew

HEAD = "0006"  # a test compares it with the newest migration
BUSY_SECONDS = 60.0  # sixteen processes may queue for the write lock; each holds it for milliseconds


def open_engine(database: Path) -> Engine:
    """An engine on a database whose schema is this version's.

    Raises:
        RegistryTooNew: the schema is one this version does not know.
        NeekoError: the file is no SQLite database, or cannot be opened.
    """
    url = URL.create("sqlite", database=str(database))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin_deferred)
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with engine.connect() as connection:
            found = _version(connection)
        if found is None or found < HEAD:
            _migrate(engine)
        elif found > HEAD:
            raise RegistryTooNew(
                f"{database} was written by a newer neekoctl (schema {found}, this one knows {HEAD}): "
                f"upgrade with `pip install --upgrade neekoctl`."
            )
    except (DatabaseError, OSError) as error:
        cause = getattr(error, "orig", error)
        raise NeekoError(
            f"The registry {database} cannot be opened ({cause}): check the file and its folder."
        ) from error
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
    _switch_to_wal(connection)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """WAL is kept in the file; only the first switch needs the file alone, and it ignores the busy timeout."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_deferred(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def writing(engine: Engine) -> Engine:
    """The same database, its transactions begun with BEGIN IMMEDIATE: whoever reads in it may also write."""
    return engine.execution_options(immediate=True)


def _version(connection: Connection) -> str | None:
    try:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DatabaseError as error:
        if "no such table" in str(error):
            return None
        raise


def _migrate(engine: Engine) -> None:
    """Run what is missing under the write lock, so that two first commands at once do not collide."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    scripts = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", scripts.replace("%", "%%"))  # as ini files have it
    config.set_main_option("path_separator", "os")
    with writing(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
