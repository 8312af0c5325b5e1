"""The versions of what the gate has learned, and where it took each probe. Knows tables, and nothing of routing."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlmodel import col, select, update

from registry.errors import NeekoError
from registry.moves import refuse_under_way
from registry.seals import digest
from registry.store import Registry
from registry.tables import Character, Gate, Probe, Prototype


def fingerprint(encoder: str | None) -> str | None:
    """What of `name@fingerprint` decides whether vectors can be compared: the name is another in another place."""
    return encoder.rpartition("@")[2] if encoder else None


def name_of(encoder: str) -> str:
    """The other part: under which name, or at which place, it is found."""
    return encoder.rpartition("@")[0]


def encoder_in_use(registry: Registry) -> str | None:
    """What those who live here were embedded by."""
    embedded = select(Character.encoder).where(Character.status == "ready", col(Character.encoder).is_not(None))
    with registry.reading() as session:
        return session.exec(embedded.limit(1)).first()


def active_gate(registry: Registry) -> Gate | None:
    """The version in use."""
    with registry.reading() as session:
        return session.exec(select(Gate).where(col(Gate.active))).first()


def follow_encoder(registry: Registry, encoder: str) -> None:
    """Whoever was embedded by this encoder in a folder that is gone goes by its place of now, as a base that moved."""
    with registry.reading() as session:
        kept = {each for table in (Character, Gate) for each in session.exec(select(table.encoder).distinct())}
    gone = [each for each in kept if _is_same(each, encoder) and _left(each)]
    if not gone:
        return
    with registry.writing() as session:
        for table in (Character, Gate):
            session.exec(update(table).where(col(table.encoder).in_(gone)).values(encoder=encoder))


def _is_same(kept: str | None, encoder: str) -> bool:
    return kept != encoder and fingerprint(kept) == fingerprint(encoder)


def _left(encoder: str | None) -> bool:
    folder = Path(name_of(encoder or ""))
    return folder.is_absolute() and not folder.exists()


@contextmanager
def fitting(registry: Registry) -> Iterator[None]:
    """One at a time decides which version is in use, from reading who lives here to writing it."""
    from filelock import FileLock

    registry.layout.gates.mkdir(parents=True, exist_ok=True)
    with FileLock(registry.layout.gates / "fitting.lock"):
        yield


def put_gate(registry: Registry, encoder: str, settings: dict[str, Any], evidence: dict[str, Any]) -> Gate:
    """A new version, in use from now on; the older ones stay."""
    evidence = {**evidence, "settings": digest(settings)}
    with registry.writing() as session:
        session.exec(update(Gate).where(col(Gate.active)).values(active=False))
        row = Gate(encoder=encoder, settings=settings, evidence=evidence, active=True)
        session.add(row)
        return row


def probes_of_everybody(registry: Registry) -> list[tuple[Probe, str]]:
    """Every probe of every ready character with its owner's name."""
    with registry.reading() as session:
        query = select(Probe, Character.name).join(Character, col(Character.id) == Probe.character_id)
        ready = query.where(Character.status == "ready")
        return list(session.exec(ready.order_by(col(Probe.character_id), col(Probe.position))))


def note_routes(registry: Registry, routed: Mapping[int, str], version: int | None, *, anew: bool) -> None:
    """Record where a version of the gate took each probe (by its id): of those that have none yet, or of all `anew`."""
    with registry.writing() as session:
        for probe, where in routed.items():
            at = update(Probe).where(col(Probe.id) == probe)
            at = at if anew else at.where(col(Probe.routed).is_(None))
            session.exec(at.values(routed=where, routed_by=version))


def prototypes_of(registry: Registry, character: Character) -> list[Prototype]:
    """What speaks for a character, in the order it was stored."""
    with registry.reading() as session:
        rows = select(Prototype).where(Prototype.character_id == character.id).order_by(col(Prototype.id))
        return list(session.exec(rows))


class Vectors(NamedTuple):
    """A character's by another encoder: its role, and by prototype and probe id."""

    character: int
    role: bytes
    prototypes: Mapping[int, bytes]
    probes: Mapping[int, bytes]


def embed_anew(registry: Registry, encoder: str, everybody: Iterable[Vectors]) -> None:
    """Replace vectors with another encoder's: everybody's, or nobody's.

    Raises:
        NeekoError: somebody is being added, or has moved in meanwhile, who was embedded by the one that goes.
    """
    by_id = {each.character: each for each in everybody}
    others = select(Character.id, Character.name).where(Character.status == "ready",
                                                        col(Character.encoder).is_distinct_from(encoder))  # fmt: skip
    with registry.writing() as session:
        refuse_under_way(session)
        if late := [name for number, name in session.exec(others) if number not in by_id]:
            raise NeekoError(f"{late[0]} moved in meanwhile: repeat it, so that everybody is embedded alike.")
        for each in by_id.values():
            of_character = update(Character).where(col(Character.id) == each.character)
            session.exec(of_character.values(encoder=encoder, role_embedding=each.role))
            for table, vectors in ((Prototype, each.prototypes), (Probe, each.probes)):
                for row, vector in vectors.items():
                    session.exec(update(table).where(col(table.id) == row).values(vector=vector))
