"""How everybody was, revision by revision: what certificates and checks measured, and the matrix of it.
Knows rows; measures nothing.
"""

from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass

from sqlmodel import col, func, select

from registry.revisions import arrivals, in_order, newest_in
from registry.store import Registry
from registry.tables import Character, Reading, Revision


@dataclass(frozen=True)
class Matrix:
    """Characters by revisions: the last reading of each character at each revision, None where there is none."""

    characters: list[Character]  # who live here, in the order they moved in
    everybody: list[Character]  # also who left
    revisions: list[Revision]
    cells: list[list[Reading | None]]


def put_readings(registry: Registry, readings: Iterable[Reading]) -> None:
    """Keep readings, all taken at the newest revision."""
    with registry.writing() as session:
        number = newest_in(session)
        for each in readings:
            each.revision = number
            session.add(each)


def count_readings(registry: Registry) -> int:
    """How many there are."""
    with registry.reading() as session:
        return session.exec(select(func.count()).select_from(Reading)).one()


def first_distinctness(registry: Registry, characters: Collection[Character],
                       here: Container[str | None]) -> dict[int, dict[str, list[float]]]:  # fmt: skip
    """character id -> its first reading against a rival whose block is still `here`: block -> nats of each probe."""
    found: dict[int, dict[str, list[float]]] = {}
    own = {row.id: row.block for row in characters}
    with registry.reading() as session:
        query = select(Reading).where(col(Reading.character_id).in_(list(own)))
        for each in session.exec(query.order_by(col(Reading.id).desc())):
            if any(block in here for block in each.distinctness.keys() - {own[each.character_id]}):
                found[each.character_id] = each.distinctness
    return found


def matrix(registry: Registry) -> Matrix:
    """The residents in the order they moved in, by all revisions."""
    everybody, since = registry.characters(status=("ready", "removed"), brief=True), arrivals(registry)
    people = sorted((row for row in everybody if row.status == "ready"),
                    key=lambda row: (since.get(row.id, row.created_at), row.id))  # fmt: skip
    with registry.reading() as session:
        revisions = in_order(session)
        last = {(each.character_id, each.revision): each
                for each in session.exec(select(Reading).order_by(col(Reading.id)))}  # fmt: skip
    cells = [[last.get((person.id, step.number)) for step in revisions] for person in people]
    return Matrix(people, everybody, revisions, cells)
