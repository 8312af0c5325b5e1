"""The registry's rows as plain values, and back: every column of the shape its table says, and fit to be used as it
is used later (a digest becomes a path, a name is printed). Knows one row at a time; what must hold between rows is
said elsewhere. Trusts nothing.
"""

import base64
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, FailFast, Field, TypeAdapter, create_model
from sqlmodel import SQLModel

from registry.names import COHORT_NAME, CONTROLS, is_a_name
from registry.ranks import LARGEST_RANK
from registry.tables import (
    Bank,
    Certificate,
    Character,
    Cohort,
    Dialogue,
    Gate,
    Handle,
    Parent,
    Probe,
    Prototype,
    Reading,
    Revision,
)

LEASE = {"lease_pid", "lease_host", "lease_born", "lease_expires"}  # of a process: it goes nowhere
MOST = 2**48  # no count or number comes near it, and numbers after it are still free
FIRST_YEAR, LAST_YEAR = 1970, 9999  # of a time that is told
HALVES = ("a", "b", "both", "none")  # what of a block a cohort's network may write
LONGEST = 4096  # characters of what is told on a line
DIGEST = "^[0-9a-f]{64}$"


@dataclass(frozen=True)
class Rows:
    """Rows by table, which one list follows from earlier lists only."""

    bank: list[Bank] = field(default_factory=list)
    cohort: list[Cohort] = field(default_factory=list)
    gate: list[Gate] = field(default_factory=list)
    character: list[Character] = field(default_factory=list)
    revision: list[Revision] = field(default_factory=list)
    handle: list[Handle] = field(default_factory=list)
    probe: list[Probe] = field(default_factory=list)
    prototype: list[Prototype] = field(default_factory=list)
    dialogue: list[Dialogue] = field(default_factory=list)
    parent: list[Parent] = field(default_factory=list)
    certificate: list[Certificate] = field(default_factory=list)
    reading: list[Reading] = field(default_factory=list)

    @property
    def residents(self) -> list[Character]:
        """Those who live there, in the order they came."""
        return [row for row in self.character if row.status == "ready"]

    @property
    def active_gate(self) -> Gate | None:
        return next((row for row in self.gate if row.active), None)


TABLES: dict[str, type[SQLModel]] = {each.name: get_args(each.type)[0] for each in fields(Rows)}
OWN = tuple(name for name, table in TABLES.items() if "character_id" in table.model_fields and name != "revision")
KEYS = dict.fromkeys(TABLES, "id") | {"gate": "version", "revision": "number", "handle": "key"}


def _name(text: str) -> str:
    if not is_a_name(text):
        raise ValueError("must be a name that can be printed")
    return text


def _harmless(value: Any) -> Any:
    """Text, and all text in containers however deep: any of it may be printed."""
    if isinstance(value, str) and CONTROLS.search(value):
        raise ValueError("must have no control characters")
    for each in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _harmless(each)
    return value


def _bytes(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _described(value: dict[str, Any]) -> dict[str, Any]:
    """`rollback` enters the aliases that stand here."""
    aliases = value.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(each, str) and is_a_name(each) for each in aliases):
        raise ValueError("must have names for aliases")
    return value


def _is_count(value: object, most: int) -> bool:
    """Of JSON's numbers, a whole one from 1 on; true is none."""
    return type(value) is int and 1 <= value <= most


def _scaled(value: dict[str, Any]) -> dict[str, Any]:
    """Rank and alpha are compared with a block's; a cohort's card says of which version a block is."""
    if not all(_is_number(value[key]) and value[key] > 0 for key in ("rank", "alpha") if key in value):
        raise ValueError("must have numbers for rank and alpha")
    card = value.get("cohort", {"name": "", "version": 1})
    version = card.get("version") if isinstance(card, dict) else None
    if not _is_count(version, MOST) or not isinstance(card.get("name"), str):
        raise ValueError("must have the name and version of a cohort")
    return value


def _sealed(value: dict[str, Any]) -> dict[str, Any]:
    _of_text({key: each for key, each in value.items() if key != "files"})
    if not isinstance(files := value.get("files", {}), dict):
        raise ValueError("must have digests of files")
    _of_text(files)
    return value


def _measured(value: dict[str, Any]) -> dict[str, Any]:
    """A rival's block -> nats of each probe."""
    for block, nats in value.items():
        numbers = isinstance(nats, list) and all(map(_is_number, nats))
        if not (re.fullmatch(DIGEST, block) and numbers):
            raise ValueError("must have numbers for blocks")
    return value


def _fitted(value: dict[str, Any]) -> dict[str, Any]:
    """A signal of the gate -> its numbers, and what they were found on."""
    numbers = [each for fitted in value.values() for key, each in _items(fitted) if key != "evidence"]
    if not all(map(_is_number, numbers)):
        raise ValueError("must have numbers for signals")
    return value


def _items(value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise ValueError("must have numbers by name")
    return list(value.items())


def _evident(value: dict[str, Any]) -> dict[str, Any]:
    people = value.get("fitted_on", [])
    if not isinstance(people, list) or not all(isinstance(each, int) for each in people):
        raise ValueError("must have numbers of people")
    return value


def _onboarded(value: dict[str, Any]) -> dict[str, Any]:
    """How somebody was made: what `show` tells of it."""
    numbers = [value[key] for key in ("nll_before", "nll_after") if value.get(key) is not None]
    if "merge" in value:
        merge = dict(_items(value["merge"]))
        discarded = [each for _, each in _items(merge.get("discarded_by_module"))]
        numbers += [merge.get("discarded"), *discarded] if discarded else [None]
    if not all(map(_is_number, numbers)):
        raise ValueError("must have numbers for what was measured")
    return value


def _weighed(value: dict[str, Any]) -> dict[str, Any]:
    """How a cohort was trained, and how alike its members are: what is told and drawn of it."""
    likeness = value.get("likeness", [])
    lines = isinstance(likeness, list) and all(isinstance(line, list) for line in likeness)
    if not lines or not all(_is_number(each) for line in likeness for each in line):
        raise ValueError("must have numbers for likeness")
    if not all(_is_number(value.get(key)) for key in ("steps", "best_step")):
        raise ValueError("must have numbers of steps")
    return value


def _wide(value: dict[str, Any]) -> dict[str, Any]:
    """Whoever comes to a cohort reserves its rank."""
    if not _is_count(value.get("rank"), LARGEST_RANK):
        raise ValueError("must have a rank")
    if not isinstance(value.get("system_message"), str) or value.get("generated") not in HALVES:
        raise ValueError("must have a system_message, and say which half is written")
    return value


def _dated(value: str) -> str:
    when = datetime.fromisoformat(value)  # told by the clock on the wall, a day off at most
    if when.tzinfo is None or not FIRST_YEAR <= when.year < LAST_YEAR:
        raise ValueError("must be a time with its offset from UTC")
    return value


def _is_number(value: Any) -> bool:
    """Of JSON's numbers, one that a float can hold; true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _turns(value: list[Any]) -> list[Any]:
    if not value or not all(_is_turn(turn) for turn in value) or value[-1]["role"] != "user":
        raise ValueError("must be turns of role and content, the last the user's")
    return value


def _talk(value: list[Any]) -> list[Any]:
    if not value or not all(_is_turn(turn) for turn in value):
        raise ValueError("must be turns of role and content")
    return value


def _named(value: list[Any]) -> list[Any]:
    if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in value):
        raise ValueError("must be members with names")
    return value


def _is_turn(value: Any) -> bool:
    known = isinstance(value, dict) and value.keys() == {"role", "content"}
    return known and value["role"] in ("user", "assistant") and isinstance(value["content"], str)


def _of_text(value: dict[str, Any]) -> dict[str, Any]:
    if not all(isinstance(each, str) for each in value.values()):
        raise ValueError("must have nothing but text")
    return value


Number = Annotated[int, Field(ge=0, le=MOST)]
Key = Annotated[int, Field(ge=1, le=MOST)]
Told = Annotated[str, AfterValidator(_harmless)]
Shown = Annotated[Told, Field(max_length=LONGEST)]
Json = Annotated[dict[str, Any], AfterValidator(_harmless)]
Digest = Annotated[str, Field(pattern=DIGEST)]
Stamp = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.+]{8,30}$"), AfterValidator(_dated)]
Blob = Annotated[bytes, BeforeValidator(_bytes)]
Real = Annotated[float, Field(allow_inf_nan=False)]  # SQLite keeps a NaN as nothing at all
# A container is checked whole or fails at once: pydantic would keep an error of each wrong value in it.
BY_TYPE: Mapping[Any, Any] = {int: Number, float: Real, bytes: Blob, str: Told, dict[str, Any]: Json}
BY_NAME: Mapping[str, Any] = {
    "id": Key, "version": Key, "number": Key, "seed": Annotated[int, Field(ge=-(2**63), lt=2**63)],
    "name": Annotated[str, AfterValidator(_name)], "base": Shown, "encoder": Shown, "strategy": Shown, "reason": Shown,
    "block": Digest, "created_at": Stamp, "removed_at": Stamp, "status": Literal["ready", "removed"],
    "description": Annotated[Json, AfterValidator(_described)], "recipe": Annotated[Json, AfterValidator(_scaled)],
    "seal": Annotated[Json, AfterValidator(_sealed)], "data_digests": Annotated[Json, AfterValidator(_of_text)],
    "distinctness": Annotated[Json, AfterValidator(_measured)],
    "prompt": Annotated[list[Any], AfterValidator(_harmless), AfterValidator(_turns)],
    "digest": Digest, "members": Annotated[list[Any], AfterValidator(_harmless), AfterValidator(_named)],
    "messages": Annotated[list[Any], AfterValidator(_harmless), AfterValidator(_talk)],
    "reply": Annotated[list[Number], FailFast()], "reply_text": str,  # what the model said, whatever that was
    "character.metrics": Annotated[Json, AfterValidator(_onboarded)],
    "gate.settings": Annotated[Json, AfterValidator(_fitted)],
    "gate.evidence": Annotated[Json, AfterValidator(_evident)],
    "cohort.kind": Annotated[str, Field(pattern=f"^{COHORT_NAME.pattern}$")],
    "cohort.recipe": Annotated[Json, AfterValidator(_wide)],
    "cohort.metrics": Annotated[Json, AfterValidator(_weighed)],
}  # fmt: skip


def _column(table: str, name: str, info: Any) -> tuple[Any, Any]:
    """The type of a column of a table, and what it is in bundles from before it was."""
    parts = [part for part in get_args(info.annotation) if part is not NoneType]
    optional = len(get_args(info.annotation)) > len(parts)
    plain = parts[0] if optional else info.annotation
    shape = BY_NAME.get(f"{table}.{name}", BY_NAME.get(name, BY_TYPE.get(plain, plain)))
    if BY_NAME.get(name) is Key or info.is_required():
        return shape, ...
    made = info.default_factory
    default = Field(default_factory=made) if made else Field(default=info.default)
    return (shape | None if optional else shape), default


def _row(name: str, table: type[SQLModel]) -> type[BaseModel]:
    columns = {key: _column(name, key, info) for key, info in table.model_fields.items() if key not in LEASE}
    strict = ConfigDict(extra="forbid", strict=True)
    made: type[BaseModel] = create_model(name, __config__=strict, **columns)  # type: ignore[call-overload]
    return made


_ROWS: dict[str, TypeAdapter[list[BaseModel]]] = {
    name: TypeAdapter(Annotated[list[_row(name, table)], FailFast()])  # type: ignore[misc,arg-type]
    for name, table in TABLES.items()
}


def plain(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """Rows as values that JSON can hold, but for bytes."""
    return {name: [row.model_dump(exclude=LEASE) for row in getattr(rows, name)] for name in TABLES}


def _refuse_strange_columns(name: str, found: list[Any]) -> None:
    columns = TABLES[name].model_fields.keys() - LEASE
    for row in found:
        if isinstance(row, dict) and (strange := row.keys() - columns):
            raise ValueError(f"a {name} has no column {min(strange)[:80]!r}")


def rows_of(tables: Mapping[str, Any]) -> Rows:
    """Raises ValueError (as pydantic does) for a table, column or value that is not as it must be, the first alone."""
    made: dict[str, Any] = {}
    for name, found in tables.items():
        _refuse_strange_columns(name, found)
        made[name] = [TABLES[name](**row.model_dump()) for row in _ROWS[name].validate_python(found)]
    return Rows(**made)


def encoded(value: Any) -> str:
    """For `json.dumps`: bytes as base64."""
    return base64.b64encode(value).decode()
