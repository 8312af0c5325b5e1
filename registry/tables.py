"""The tables, as SQLModel sees them. The constraints and triggers that SQL alone can express stand in the
migrations; a test compares the two. Knows nothing of sessions or of what the values mean to a model.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from registry.ranks import RankRange


def now() -> str:
    """UTC, ISO 8601 with a fixed width: sorts as text and reads the same on every database."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Bank(SQLModel, table=True):
    """One rank space over one base model."""

    id: int | None = Field(default=None, primary_key=True)
    base: str  # how the user names it: alias, hub id, or path
    fingerprint: str = Field(unique=True)  # sha256 over config and weights
    capacity: int
    created_at: str = Field(default_factory=now)


class Character(SQLModel, table=True):
    """One owner of one rank range. Rows of removed characters stay, for lineage and history."""

    id: int = Field(default=None, primary_key=True)
    bank_id: int = Field(foreign_key="bank.id", index=True)
    name: str
    start: int
    stop: int
    status: str  # reserved | ready | removed
    strategy: str
    # the lease of a reservation
    lease_pid: int | None = None
    lease_host: str | None = None
    lease_born: float | None = None  # start time of the process: a recycled pid is not the owner
    lease_expires: float | None = None  # seconds since the epoch
    # what a finished onboarding leaves
    block: str | None = None
    description: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    recipe: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    metrics: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    environment: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    data_digests: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    system_message: str = ""
    seed: int = 0
    seal: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False, server_default="{}"))
    reason: str = ""
    role_embedding: bytes | None = None  # float32, little-endian, unit length
    encoder: str | None = None  # provenance: name@fingerprint
    created_at: str = Field(default_factory=now)
    removed_at: str | None = None

    @property
    def ranks(self) -> RankRange:
        return RankRange(self.start, self.stop)


class Handle(SQLModel, table=True):
    """A name or alias of a live character; the folded key is unique, so no two share one."""

    key: str = Field(primary_key=True)
    character_id: int = Field(foreign_key="character.id", index=True)
    text: str
    is_name: bool


class Probe(SQLModel, table=True):
    """A prompt and reference reply kept aside, with what the model said on the day of onboarding."""

    id: int = Field(default=None, primary_key=True)
    character_id: int = Field(foreign_key="character.id", index=True)
    position: int
    prompt: list[dict[str, str]] = Field(sa_column=Column(JSON, nullable=False))
    reference: str
    nll: float  # mean negative log-likelihood of the reference, nats a token
    tokens: int
    reply: list[int] = Field(sa_column=Column(JSON, nullable=False))  # greedy token ids
    reply_text: str
    routed: str | None = None  # whom the gate took it for that day: a name, "ambiguous" or "unknown"
    routed_by: int | None = None  # the gate's version that did
    vector: bytes | None = None  # of the prompt's last turn, under the character's encoder


class Dialogue(SQLModel, table=True):
    """A conversation of a character's profile, probes included: what a cohort learns from."""

    id: int = Field(default=None, primary_key=True)
    character_id: int = Field(foreign_key="character.id", index=True)
    position: int
    messages: list[dict[str, str]] = Field(sa_column=Column(JSON, nullable=False))


class Cohort(SQLModel, table=True):
    """A version of a network that was trained on several characters at once; its files lie under `cohorts/`."""

    __table_args__ = (UniqueConstraint("name", "version", name="a_version_is_made_once"),)

    id: int = Field(default=None, primary_key=True)
    bank_id: int = Field(foreign_key="bank.id")
    name: str
    version: int
    kind: str  # hycora | shared
    digest: str  # over its files
    members: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))  # {"name"} of each
    recipe: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    metrics: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    environment: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    encoder: str | None = None  # provenance, where the network reads personas
    seed: int = 0
    created_at: str = Field(default_factory=now)


class Prototype(SQLModel, table=True):
    """Words that speak for a character, and where its encoder put them. Never changed by another's arrival."""

    id: int = Field(default=None, primary_key=True)
    character_id: int = Field(foreign_key="character.id", index=True)
    kind: str  # persona | fact | prompt
    text: str
    vector: bytes  # float32, little-endian, unit length, under the character's encoder


class Gate(SQLModel, table=True):
    """A version of what the gate has learned; one is active."""

    version: int = Field(default=None, primary_key=True)
    encoder: str  # provenance: name@fingerprint
    settings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    evidence: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # what it was fitted and judged on
    active: bool
    created_at: str = Field(default_factory=now)


class Revision(SQLModel, table=True):
    """One step in who lives here. The steps before it, one after the other, give the state before it."""

    number: int = Field(default=None, primary_key=True)
    kind: str  # moved in | moved out | rolled back
    character_id: int | None = Field(default=None, foreign_key="character.id")
    back_to: int | None = None  # of a rollback: the revision whose state came back
    gate_before: int | None = None  # the gate's version in use just before
    created_at: str = Field(default_factory=now)


class Reading(SQLModel, table=True):
    """How a character was at some revision, measured by an onboarding's certificate or by a check."""

    id: int = Field(default=None, primary_key=True)
    character_id: int = Field(foreign_key="character.id", index=True)
    revision: int = Field(foreign_key="revision.number")  # the newest one then
    probes: int  # how many were read
    nll: float  # of their references, nats a token
    baseline: float  # the same on the day of onboarding
    replies_identical: int | None = None
    found: int | None = None  # of all probes, those the gate sent to their owner or asked back about
    distinctness: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # rival's block -> nats a token
    created_at: str = Field(default_factory=now)


class Parent(SQLModel, table=True):
    """Lineage: a block that a character's block was made from. No foreign key: parents may go, lineage stays."""

    id: int = Field(default=None, primary_key=True)
    character_id: int = Field(foreign_key="character.id", index=True)
    name: str
    block: str
    weight: float


class Certificate(SQLModel, table=True):
    """The record that an onboarding left everybody else as they were."""

    id: int = Field(default=None, primary_key=True)
    character_id: int = Field(foreign_key="character.id", index=True)
    others: int
    identical: int
    evidence: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: str = Field(default_factory=now)
