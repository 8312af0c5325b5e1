"""A bundle's people become residents: all rows as they were where nobody has lived yet, elsewhere among those who live
there. Knows rows; nothing of how a bundle is written or unpacked, and no model. One transaction writes all of them.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from registry.bundle import Bundle, opened
from registry.errors import EncoderMismatch, NameTaken
from registry.gates import fingerprint
from registry.moves import clear_dead, note, settle, taken
from registry.names import fold
from registry.ranks import RankRange, allocate
from registry.seals import records
from registry.shapes import OWN, TABLES, Rows, plain
from registry.store import Registry
from registry.tables import Bank, Character, Cohort, Gate, Handle, Probe, Revision
from registry.unpacking import Parcel, put_blocks, put_cohorts, put_heads, sweep_heads, undone, unpacked


@dataclass(frozen=True)
class Moved:
    """Somebody who moved in, the ranks it had and those it has."""

    name: str
    was: RankRange
    now: RankRange
    block: str


@dataclass
class Arrival:
    """What a loading did."""

    restored: bool  # False: merged
    moved_in: list[Moved] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # who was here already, with the same block
    gate: int | None = None  # the version in use
    heads: dict[int, int] = field(default_factory=dict)  # version here -> in the bundle, of gates that came with it
    blocks: int = 0  # that were not here


def load(registry: Registry, path: Path, *, rehearse: bool = False) -> Arrival:
    """Restore or merge a bundle, all of it or nothing; `rehearse` does everything and keeps nothing.

    Raises:
        BundleRefused, RegistryTooNew: it is not what a bundle must be.
        NameTaken: somebody else answers to a name in it, or one of them lives here otherwise than it says.
        EncoderMismatch: those here were embedded by another encoder.
        RankError: a bank has no room for everybody.
    """
    with opened(path) as bundle, unpacked(registry, bundle) as parcel:
        arrival = _rehearsed(registry, bundle) if rehearse else _settled(registry, bundle, parcel)
        arrival.blocks = len(parcel.blocks)
        return arrival


def _rehearsed(registry: Registry, bundle: Bundle) -> Arrival:
    """Under the write lock, as what would be done; then all of it is undone."""
    with registry.writing() as session:
        arrival = _arrived(session, bundle)
        session.rollback()
        return arrival


def _settled(registry: Registry, bundle: Bundle, parcel: Parcel) -> Arrival:
    """The rows and what they name, under one lock: there is never a resident without a block."""
    with undone(registry, parcel), registry.writing() as session:
        sweep_heads(registry, session)
        arrival = _arrived(session, bundle)
        put_blocks(registry, session, bundle, parcel, [each.block for each in arrival.moved_in])
        put_heads(registry, parcel, arrival.heads)
        if arrival.restored:  # elsewhere a network would know members who are somebody else
            put_cohorts(registry, parcel)
        return arrival


def _arrived(session: Session, bundle: Bundle) -> Arrival:
    clear_dead(session)
    somebody_was_here = any(session.exec(select(table)).first() for table in (Character, Revision, Gate, Cohort))
    try:
        if bundle.manifest.whole and not somebody_was_here:
            return _restored(session, bundle)
        return _merged(session, bundle)
    except IntegrityError as error:
        raise bundle.archive.refused(f"its rows break a rule of the registry: {error.orig}") from error


def _restored(session: Session, bundle: Bundle) -> Arrival:
    """Every row as it was."""
    rows, banks = bundle.rows, _banks(session, bundle.rows.bank)
    for there in rows.bank:
        banks[there.id or 0].capacity = max(banks[there.id or 0].capacity, there.capacity)
    for row in rows.character:
        row.bank_id = banks[row.bank_id].id or 0
    for cohort in rows.cohort:
        cohort.bank_id = banks[cohort.bank_id].id or 0
    session.flush()
    for name, values in plain(rows).items():
        if name != "bank" and values:
            session.connection().execute(insert(TABLES[name]), values)
    moved = [Moved(row.name, row.ranks, row.ranks, row.block or "") for row in rows.residents]
    gate = rows.active_gate
    return Arrival(True, moved, gate=gate.version if gate else None, heads={each: each for each in bundle.heads})


def _banks(session: Session, rows: list[Bank]) -> dict[int, Bank]:
    """Number there -> the bank over the same base here, made when there is none."""
    found: dict[int, Bank] = {}
    for row in rows:
        here = session.exec(select(Bank).where(Bank.fingerprint == row.fingerprint)).first()
        if here is None:
            number = None if session.get(Bank, row.id) else row.id
            here = Bank(**row.model_dump(exclude={"id"}), id=number)
            session.add(here)
            session.flush()
        found[row.id or 0] = here
    return found


def _merged(session: Session, bundle: Bundle) -> Arrival:
    """The residents of the bundle, but for those who are here, as newcomers in the order they came."""
    rows, arrival = bundle.rows, Arrival(False)
    residents = sorted(rows.residents, key=lambda row: row.id)
    own = _by_owner(rows)
    here = {row.id for row in residents if _lives_here(session, row, own[row.id]["probe"])}
    newcomers = [row for row in residents if row.id not in here]
    arrival.skipped = [row.name for row in residents if row.id in here]
    _refuse_another_encoder(session, bundle, newcomers)
    needed = {row.bank_id for row in newcomers}
    banks = _banks(session, [row for row in rows.bank if row.id in needed])
    for row in newcomers:
        arrival.moved_in.append(_moved_in(session, row, banks[row.bank_id], own[row.id]))
    _put_gate_in_use(session, rows.active_gate if newcomers else None, bundle, arrival)
    return arrival


def _lives_here(session: Session, row: Character, probes: list[Probe]) -> bool:
    """Whether somebody of the same name has the same block already; all that is sealed must be the same then."""
    handle = session.get(Handle, fold(row.name))
    owner = session.get(Character, handle.character_id) if handle else None
    if not owner or (owner.status, owner.block, fold(owner.name)) != ("ready", row.block, fold(row.name)):
        return False
    kept = session.exec(select(Probe).where(Probe.character_id == owner.id).order_by(col(Probe.position))).all()
    here, there = records(owner, kept), records(row, sorted(probes, key=lambda each: each.position))
    if changed := [part for part in here if here[part] != there[part]]:
        raise NameTaken(f"{row.name} lives here with the same block but not the same {', '.join(changed)}, and nobody "
                        f"moved in: `neekoctl remove {owner.name!r}` first, or save others with --only.")  # fmt: skip
    return True


def _by_owner(rows: Rows) -> dict[int, dict[str, list[Any]]]:
    found: dict[int, dict[str, list[Any]]] = defaultdict(lambda: {name: [] for name in OWN})
    for name in OWN:
        for row in getattr(rows, name):
            found[row.character_id][name].append(row)
    return found


def _moved_in(session: Session, row: Character, bank: Bank, own: Mapping[str, list[Any]]) -> Moved:
    """A newcomer with all that is its own; of how it was since, only the day of its onboarding comes along."""
    aliases = [each.text for each in own["handle"] if not each.is_name]
    _refuse_taken(session, row.name, aliases)
    was = row.ranks
    now = allocate(was.rank, taken(session, bank), bank.capacity)
    row.id = None  # type: ignore[assignment]  # the database numbers it
    row.bank_id, row.start, row.stop = bank.id or 0, *now
    session.add(row)
    session.flush()
    settle(session, row.id, row.name, aliases)
    step = note(session, "moved in", character_id=row.id)
    session.flush()
    for probe in own["probe"]:
        probe.routed = probe.routed_by = None  # by another gate
    del own["reading"][1:]  # what was measured elsewhere later is of another history
    for reading in own["reading"]:
        reading.revision, reading.found = step.number, None
    for each in chain.from_iterable(own[name] for name in OWN if name != "handle"):  # those are settled
        each.id, each.character_id = None, row.id
        session.add(each)
    session.flush()
    return Moved(row.name, was, now, row.block or "")


def _refuse_taken(session: Session, newcomer: str, aliases: list[str]) -> None:
    for name in (newcomer, *aliases):
        if handle := session.get(Handle, fold(name)):
            owner = session.exec(select(Character.name).where(Character.id == handle.character_id)).one()
            raise NameTaken(f"{newcomer} cannot move in, and nobody did: {owner} already answers to {name!r}; "
                            f"`neekoctl remove {owner!r}` first, or save the others with --only.")  # fmt: skip


def _refuse_another_encoder(session: Session, bundle: Bundle, newcomers: list[Character]) -> None:
    """Vectors are comparable where the encoder's fingerprint is one; it goes by the name that it has here."""
    ready = select(Character.encoder, Character.role_embedding).where(Character.status == "ready")
    here = session.exec(ready.group_by(col(Character.encoder))).all()
    known = {fingerprint(encoder): (encoder, len(role or b"")) for encoder, role in here}
    for row in newcomers:
        encoder, size = known.setdefault(fingerprint(row.encoder), (row.encoder, len(row.role_embedding or b"")))
        if len(known) > 1 or len(row.role_embedding or b"") != size:
            raise EncoderMismatch(f"{row.name} of {bundle.archive.name} was embedded by another encoder than those who "
                                  f"live here: run `neekoctl gate rebuild --encoder NAME` with theirs where it came "
                                  f"from, and save it again.")  # fmt: skip
        row.encoder = encoder


def _put_gate_in_use(session: Session, gate: Gate | None, bundle: Bundle, arrival: Arrival) -> None:
    """The bundle's gate, where there is none."""
    here = session.exec(select(Gate).where(col(Gate.active))).first()
    if here is None and gate is not None:
        there, here = gate.version, gate
        gate.version = None  # type: ignore[assignment]  # the database numbers it
        gate.evidence = {key: value for key, value in gate.evidence.items() if key != "fitted_on"}  # numbers of there
        session.add(gate)
        session.flush()
        if there in bundle.heads:
            arrival.heads[gate.version] = there
    arrival.gate = here.version if here else None
