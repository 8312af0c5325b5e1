"""Whom a block was made from, and whether they still live here as they were then. Knows rows; nothing of merging.

Lineage is kept by name and block, without a foreign key: parents may move out, or move in again as somebody else.
"""

from dataclasses import dataclass, field
from typing import Literal

from sqlmodel import col, select

from registry.names import fold
from registry.store import Registry
from registry.tables import Character, Handle, Parent

State = Literal["here", "replaced", "gone"]


@dataclass(frozen=True)
class Ancestor:
    """A parent: "here" as it was, "replaced" by another block under its name, or "gone"; and its own parents."""

    name: str
    block: str
    weight: float
    state: State
    parents: list["Ancestor"] = field(default_factory=list)


@dataclass(frozen=True)
class Stale:
    """A character one of whose parents has another block now."""

    character: str
    parent: str
    block: str  # that it was made from
    now: str  # the parent's block today


def ancestry(registry: Registry, character: Character) -> list[Ancestor]:
    """The parents of a character, with theirs in turn; an ancestor met again is told without its parents."""
    return _parents(registry, character, set())


def _parents(registry: Registry, character: Character, told: set[str]) -> list[Ancestor]:
    return [Ancestor(row.name, row.block, row.weight, _state(registry, row), _further(registry, row, told))
            for row in registry.parents(character)]  # fmt: skip


def _further(registry: Registry, parent: Parent, told: set[str]) -> list[Ancestor]:
    """The parent's own parents: those of whoever first had its block, earlier than the child."""
    if parent.block in told:
        return []
    told.add(parent.block)
    query = select(Character).where(Character.block == parent.block, col(Character.id) < parent.character_id)
    with registry.reading() as session:
        owner = session.exec(query.order_by(col(Character.id))).first()
    return _parents(registry, owner, told) if owner else []


def _state(registry: Registry, parent: Parent) -> State:
    ready = select(Character.id).where(Character.status == "ready")
    called = ready.join(Handle, col(Handle.character_id) == Character.id).where(Handle.key == fold(parent.name))
    with registry.reading() as session:
        if session.exec(ready.where(Character.block == parent.block)).first():
            return "here"
        return "replaced" if session.exec(called).first() else "gone"


def children(registry: Registry, character: Character) -> list[str]:
    """The ready characters whose blocks were made from this one's."""
    query = select(Character.name).join(Parent, col(Parent.character_id) == Character.id)
    with registry.reading() as session:
        made = query.where(Character.status == "ready", Parent.block == character.block)
        return list(session.exec(made.distinct().order_by(Character.name)))


def stale(registry: Registry) -> list[Stale]:
    """Every ready character a parent of which was replaced, in the order they came."""
    query = select(Parent, Character.name).join(Character, col(Character.id) == Parent.character_id)
    with registry.reading() as session:
        rows = list(session.exec(query.where(Character.status == "ready").order_by(col(Parent.id))))
        here = dict(session.exec(select(Character.id, Character.block).where(Character.status == "ready")).all())
        called = dict(session.exec(select(Handle.key, Handle.character_id)).all())
    found, blocks = [], set(here.values())
    for parent, child in rows:
        now = here.get(called.get(fold(parent.name), 0))
        if parent.block not in blocks and now is not None:
            found.append(Stale(child, parent.name, parent.block, now))
    return found
