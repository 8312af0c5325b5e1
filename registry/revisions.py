"""The history of who lives here, and the way back to any point of it. Knows rows; nothing of models.

Blocks are immutable and nothing of a character that moved out is deleted, so going back moves pointers: those who came
later move out, those who left move in again, at the ranges and under the names they had, and the gate's version of that
time is in use again. Going back is a revision like any other, and can be gone back from.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select, update

from registry.errors import BlockDamaged, EncoderMismatch, NeekoError, UsageError
from registry.gates import fingerprint, name_of
from registry.moves import note, refuse_under_way, settle, vacate
from registry.store import Registry
from registry.tables import Character, Gate, Revision


@dataclass(frozen=True)
class Move:
    """What a rollback did."""

    revision: int
    back_to: int
    moved_in: list[str]
    moved_out: list[str]
    gate: int | None


def history(registry: Registry) -> list[dict[str, Any]]:
    """Every revision, the newest first."""
    with registry.reading() as session:
        rows = list(session.exec(select(Revision).order_by(col(Revision.number).desc())))
        people = {row.id: row for row in session.exec(select(Character))}
    return [_told(row, people.get(row.character_id or 0)) for row in rows]


def _told(row: Revision, character: Character | None) -> dict[str, Any]:
    return {
        "revision": row.number,
        "kind": row.kind,
        "character": character.name if character else None,
        "strategy": character.strategy if character else None,
        "block": character.block if character else None,
        "back_to": row.back_to,
        "created_at": row.created_at,
    }


def in_order(session: Session) -> list[Revision]:
    """All of them, the oldest first."""
    return list(session.exec(select(Revision).order_by(col(Revision.number))))


def newest(registry: Registry) -> int:
    """The number of the last revision; 0 before the first."""
    with registry.reading() as session:
        return newest_in(session)


def newest_in(session: Session) -> int:
    return session.exec(select(func.max(Revision.number))).one() or 0


def settled_since(registry: Registry, number: int) -> frozenset[int]:
    """The ids of those who live here now and did not right after a revision, or left in between.

    Raises:
        UsageError: there is no such revision.
    """
    with registry.reading() as session:
        revisions = in_order(session)
    _refuse_unknown(revisions, number)
    since = [residents_at(revisions, number)]
    since += [here for row, here in states(revisions) if row.number > number]
    return since[-1] - frozenset.intersection(*since)


def roll_back(registry: Registry, number: int) -> Move:
    """Bring back the state right after a revision; 0 is the empty registry.

    Raises:
        UsageError: there is no such revision, or nothing has changed since.
        BlockDamaged: the block of somebody who would come back is gone; nothing was moved.
        EncoderMismatch: those of then and those of now have vectors that cannot be compared; nothing was moved.
        NeekoError: somebody is being added at this moment, or the rows of then break a rule of the schema.
    """
    with registry.writing() as session:
        refuse_under_way(session)
        revisions = in_order(session)
        _refuse_unknown(revisions, number)
        last = revisions[-1].number
        then, now = residents_at(revisions, number), residents_at(revisions, last)
        gate, gate_now = _gate_at(session, revisions, number), _gate_at(session, revisions, last)
        if (then, gate) == (now, gate_now):
            raise UsageError(f"Nothing has changed since revision {number}: there is nothing to go back from.")
        groups = (then - now, now - then, then & now)
        coming, leaving, staying = (session.exec(_ordered(owners)).all() for owners in groups)
        encoder = _encoder_of_all(session, coming, staying, gate, number)
        for each in coming:
            _refuse_pruned(registry, each, number)
        row = note(session, "rolled back", back_to=number)
        with _schemas_refusal_in_words(number):
            _move(session, coming, leaving, gate, encoder)
            session.flush()
        return Move(row.number, number, [each.name for each in coming], [each.name for each in leaving], gate)


def _refuse_pruned(registry: Registry, row: Character, number: int) -> None:
    """Whoever comes back comes with the block of then."""
    if not registry.blocks.is_whole(row.block or ""):
        raise BlockDamaged(
            f"The block of {row.name} at revision {number} was pruned or is damaged: restore "
            f"{registry.blocks.path(row.block or '')} from a backup, or go back to a later revision."
        )


def residents_at(revisions: Sequence[Revision], number: int) -> frozenset[int]:
    """Who lived here right after a revision."""
    return next((here for row, here in states(revisions) if row.number == number), frozenset())


def states(revisions: Sequence[Revision]) -> Iterator[tuple[Revision, frozenset[int]]]:
    """Every revision with those who lived here right after it, by replaying one after the other."""
    here: frozenset[int] = frozenset()
    wanted, after = {row.back_to for row in revisions}, {0: here}
    for row in revisions:
        if row.kind == "rolled back":
            here = after[row.back_to or 0]
        else:
            one = {row.character_id or 0}
            here = here | one if row.kind == "moved in" else here - one
        if row.number in wanted:
            after[row.number] = here
        yield row, here


def _gate_at(session: Session, revisions: Sequence[Revision], number: int) -> int | None:
    """The gate's version in use just before the next revision; today's after the last."""
    later = next((row for row in revisions if row.number > number), None)
    return later.gate_before if later else session.exec(select(Gate.version).where(col(Gate.active))).first()


@contextmanager
def _schemas_refusal_in_words(number: int) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise NeekoError(f"Revision {number} cannot come back, and nothing was moved ({error.orig}): choose another "
                         f"one, `neekoctl log` lists them.") from error  # fmt: skip


def _encoder_of_all(session: Session, coming: Sequence[Character], staying: Sequence[Character], gate: int | None,
                    number: int) -> str | None:  # fmt: skip
    """What everybody there was embedded by, by the name that it has now; None when nobody was.

    Those who left kept the vectors that they had, and a version of the gate knows those of its own encoder alone.
    """
    fitted = session.exec(select(Gate.encoder).where(Gate.version == gate)).first()
    then = {fingerprint(name): name for name in (fitted, *(row.encoder for row in coming)) if name}
    now = {fingerprint(row.encoder): row.encoder for row in staying if row.encoder}
    if len(then) > 1:
        raise EncoderMismatch(f"Since revision {number} some of it were embedded by another encoder than the others "
                              f"and its gate: choose another revision, `neekoctl log` lists them.")  # fmt: skip
    if now and then and now.keys() != then.keys():
        name = name_of(next(iter(then.values())))
        raise EncoderMismatch(f"Those who live here were embedded by another encoder than revision {number}: run "
                              f"`neekoctl gate rebuild --encoder {name}` first, then go back.")  # fmt: skip
    return next(iter((now or then).values()), None)


def _refuse_unknown(revisions: Sequence[Revision], number: int) -> None:
    if number not in {0, *(row.number for row in revisions)} or not revisions:
        raise UsageError(f"There is no revision {number}: `neekoctl log` lists them.")


def _ordered(owners: Collection[int]) -> Any:
    return select(Character).where(col(Character.id).in_(owners)).order_by(col(Character.id))


def _move(session: Session, coming: Sequence[Character], leaving: Sequence[Character], gate: int | None,
          encoder: str | None) -> None:  # fmt: skip
    """Those who leave go first: those who come lived side by side once, so their ranges cannot overlap."""
    for row in leaving:
        vacate(session, row.id)
    for row in coming:
        settle(session, row.id, row.name, list(row.description.get("aliases", [])))
        back = update(Character).where(col(Character.id) == row.id)
        session.exec(back.values(status="ready", removed_at=None, encoder=row.encoder and encoder))
    session.exec(update(Gate).where(col(Gate.active), col(Gate.version) != gate).values(active=False))
    session.exec(update(Gate).where(col(Gate.version) == gate).values(active=True))


def arrivals(registry: Registry) -> dict[int, str]:
    """character id -> when it moved in here or came back last, of those who live here by the history; `created_at` of
    its row is the day of its onboarding, which may have been elsewhere."""
    with registry.reading() as session:
        return _arrivals(session)


def _arrivals(session: Session) -> dict[int, str]:
    revisions = in_order(session)
    since: dict[int, str] = {}
    before: frozenset[int] = frozenset()
    for row, here in states(revisions):
        since = {each: since[each] if each in before else row.created_at for each in here}
        before = here
    return since


def unaccounted(registry: Registry) -> list[str]:
    """In words: who is here or gone though no revision says so. People come and go by commands, and those tell."""
    with registry.reading() as session:  # one: somebody may move between two
        told = _arrivals(session).keys()
        people = session.exec(select(Character.id, Character.name, Character.status)).all()
    names = {each: name for each, name, _ in people}
    here = {each for each, _, status in people if status == "ready"}
    gone = [f"{names.get(each, f'character {each}')} is gone, and no revision tells of it"
            for each in sorted(told - here)]  # fmt: skip
    return gone + [f"{names[each]} is here, and no revision tells of it" for each in sorted(here - told)]
