"""The block store: immutable adapter folders named by the sha256 of what is in them.
Knows the files of a block and nothing of tensors, ranks or the database.

A block is a standard PEFT LoRA adapter plus `neeko.json`; its digest covers the names and bytes of all three.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.errors import BlockDamaged
from registry.layout import Layout
from registry.scratch import flush_files, move, scratch, sync

FILES = ("adapter_config.json", "adapter_model.safetensors", "neeko.json")


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """The digest that names the block in a folder."""
    return digest_of({name: file_digest(folder / name) for name in FILES})


def digest_of(files: Mapping[str, str]) -> str:
    """sha256 over the sorted lines `<sha256 of file>  <name>`, what `sha256sum` prints for the files of a folder."""
    lines = [f"{files[name]}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class BlockStore:
    """Content-addressed folders under `blocks/<aa>/<sha256>/`."""

    layout: Layout

    def path(self, digest: str) -> Path:
        return self.layout.blocks / digest[:2] / digest

    @contextmanager
    def making(self) -> Iterator[Path]:
        """A scratch folder to make a block in; gone afterwards, whatever happened."""
        with scratch(self.layout, "block") as folder:
            yield folder

    def put(self, folder: Path) -> str:
        """Move a finished folder into the store and return its digest; a block already there is left alone.

        Every byte is on the disk before the name exists, so a name in the store is always a whole block.
        """
        digest = self.flush(folder)
        self.place(folder, digest)
        return digest

    def flush(self, folder: Path) -> str:
        """Force a finished folder to the disk; returns its digest. The slow half of `put`."""
        flush_files(folder, FILES)
        return folder_digest(folder)

    def place(self, folder: Path, digest: str) -> None:
        """Give a flushed folder its name in the store. The quick half of `put`, and fit to be done under a lock."""
        target = self.path(digest)
        if target.exists() and not self.is_whole(digest):
            shutil.rmtree(target)  # damaged since: these bytes are the right ones again
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            sync(self.layout.blocks)
            self._rename(folder, target)
            sync(target.parent)

    def _rename(self, folder: Path, target: Path) -> None:
        try:
            move(folder, target)
        except OSError:
            if not self.is_whole(target.name):  # whole: another process was faster with the same bytes
                raise

    def is_whole(self, digest: str) -> bool:
        """Whether the files on disk are the bytes the digest names."""
        try:
            return folder_digest(self.path(digest)) == digest
        except OSError:
            return False

    def verified(self, digest: str, owner: str) -> Path:
        """The block's folder, its bytes checked.

        Raises:
            BlockDamaged: files are missing or not the bytes that were stored.
        """
        if not self.is_whole(digest):
            raise BlockDamaged(
                f"The block of {owner} ({digest[:12]}) is missing or damaged: restore {self.path(digest)} from a "
                f"backup, or `neekoctl remove` the character and add it again."
            )
        return self.path(digest)

    def digests(self) -> set[str]:
        """Every block in the store, referenced or not."""
        folders = self.layout.blocks.glob("??/[!.]*")  # a dot begins the name of what is on its way from another disk
        return {folder.name for folder in folders if folder.is_dir()}

    def delete(self, digest: str) -> None:
        """Whoever calls this knows that nobody has the block: `Registry.discard` does."""
        shutil.rmtree(self.path(digest), ignore_errors=True)
