"""The registry: reserve a range, commit a finished block, find, list, remove. One class owns the tables.
Knows no model and no screen; every method is one short transaction.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.orm import load_only
from sqlmodel import Session, col, select, text

from registry import moves, schema
from registry.blocks import BlockStore
from registry.errors import LeaseLost, NeekoError, RankError, RegistryBusy, UnknownCharacter
from registry.layout import Layout
from registry.leases import Lease
from registry.names import as_utf8, fold, nearest
from registry.ranks import RankRange, allocate, gaps
from registry.seals import seal
from registry.tables import (
    Bank,
    Certificate,
    Character,
    Cohort,
    Dialogue,
    Handle,
    Parent,
    Probe,
    Prototype,
    Reading,
    now,
)

CAPACITY = 16384  # ranks of a new bank: two thousand characters of rank 8; `neekoctl ranks --grow` makes it larger
LIVE = ("reserved", "ready")
EVER = (*LIVE, "removed")
BRIEF = ("name", "bank_id", "start", "stop", "status", "strategy", "block", "created_at")


@dataclass(frozen=True)
class Reservation:
    """A range held for a character that is being made."""

    character_id: int
    name: str
    ranks: RankRange
    reclaimed: tuple[str, ...] = ()  # characters whose dead reservations were cleared on the way
    replaces: int | None = None  # whoever moves out when this one moves in


@dataclass(frozen=True)
class Onboarded:
    """Everything a finished onboarding leaves in the database, written in one transaction."""

    block: str
    description: dict[str, Any]
    recipe: dict[str, Any]
    metrics: dict[str, Any]
    environment: dict[str, Any]
    data_digests: dict[str, str]
    system_message: str
    seed: int
    reason: str
    role_embedding: bytes | None
    encoder: str | None
    probes: list[Probe] = field(default_factory=list)
    parents: list[Parent] = field(default_factory=list)
    prototypes: list[Prototype] = field(default_factory=list)
    dialogues: list[Dialogue] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)  # the newcomer's own has no character yet
    others: int = 0
    identical: int = 0
    evidence: dict[str, Any] = field(default_factory=dict)
    strategy: str | None = None  # what `auto` chose; None: as reserved


class Registry:
    """Characters, their ranges and blocks, over one database and one block store."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.blocks = BlockStore(layout)
        self.engine: Engine = schema.open_engine(layout.database)
        self._writer = schema.writing(self.engine)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session to read in."""
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                yield session
        except DatabaseError as error:
            raise NeekoError(
                f"The registry {self.layout.database} could not be read ({error.orig}): `neekoctl doctor` says more."
            ) from error

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One BEGIN IMMEDIATE transaction, committed at the end or rolled back whole."""
        try:
            with Session(self._writer, expire_on_commit=False) as session, session.begin():
                yield session
        except OperationalError as error:
            if "locked" in str(error.orig):
                raise RegistryBusy("The registry is busy; try again in a moment.") from error
            raise NeekoError(f"The registry could not be written ({error.orig}): check the disk it is on.") from error
        except DatabaseError as error:
            if isinstance(error, IntegrityError):
                raise  # a rule of the schema, and a bug of ours
            raise NeekoError(
                f"The registry {self.layout.database} could not be written ({error.orig}): `neekoctl doctor` says more."
            ) from error

    # banks

    def banks(self, *, lived_in: bool = False) -> list[Bank]:
        """All; or those that somebody has had a range of, which a first onboarding that failed does not leave."""
        query = select(Bank).order_by(col(Bank.id))
        if lived_in:
            query = query.where(col(Bank.id).in_(select(Character.bank_id)))
        with self.reading() as session:
            return list(session.exec(query))

    def bank(self, base: str, fingerprint: str, capacity: int = CAPACITY) -> Bank:
        """The bank over the base with this fingerprint, made on first use."""
        with self.writing() as session:
            found = session.exec(select(Bank).where(Bank.fingerprint == fingerprint)).first()
            if found is None:
                found = Bank(base=base, fingerprint=fingerprint, capacity=capacity)
                session.add(found)
            return found

    def relocate(self, bank: Bank, base: str) -> Bank:
        """Remember under which name or path the bank's base is found now."""
        with self.writing() as session:
            row = session.exec(select(Bank).where(Bank.id == bank.id)).one()
            row.base = base
            return row

    def grow(self, bank: Bank, capacity: int) -> Bank:
        """Set a larger capacity; ranges stay where they are."""
        with self.writing() as session:
            row = session.exec(select(Bank).where(Bank.id == bank.id)).one()
            if capacity <= row.capacity:
                raise RankError(f"The bank already has {row.capacity} ranks: give a larger number.")
            row.capacity = capacity
            return row

    # the transaction of an onboarding

    def reserve(self, bank: Bank, name: str, aliases: list[str], rank: int, strategy: str,
                replacing: Character | None = None) -> Reservation:  # fmt: skip
        """Take the names and the lowest free range, under a lease of this process.

        Reservations whose process is gone are cleared first, so a crash never costs a range or a name. Whoever is
        replaced keeps range and names until `commit`.

        Raises:
            NameTaken: a live character answers to one of the names.
            UsageError: no bank of this capacity can hold the rank.
            RankError: no gap is wide enough.
        """
        lease = Lease.mine()
        with self.writing() as session:
            reclaimed = moves.clear_dead(session)
            replaced = replacing.id if replacing else None
            if replaced:
                moves.refuse_two_replacements(session, name)
            moves.refuse_taken(session, [name, *aliases], but=(replaced,))
            capacity = session.exec(select(Bank.capacity).where(Bank.id == bank.id)).one()
            ranks = allocate(rank, moves.taken(session, bank), capacity)
            row = Character(bank_id=bank.id or 0, name=name, start=ranks.start, stop=ranks.stop, status="reserved",
                            strategy=strategy, lease_pid=lease.pid, lease_host=lease.host, lease_born=lease.born,
                            lease_expires=lease.expires)  # fmt: skip
            session.add(row)
            session.flush()
            moves.settle(session, row.id, name, aliases, replaced)
            return Reservation(row.id, name, ranks, tuple(reclaimed), replaced)

    def renew(self, reservation: Reservation) -> None:
        """Push the lease's expiry out; called while the work goes on. Raises LeaseLost."""
        with self.writing() as session:
            _reserved(session, reservation).lease_expires = Lease.mine().expires

    def commit(self, reservation: Reservation, made: Onboarded) -> Character:
        """The reservation becomes a ready character: all of it, or nothing.

        Raises:
            LeaseLost: the reservation was cleared meanwhile.
        """
        return self.commit_all([(reservation, made)])[0]

    def commit_all(self, arrivals: Sequence[tuple[Reservation, Onboarded]],
                   also: Callable[[Session], None] = lambda _: None) -> list[Character]:  # fmt: skip
        """Several reservations become ready characters, and what `also` does in the same transaction is done: all, or
        nothing. Raises LeaseLost likewise."""
        with self.writing() as session:
            rows = [self._moved_in(session, reservation, made) for reservation, made in arrivals]
            also(session)
            return rows

    def _moved_in(self, session: Session, reservation: Reservation, made: Onboarded) -> Character:
        row = _reserved(session, reservation)
        if reservation.replaces:
            moves.make_way(session, reservation.replaces, row, made.description.get("aliases", []))
        for column in ("block", "description", "recipe", "metrics", "environment", "data_digests",
                       "system_message", "seed", "reason", "role_embedding", "encoder"):  # fmt: skip
            setattr(row, column, getattr(made, column))
        row.strategy = made.strategy or row.strategy
        row.status, row.created_at = "ready", now()
        row.seal = seal(row, made.probes, self.blocks)
        row.lease_pid = row.lease_host = row.lease_born = row.lease_expires = None
        for child in [*made.probes, *made.parents, *made.prototypes, *made.dialogues]:
            child.character_id = reservation.character_id
            session.add(child)
        session.add(Certificate(character_id=reservation.character_id, others=made.others,
                                identical=made.identical, evidence=made.evidence))  # fmt: skip
        step = moves.note(session, "moved in", character_id=reservation.character_id)
        session.flush()
        for reading in made.readings:
            reading.revision, reading.character_id = step.number, reading.character_id or row.id
            session.add(reading)
        return row

    def claim(self, reservation: Reservation, block: str) -> None:
        """Name the block before it enters the store, so that nobody prunes it while the rest is made ready.

        Raises:
            LeaseLost: the reservation was cleared meanwhile.
        """
        with self.writing() as session:
            _reserved(session, reservation).block = block

    def shrink(self, reservation: Reservation, rank: int) -> Reservation:
        """Give back what a block of this rank does not need of its range.

        Raises:
            LeaseLost: the reservation was cleared meanwhile.
        """
        ranks = RankRange(reservation.ranks.start, reservation.ranks.start + rank)
        assert ranks.stop <= reservation.ranks.stop
        with self.writing() as session:
            _reserved(session, reservation).stop = ranks.stop
        return replace(reservation, ranks=ranks)

    def refuse_taken(self, names: list[str], replacing: Character | None = None) -> None:
        """Raises NameTaken when a live character answers to one of the names; whose process is gone is not asked."""
        with self.reading() as session:
            held = {row.id for row in moves.dead(session)} | {replacing.id if replacing else None}
            moves.refuse_taken(session, names, but=held)

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back: range and names are free again, and a block nobody else ever had is gone."""
        with self.writing() as session:
            row = session.get(Character, reservation.character_id)
            block = row.block if row and row.status == "reserved" else None
            moves.drop_reservation(session, reservation.character_id)
        if block:
            self.discard([block])

    def clear_dead(self) -> list[str]:
        """Clear every reservation whose process is gone; returns the names."""
        with self.writing() as session:
            return moves.clear_dead(session)

    # what people ask

    def characters(
        self, *, status: tuple[str, ...] = LIVE, bank: Bank | None = None, brief: bool = False
    ) -> list[Character]:
        """Characters in the order of their ranges; `brief` leaves the JSON columns and the embedding unread."""
        query = select(Character).where(col(Character.status).in_(status))
        if brief:
            query = query.options(load_only(*(getattr(Character, name) for name in BRIEF)))
        if bank is not None:
            query = query.where(Character.bank_id == bank.id)
        with self.reading() as session:
            return list(session.exec(query.order_by(col(Character.bank_id), col(Character.start))))

    def bank_of(self, row: Character | Cohort) -> Bank:
        """The bank that a character lives in, or that a cohort is over."""
        with self.reading() as session:
            return session.get_one(Bank, row.bank_id)

    def residents(self, bank: Bank | None = None, *, brief: bool = False) -> list[Character]:
        """Those of them who are finished."""
        return self.characters(status=("ready",), bank=bank, brief=brief)

    def find(self, name: str) -> Character:
        """The live character that answers to `name`, whatever its case or accents.

        Raises:
            UnknownCharacter: with the nearest names.
        """
        with self.reading() as session:
            handle = session.get(Handle, _key(name))
            if handle is None:
                raise UnknownCharacter(name, nearest(name, session.exec(select(Handle.text))))
            return session.exec(select(Character).where(Character.id == handle.character_id)).one()

    def answers_to(self, name: str) -> bool:
        """Whether a live character has this name or alias."""
        with self.reading() as session:
            return session.get(Handle, _key(name)) is not None

    def resident(self, name: str) -> Character:
        """Like `find`, for use: the character must be finished."""
        row = self.find(name)
        if row.status != "ready":
            raise NeekoError(f"{row.name} is still being made: wait for it, or run `neekoctl doctor` if it was killed.")
        return row

    def handles(self) -> dict[int, list[str]]:
        """character id -> its name and aliases, the name first."""
        found: dict[int, list[str]] = {}
        with self.reading() as session:
            for row in session.exec(select(Handle).order_by(col(Handle.is_name).desc(), text("rowid"))):
                found.setdefault(row.character_id, []).append(row.text)
        return found

    def probes(self, character: Character) -> list[Probe]:
        with self.reading() as session:
            return list(
                session.exec(select(Probe).where(Probe.character_id == character.id).order_by(col(Probe.position)))
            )

    def parents(self, character: Character) -> list[Parent]:
        with self.reading() as session:
            return list(session.exec(select(Parent).where(Parent.character_id == character.id)))

    def certificate(self, character: Character) -> Certificate | None:
        with self.reading() as session:
            return session.exec(select(Certificate).where(Certificate.character_id == character.id)).first()

    def ranges(self, bank: Bank) -> tuple[list[Character], list[RankRange]]:
        """The live characters of a bank and its free ranges, both in order."""
        live = self.characters(bank=bank, brief=True)
        return live, list(gaps([(row.start, row.stop) for row in live], bank.capacity))

    def remove(self, character: Character) -> bool:
        """Free the range and the names; whether there was anything to free. The block and the history stay; who has
        left already leaves no second time."""
        with self.writing() as session:
            query = select(Character.id).where(Character.id == character.id, Character.status == "ready")
            is_here = session.exec(query).first() is not None
            if is_here:
                moves.vacate(session, character.id)
                moves.note(session, "moved out", character_id=character.id)
            return is_here

    def unreferenced_blocks(self) -> list[str]:
        """Digests in the store that no live character owns."""
        found = self.blocks.digests()  # before the owners: a block is claimed before it enters the store
        return sorted(found - {row.block for row in self.characters(brief=True)})

    def prune(self) -> list[str]:
        """Delete every block that no live character owns; returns the digests."""
        return self.discard(self.blocks.digests(), owners=LIVE)

    def discard(self, digests: Collection[str], owners: Sequence[str] = EVER) -> list[str]:
        """Delete those of the blocks that nobody of these statuses owns; returns the digests of those that are gone.

        The only place where a block is deleted: the owners are asked for, and the blocks deleted, under the write
        lock, so whoever comes to own one does so before (and keeps it) or after (and finds that it is gone).
        """
        with self.writing() as session:
            owned = session.exec(select(Character.block).where(col(Character.status).in_(owners)))
            gone = sorted(set(digests) - set(owned))
            for digest in gone:
                self.blocks.delete(digest)
        return [digest for digest in gone if not self.blocks.path(digest).exists()]

    def integrity(self) -> str:
        """SQLite's own opinion of the file: "ok", or what is broken."""
        try:
            with self.engine.connect() as connection:
                return str(connection.execute(text("PRAGMA integrity_check")).scalar())
        except DatabaseError as error:
            return str(error.orig)


def _key(name: str) -> str:
    """What a name is found by, whatever bytes were typed."""
    return fold(as_utf8(name))


def _reserved(session: Session, reservation: Reservation) -> Character:
    """The row behind a reservation; changes to it are written at the end of the session."""
    row = session.get(Character, reservation.character_id)
    if row is None or row.status != "reserved":
        raise LeaseLost(f"The reservation of {reservation.name} was cleared meanwhile: add the character again.")
    return row
