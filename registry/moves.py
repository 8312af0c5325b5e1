"""What happens within a transaction when somebody moves in or out: names, taken ranges, revisions, and reservations
whose process is gone. Knows rows; opens no session.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from typing import Any

from sqlmodel import Session, col, delete, select, text, update

from registry.errors import LeaseLost, NameTaken, NeekoError
from registry.leases import Lease
from registry.names import fold
from registry.tables import Bank, Character, Gate, Handle, Revision, now

LIVE_SQL = "status IN ('reserved', 'ready')"  # spelt as in the partial index, or SQLite does not use it


def vacate(session: Session, character_id: int) -> None:
    """Free a character's range and names."""
    session.exec(delete(Handle).where(col(Handle.character_id) == character_id))
    session.exec(update(Character).where(col(Character.id) == character_id).values(status="removed", removed_at=now()))


def note(session: Session, kind: str, *, character_id: int | None = None, back_to: int | None = None) -> Revision:
    """A revision of what this transaction does, with the gate that was in use before it."""
    gate = session.exec(select(Gate.version).where(col(Gate.active))).first()
    row = Revision(kind=kind, character_id=character_id, back_to=back_to, gate_before=gate)
    session.add(row)
    return row


def settle(session: Session, character_id: int, name: str, aliases: list[str], replaced: int | None = None) -> None:
    """Enter a character's name and aliases, but those that `replaced` answers to still."""
    for text_, is_name in [(name, True), *((alias, False) for alias in aliases)]:
        held = session.get(Handle, fold(text_)) if replaced else None
        if held is None or held.character_id not in (replaced, character_id):
            session.add(Handle(key=fold(text_), character_id=character_id, text=text_, is_name=is_name))


def make_way(session: Session, replaced: int, newcomer: Character, aliases: list[str]) -> None:
    """Whoever is replaced moves out, and the newcomer answers to the names. Raises LeaseLost when it has left."""
    if session.exec(select(Character.status).where(Character.id == replaced)).first() != "ready":
        raise LeaseLost(f"{newcomer.name} was removed or replaced meanwhile: look with `neekoctl log`, then add again.")
    vacate(session, replaced)
    session.flush()
    settle(session, newcomer.id, newcomer.name, aliases, replaced)
    note(session, "moved out", character_id=replaced)


def taken(session: Session, bank: Bank) -> Iterator[tuple[int, int]]:
    """(start, stop) in order."""
    query = f"SELECT start, stop FROM character WHERE bank_id = ? AND {LIVE_SQL} ORDER BY start"
    return fetched(session, query, (bank.id,))


def fetched(session: Session, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
    """Rows of plain SQL from the driver's own cursor: SQLAlchemy's would cost three times the query."""
    with closing(session.connection().connection.cursor()) as cursor:
        yield from cursor.execute(query, parameters)


def refuse_taken(session: Session, names: list[str], but: Collection[int | None] = ()) -> None:
    """Raises NameTaken when a live character, but those in `but`, answers to one of the names."""
    for name in names:
        if (handle := session.get(Handle, fold(name))) and handle.character_id not in but:
            owner = session.get(Character, handle.character_id)
            assert owner is not None
            if owner.status == "reserved":
                raise NameTaken(
                    f"The name {name!r} is taken: {owner.name} is being added by another command; wait for it, or "
                    f"choose another name."
                )
            way = f"`neekoctl remove {owner.name!r}` first"
            if fold(owner.name) == fold(names[0]):
                way = f"add it with --replace to move {owner.name} out"
            raise NameTaken(f"The name {name!r} is taken: {owner.name} already answers to it; choose another name or "
                            f"alias, or {way}.")  # fmt: skip


def refuse_two_replacements(session: Session, name: str) -> None:
    """Raises NameTaken while another command replaces the character of this name: one of the two would be in vain."""
    for other in session.exec(select(Character.name).where(Character.status == "reserved")):
        if fold(other) == fold(name):
            raise NameTaken(f"{other} is being replaced by another command: wait for it, then try again.")


def _holders(session: Session) -> list[Lease]:
    """The distinct leases behind the reservations: a process with many reservations is looked at once."""
    query = text(
        "SELECT lease_pid, lease_host, lease_born, max(lease_expires) FROM character WHERE status = 'reserved' "
        "GROUP BY lease_pid, lease_host, lease_born"
    )
    rows = session.connection().execute(query)
    return [Lease(pid or 0, host or "", born, expires or 0.0) for pid, host, born, expires in rows]


def dead(session: Session) -> list[Character]:
    """Reservations whose process is gone."""
    gone: list[Character] = []
    for lease in _holders(session):
        if not lease.is_held():
            gone += session.exec(
                select(Character).where(
                    Character.status == "reserved",
                    Character.lease_pid == lease.pid,
                    Character.lease_host == lease.host,
                    col(Character.lease_born).is_not_distinct_from(lease.born),
                )  # fmt: skip
            )
    return gone


def clear_dead(session: Session) -> list[str]:
    """Drop them; returns the names."""
    rows = dead(session)
    for row in rows:
        drop_reservation(session, row.id)
    return [row.name for row in rows]


def refuse_under_way(session: Session) -> None:
    """Raises NeekoError while somebody is being added; whose process is gone is not."""
    clear_dead(session)
    if added := session.exec(select(Character.name).where(Character.status == "reserved")).first():
        raise NeekoError(f"{added} is being added at this moment: wait for it, then try again.")


def drop_reservation(session: Session, character_id: int | None) -> None:
    row = session.get(Character, character_id)
    if row is not None and row.status == "reserved":
        session.exec(delete(Handle).where(col(Handle.character_id) == character_id))
        session.delete(row)
