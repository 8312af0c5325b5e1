"""What a bundle holds beside rows, on its way to where it is kept: blocks through scratch into the store, heads beside
the gate. Every member is read and proved on the way. Knows files; of rows only which blocks and gates there are.
"""

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json
from sqlmodel import Session, select

from registry.bundle import LARGEST_HEAD, Bundle
from registry.cohorts import flush, place, sweep
from registry.errors import NeekoError
from registry.scratch import scratch
from registry.store import Registry
from registry.tables import Character, Gate

NOTES = ("adapter_config.json", "neeko.json")  # what a block says of itself
LARGEST_NOTE = 2**20  # bytes; a real one has a few thousand


@dataclass
class Parcel:
    """What a bundle holds beside rows: scratch folders of blocks by digest and of cohorts by version, and heads."""

    blocks: dict[str, Path] = field(default_factory=dict)
    heads: dict[int, bytes] = field(default_factory=dict)
    cohorts: dict[tuple[str, int], Path] = field(default_factory=dict)


@contextmanager
def unpacked(registry: Registry, bundle: Bundle) -> Iterator[Parcel]:
    """Read every member, and prove it; blocks that are not here are in scratch meanwhile, and on the disk."""
    _refuse_full_disk(registry, bundle)
    _refuse_strange_blocks(bundle)
    with ExitStack() as making:
        parcel = Parcel(
            blocks=_blocks(registry, bundle, making),
            heads={version: bundle.read(member, LARGEST_HEAD) for version, member in bundle.heads.items()},
            cohorts=_cohorts(registry, bundle, making),
        )
        for member in bundle.profiles:
            bundle.copy(member, None)
        yield parcel


def _blocks(registry: Registry, bundle: Bundle, making: ExitStack) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for digest in bundle.files:
        if registry.blocks.is_whole(digest):
            _unpack(bundle, digest, None)  # nothing of it is needed, yet a bundle is whole or refused
        else:
            found[digest] = folder = making.enter_context(registry.blocks.making())
            _unpack(bundle, digest, folder)
            registry.blocks.flush(folder)
    return found


def _cohorts(registry: Registry, bundle: Bundle, making: ExitStack) -> dict[tuple[str, int], Path]:
    found: dict[tuple[str, int], Path] = {}
    for cohort, files in bundle.cohorts.items():
        found[cohort] = folder = making.enter_context(scratch(registry.layout, "cohort"))
        for name, member in files.items():
            with (folder / name).open("xb") as target:
                bundle.copy(member, target)
        flush(folder)
    return found


def _refuse_strange_blocks(bundle: Bundle) -> None:
    """What a block says of itself is what its owners' rows say: a rank as wide as their ranges, and their base."""
    banks = {row.id: row.fingerprint for row in bundle.rows.bank}
    owned: dict[str | None, list[tuple[int, str]]] = defaultdict(list)
    for row in bundle.rows.character:
        owned[row.block].append((row.ranks.rank, banks[row.bank_id]))
    for digest in bundle.files:
        said = _said(bundle, digest)
        if any(each != said for each in owned[digest]):
            raise bundle.archive.refused(f"block {digest[:12]} is of another rank or base than its owner")


def _said(bundle: Bundle, digest: str) -> tuple[Any, Any]:
    """Rank and base of a block, by its own files."""
    try:
        config, card = (from_json(bundle.read(f"blocks/{digest}/{name}", LARGEST_NOTE)) for name in NOTES)
        return config["r"], card["base_fingerprint"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise bundle.archive.refused(f"block {digest[:12]} does not say its rank and base") from error


def _unpack(bundle: Bundle, digest: str, folder: Path | None) -> None:
    """Copy the files of a block, or only read them."""
    for name in bundle.files[digest]:
        with (folder / name).open("xb") if folder else nullcontext() as target:
            bundle.copy(f"blocks/{digest}/{name}", target)


def _refuse_full_disk(registry: Registry, bundle: Bundle) -> None:
    free, needed = shutil.disk_usage(registry.layout.home).free, bundle.archive.size
    if free < needed:
        raise NeekoError(f"Only {free / 2**20:.0f} MiB are free under {registry.layout.home}, and this bundle may need "
                         f"{needed / 2**20:.0f}: free some space or set NEEKOCTL_HOME elsewhere.")  # fmt: skip


@contextmanager
def undone(registry: Registry, parcel: Parcel) -> Iterator[None]:
    """When this ends by an error, what was put is taken away again, but for what somebody has by then.

    That is asked of the database: an interrupt may come when the rows are in it already.
    """
    try:
        yield
    except BaseException:
        registry.discard(parcel.blocks)
        with registry.writing() as session:
            sweep_heads(registry, session)
        sweep(registry)
        raise


def put_blocks(
    registry: Registry, session: Session, bundle: Bundle, parcel: Parcel, newcomers: Collection[str]
) -> None:
    """Put the blocks that somebody has into the store, under the lock under which the rows were made.

    Whoever prunes waits for that lock and finds their owners. What was here when the bundle was unpacked may have been
    pruned since, so the blocks of the newcomers are looked at again.
    """
    owned = set(session.exec(select(Character.block)))
    for digest, folder in parcel.blocks.items():
        if digest in owned:
            registry.blocks.place(folder, digest)
    for digest in set(newcomers) - parcel.blocks.keys():
        if not registry.blocks.is_whole(digest):
            with registry.blocks.making() as folder:
                _unpack(bundle, digest, folder)
                registry.blocks.put(folder)


def put_cohorts(registry: Registry, parcel: Parcel) -> None:
    """Give each version its place."""
    for (name, version), folder in parcel.cohorts.items():
        place(registry, name, version, folder)


def put_heads(registry: Registry, parcel: Parcel, heads: Mapping[int, int]) -> None:
    """Write what versions of the gate have learned, by their numbers here and in the bundle."""
    for here, there in heads.items():
        path = registry.layout.head(here)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(parcel.heads[there])  # nobody reads it before its version is in use


def sweep_heads(registry: Registry, session: Session) -> None:
    """Delete what versions have learned that are none: a loading that came to nothing left it."""
    known = {str(version) for version in session.exec(select(Gate.version))}
    for path in registry.layout.gates.glob("*/head.safetensors"):
        if path.parent.name not in known:
            path.unlink()
