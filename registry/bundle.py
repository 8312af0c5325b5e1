"""A registry in one file: `bundle.json` (the rows, and the digest of every other member), the blocks, what the gate
has learned, and profiles for people to read. Writes it, and opens it with everything proved but the members' bytes.
Knows nothing of how the rows become part of another registry.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from sqlmodel import col, select, text

from registry.archive import LARGEST_MEMBER, MOST_MEMBERS, Archive, Writer, reading, writing
from registry.blocks import FILES, digest_of
from registry.cohorts import FILES as COHORT_FILES
from registry.cohorts import verified_cohort
from registry.consistency import refuse_inconsistent
from registry.errors import BlockDamaged, NeekoError, RegistryTooNew, UsageError
from registry.names import COHORT_NAME, CONTROLS, slug
from registry.schema import HEAD
from registry.shapes import KEYS, OWN, TABLES, Digest, Rows, Shown, Stamp, encoded, plain, rows_of
from registry.store import Registry
from registry.tables import Character, now

FORMAT = 1
MANIFEST = "bundle.json"
KEPT = tuple(name for name in OWN if name != "reading")  # of somebody who moves alone
LARGEST_MANIFEST = 2**29  # bytes: two thousand characters, a quarter of a megabyte each with their vectors
MOST_VALUES = 5_000_000  # commas and brackets in it, which bound its values: a character has some 3,000
LARGEST_HEAD = 2**28
LONGEST_TOLD = 300  # characters of what is wrong with it
HEAD_MEMBER = re.compile(r"gates/([1-9][0-9]{0,14})/head\.safetensors")
BLOCK_MEMBER = re.compile(rf"blocks/([0-9a-f]{{64}})/({'|'.join(map(re.escape, FILES))})")
COHORT_MEMBER = re.compile(
    rf"cohorts/({COHORT_NAME.pattern})/([1-9][0-9]{{0,14}})/({'|'.join(map(re.escape, COHORT_FILES))})"
)
MEMBERS = re.compile(
    rf"bundle\.json|{BLOCK_MEMBER.pattern}|{HEAD_MEMBER.pattern}|{COHORT_MEMBER.pattern}|"
    r"profiles/[^/\\:\x00-\x1f]+\.yaml"
)
PROFILE_HEAD = """\
# Written by `neekoctl bundle save` for people to read; loading a bundle does not read it.
# Dialogues stand in bundle.json, not here.
"""


class Manifest(BaseModel):
    """`bundle.json`, but for its rows."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]  # FORMAT
    neekoctl: Shown
    schema_: Annotated[str, Field(alias="schema", pattern="^[0-9]{4}$")]
    created_at: Stamp
    whole: bool  # False: some people alone, without their history
    tables: dict[str, list[Any]]
    members: dict[str, Digest]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; `files` are the members of each block, by its digest and their names."""

    archive: Archive
    manifest: Manifest
    rows: Rows
    files: dict[str, dict[str, str]]

    @property
    def heads(self) -> dict[int, str]:
        """The gate's version -> the member that it has learned."""
        return {int(found[1]): name for name in self.manifest.members if (found := HEAD_MEMBER.fullmatch(name))}

    @property
    def cohorts(self) -> dict[tuple[str, int], dict[str, str]]:
        """Name and version -> the names of its files, and the member of each."""
        return _by_cohort({name: name for name in self.manifest.members})

    @property
    def profiles(self) -> list[str]:
        return [name for name in self.manifest.members if name.startswith("profiles/")]

    def copy(self, name: str, target: IO[bytes] | None, most: int = LARGEST_MEMBER) -> None:
        """Copy a member, or only read it. Raises BundleRefused when it is not what the manifest says."""
        if self.archive.copy(name, target, most) != self.manifest.members[name]:
            raise self.archive.refused(f"{name} was changed")

    def read(self, name: str, most: int) -> bytes:
        """A whole member of at most so many bytes, proved likewise."""
        into = BytesIO()
        self.copy(name, into, most)
        return into.getvalue()


def everything(registry: Registry) -> Rows:
    """All rows as of one moment, but for those who are being added."""
    with registry.reading() as session:
        found: dict[str, list[Any]] = {}
        for name, table in TABLES.items():
            order = text("rowid") if name == "handle" else col(getattr(table, KEYS[name]))
            found[name] = list(session.exec(select(table).order_by(order)))
    added = {row.id for row in found["character"] if row.status == "reserved"}
    found["character"] = [row for row in found["character"] if row.id not in added]
    found["handle"] = [row for row in found["handle"] if row.character_id not in added]
    return Rows(**found)


def those(rows: Rows, owners: Collection[int | None]) -> Rows:
    """Some of the residents with all that is their own; where a gate took their probes is a matter of the registry."""
    people = [row for row in rows.residents if row.id in owners]
    banks = {row.bank_id for row in people}
    own: dict[str, list[Any]] = {name: [row for row in getattr(rows, name) if row.character_id in owners]
                                 for name in KEPT}  # fmt: skip
    for probe in own["probe"]:
        probe.routed = probe.routed_by = None
    gate = [rows.active_gate] if rows.active_gate else []
    return Rows(bank=[row for row in rows.bank if row.id in banks], gate=gate, character=people, **own)


def save(
    registry: Registry, path: Path, *, program: str, only: Collection[str] = (), force: bool = False
) -> dict[str, Any]:
    """Write the registry, or some residents, into one file; `program` is the version that does. Returns what is in it.

    Raises:
        UsageError: the file is there already.
        BlockDamaged: a block is not what was stored; nothing was written.
    """
    wanted = {registry.resident(name).id for name in only}
    rows = everything(registry)
    rows = those(rows, wanted) if only else rows
    manifest = {"format": FORMAT, "neekoctl": program, "schema": HEAD, "created_at": now(), "whole": not only,
                "tables": _proved(rows, whole=not only)}  # fmt: skip
    with writing(path, force=force) as writer:
        count = _add_blocks(registry, rows, writer)
        _add_cohorts(registry, rows, writer)
        _add_heads(registry, rows, writer)
        _add_profiles(rows, writer)
        writer.add(MANIFEST, _encoded({**manifest, "members": writer.digests}), deflated=True)
    return {
        "file": str(path),
        "whole": not only,
        "residents": [row.name for row in rows.residents],
        "cohorts": [{"name": row.name, "version": row.version} for row in rows.cohort],
        "blocks": count,
        "revisions": len(rows.revision),
        "gate": rows.active_gate.version if rows.active_gate else None,
        "bytes": path.stat().st_size,
    }


def _proved(rows: Rows, *, whole: bool) -> dict[str, list[dict[str, Any]]]:
    """The tables, once it is sure that a loading will take them."""
    tables = plain(rows)
    try:
        refuse_inconsistent(rows_of(tables), whole=whole)
    except ValueError as error:
        raise NeekoError(f"The registry cannot be put into a bundle ({in_words(error)}): `neekoctl doctor` and "
                         f"`neekoctl check` say more.") from error  # fmt: skip
    return tables


def _encoded(manifest: dict[str, Any]) -> bytes:
    document = json.dumps(manifest, ensure_ascii=False, default=encoded).encode()
    if len(document) > LARGEST_MANIFEST or _values(document) > MOST_VALUES:
        raise UsageError("So many residents do not fit into one bundle: save them in parts with --only.")
    return document


def _add_blocks(registry: Registry, rows: Rows, writer: Writer) -> int:
    """Blocks of residents must be there; those of who left may have been pruned."""
    owners = {row.block: row for row in sorted(rows.character, key=lambda row: row.status == "ready") if row.block}
    stored = {digest: row for digest, row in owners.items()
              if row.status == "ready" or registry.blocks.path(digest).is_dir()}  # fmt: skip
    for digest, row in stored.items():
        files = {name: registry.blocks.path(digest) / name for name in FILES}
        if not all(path.is_file() for path in files.values()):
            raise _damaged(row)
        if digest_of({name: writer.add(f"blocks/{digest}/{name}", path) for name, path in files.items()}) != digest:
            raise _damaged(row)
    return len(stored)


def _damaged(row: Character) -> BlockDamaged:
    gone = "restore it from a backup, or `neekoctl remove` the character and add it again"
    advice = gone if row.status == "ready" else "nobody needs it any more, and `neekoctl doctor --prune` deletes it"
    return BlockDamaged(f"The block of {row.name} ({(row.block or '')[:12]}) is missing or damaged: {advice}.")


def _add_cohorts(registry: Registry, rows: Rows, writer: Writer) -> None:
    for row in rows.cohort:
        folder = verified_cohort(registry, row)
        for name in COHORT_FILES:
            writer.add(f"cohorts/{row.name}/{row.version}/{name}", folder / name)


def _by_cohort(members: Mapping[str, str]) -> dict[tuple[str, int], dict[str, str]]:
    """Name and version -> file -> what `members` says of it."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    for member, said in members.items():
        if match := COHORT_MEMBER.fullmatch(member):
            found.setdefault((match[1], int(match[2])), {})[match[3]] = said
    return found


def _add_heads(registry: Registry, rows: Rows, writer: Writer) -> None:
    for gate in rows.gate:
        if (path := registry.layout.head(gate.version)).is_file():
            writer.add(f"gates/{gate.version}/head.safetensors", path)


def _add_profiles(rows: Rows, writer: Writer) -> None:
    for row in rows.residents:
        member = f"profiles/{slug(row.name) or row.id}.yaml"
        while member in writer.digests:
            member = f"{member.removesuffix('.yaml')}-{row.id}.yaml"
        described = yaml.safe_dump(row.description, allow_unicode=True, sort_keys=False, width=100)
        writer.add(member, (PROFILE_HEAD + described).encode(), deflated=True)


@contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """A bundle whose manifest is proved: shapes, numbers, names, and that its members are those it names.

    Raises:
        UsageError: there is no such file.
        BundleRefused: it is not what it says.
        RegistryTooNew: it was written by a newer neekoctl.
    """
    with reading(path, MEMBERS) as archive:
        try:
            manifest = _read(_parsed(archive.read(MANIFEST, LARGEST_MANIFEST)), path.name)
            rows = rows_of(manifest.tables)
            refuse_inconsistent(rows, whole=manifest.whole)
            files = _refuse_wrong_members(archive, manifest, rows)
        except ValueError as error:
            raise archive.refused(in_words(error)) from error
        yield Bundle(archive, manifest, rows, files)


def _parsed(document: bytes) -> Any:
    """Three bytes of JSON can become sixty of memory, so the values are counted before they are made."""
    if _values(document) > MOST_VALUES:
        raise ValueError("its bundle.json has far too many values")
    return from_json(document)


def _values(document: bytes) -> int:
    return sum(document.count(mark) for mark in (b",", b"[", b"{"))


def _read(document: Any, name: str) -> Manifest:
    """Raises ValueError, or RegistryTooNew."""
    if not isinstance(document, dict):
        raise ValueError("its bundle.json is no manifest")
    made, schema = document.get("format"), document.get("schema")
    newer = isinstance(schema, str) and re.fullmatch("[0-9]{4}", schema) and schema > HEAD
    if newer or (isinstance(made, int) and made > FORMAT):
        version = f"schema {schema}" if newer else "another format"
        raise RegistryTooNew(f"{name} was written by a newer neekoctl ({version}): upgrade with `pip install --upgrade "
                             f"neekoctl`.")  # fmt: skip
    _refuse_strange_keys(document)
    return Manifest.model_validate(document)


def _refuse_strange_keys(document: dict[str, Any]) -> None:
    """The first is told; pydantic would collect them all, and a small file can hold millions."""
    known = {field.alias or name for name, field in Manifest.model_fields.items()}
    for what, keys, found in (("key", known, document), ("table", TABLES.keys(), document.get("tables"))):
        if isinstance(found, dict) and (strange := found.keys() - keys):
            raise ValueError(f"there is no {what} {min(strange)[:80]!r}")
    if isinstance(members := document.get("members"), dict) and len(members) > MOST_MEMBERS:
        raise ValueError("it names far too many members")


def _refuse_wrong_members(archive: Archive, manifest: Manifest, rows: Rows) -> dict[str, dict[str, str]]:
    """The members are those that are named, and each is of a row; the digests of every block's files."""
    if strange := set(archive.members) ^ {MANIFEST, *manifest.members}:
        raise ValueError(f"{min(strange)[:80]!r} is either missing or not named in its bundle.json")
    blocks = _by_block(manifest.members)
    _refuse_wrong_blocks(blocks, rows)
    cohorts = {key: digest_of(files) for key, files in _by_cohort(manifest.members).items()}
    if cohorts != {(row.name, row.version): row.digest for row in rows.cohort}:
        raise ValueError("a cohort is missing, nobody's, or not what its digest says")
    versions = {row.version for row in rows.gate}
    for member in manifest.members:
        if (head := HEAD_MEMBER.fullmatch(member)) and int(head[1]) not in versions:
            raise ValueError(f"{member} is of no gate there")
    return blocks


def _by_block(members: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """block -> file -> digest."""
    found: dict[str, dict[str, str]] = {}
    for member, digest in members.items():
        if name := BLOCK_MEMBER.fullmatch(member):
            found.setdefault(name[1], {})[name[2]] = digest
    return found


def _refuse_wrong_blocks(blocks: Mapping[str, Mapping[str, str]], rows: Rows) -> None:
    """Every block is whole and somebody's, and every resident's is there."""
    for block, digests in blocks.items():
        if set(digests) != set(FILES) or digest_of(digests) != block:
            raise ValueError(f"block {block[:12]} is not what its name says")
    needed, known = {row.block for row in rows.residents}, {row.block for row in rows.character}
    if not needed <= set(blocks) <= known:
        raise ValueError("a block is missing, or nobody's")


def in_words(error: ValueError) -> str:
    """A sentence's worth of an error."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"  # its keys are whatever somebody wrote
    return CONTROLS.sub("?", told)[:LONGEST_TOLD]
