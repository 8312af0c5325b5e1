"""What a bundle holds beside rows, on its way to where it is kept: blocks through scratch into the store, heads beside
the gate. Every member is read and proved on the way. Knows files; of rows only which blocks they name.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from sqlmodel import select

from registry.bundle import BLOCK_MEMBER, LARGEST_HEAD, Bundle
from registry.errors import NeekoError
from registry.store import Registry
from registry.tables import Character


@dataclass
class Parcel:
    """What a bundle holds beside rows: scratch folders of blocks by digest, and heads by version."""

    blocks: dict[str, Path] = field(default_factory=dict)
    heads: dict[int, bytes] = field(default_factory=dict)


@contextmanager
def unpacked(registry: Registry, bundle: Bundle) -> Iterator[Parcel]:
    """Read every member, and prove it; blocks that are not here are in scratch meanwhile."""
    _refuse_full_disk(registry, bundle)
    parcel = Parcel()
    with ExitStack() as scratch:
        for digest in bundle.files:
            if not registry.blocks.is_whole(digest):
                parcel.blocks[digest] = scratch.enter_context(registry.blocks.making())
        for version, member in bundle.heads.items():
            into = BytesIO()
            bundle.copy(member, into, LARGEST_HEAD)
            parcel.heads[version] = into.getvalue()
        for member in bundle.manifest.members.keys() - set(bundle.heads.values()):
            found = BLOCK_MEMBER.fullmatch(member)
            if found and found[1] in parcel.blocks:
                with (parcel.blocks[found[1]] / found[2]).open("xb") as target:
                    bundle.copy(member, target)
            else:
                bundle.copy(member, None)  # nothing of it is needed, yet a bundle is whole or refused
        yield parcel


def _refuse_full_disk(registry: Registry, bundle: Bundle) -> None:
    free, needed = shutil.disk_usage(registry.layout.home).free, bundle.archive.size
    if free < needed:
        raise NeekoError(f"Only {free / 2**20:.0f} MiB are free under {registry.layout.home}, and this bundle may need "
                         f"{needed / 2**20:.0f}: free some space or set NEEKOCTL_HOME elsewhere.")  # fmt: skip


@contextmanager
def stored(registry: Registry, folders: Mapping[str, Path]) -> Iterator[None]:
    """Put blocks into the store; of these, only those that somebody has by the end stay."""
    try:
        for folder in folders.values():
            registry.blocks.put(folder)
        yield
    finally:
        with registry.reading() as session:
            owned = set(session.exec(select(Character.block)))
        for digest in folders.keys() - owned:
            registry.blocks.delete(digest)


def put_head(path: Path, content: bytes, undo: ExitStack) -> None:
    """Write what a version of the gate has learned; `undo` takes it back."""
    undo.callback(path.unlink, missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)  # nobody reads it before its version is in use
