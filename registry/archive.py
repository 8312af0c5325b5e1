"""One file of named members: a zip, written whole or not at all, and read as if an enemy had made it.
Knows zip and sizes; nothing of what the members mean.

Nothing is ever extracted under a name that the file chose, and no size that it states is believed: a member is read
through a counter, and its digest is taken on the way.
"""

import hashlib
import os
import re
import secrets
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import IO

from registry.errors import BundleRefused, UsageError

MOST_MEMBERS = 200_000  # some sixty thousand blocks of three files
DIRECTORY_ENTRY = 512  # bytes that a member may take in zip's directory: its name and some numbers
LARGEST_MEMBER = 16 * 2**30  # bytes; rank 512 over a model of 70 billion parameters
SMALL = 2**20  # bytes that may well be nothing but zeros
SWELLING = 40  # times that a member may grow when unpacked: rows of text alone grow thirty times, zeros a thousand
CHUNK = 2**20
END, END_64, LOCATOR = b"PK\5\6", b"PK\6\6", b"PK\6\7"  # the records that close a zip
END_SIZE, END_64_SIZE, LOCATOR_SIZE = 22, 56, 20
HEAD_SIZE = 30  # bytes before each member's name
ZLIB_FRAME = 6  # bytes about a deflated stream that a zip leaves out
BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError)


def _would_swell(content: bytes) -> bool:
    """Whether a reader would take the deflated member for a bomb: a long history is the same rows many times."""
    return len(content) > SMALL and len(content) > SWELLING * (len(zlib.compress(content)) - ZLIB_FRAME)


class Writer:
    """Members go in, their digests are kept."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.digests: dict[str, str] = {}

    def add(self, name: str, content: bytes | Path, *, deflated: bool = False) -> str:
        """The sha256 of what was written; `deflated` only what `Archive` takes for no bomb."""
        deflated = deflated and isinstance(content, bytes) and not _would_swell(content)
        info = zipfile.ZipInfo(name)  # of 1980: the same content makes the same file
        info.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
        info.external_attr = (stat.S_IFREG | 0o644) << 16
        info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
        source = BytesIO(content) if isinstance(content, bytes) else content.open("rb")
        with source, self._archive.open(info, "w", force_zip64=info.file_size > SMALL) as target:
            self.digests[name] = _copied(source, target, info.file_size)
        return self.digests[name]


@contextmanager
def writing(path: Path, *, force: bool) -> Iterator[Writer]:
    """A new file, there under its name only when everything is in it; folders are made where they are missing.

    Raises:
        UsageError: the name is taken, and `force` is not given.
    """
    if path.is_dir() or (path.exists() and not force):
        raise UsageError(f"{path} is already there: choose another name, or --force to replace a file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")  # in a container every pid may be 1
    try:
        with partial.open("xb") as stream:
            with zipfile.ZipFile(stream, "w") as archive:
                yield Writer(archive)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Archive:
    """A file whose members all have expected names, and sizes that can be."""

    def __init__(self, path: Path, stream: IO[bytes], expected: re.Pattern[str]) -> None:
        self.name = path.name
        self._refuse_crowd(stream)
        with self._broken_is_refused():
            self._zip = zipfile.ZipFile(stream)
        found = self._zip.infolist()
        for info in found:
            self._refuse_member(info, expected)
        self.members = {info.filename: info for info in found}
        if len(self.members) < len(found) or len(found) > MOST_MEMBERS:
            raise self.refused("it has two members of one name, or far too many")
        places = sorted((info.header_offset, info.header_offset + HEAD_SIZE + info.compress_size) for info in found)
        if any(start < stop for (_, stop), (start, _) in pairwise([(0, 0), *places])):
            raise self.refused("its members overlap, or begin before it")

    def refused(self, why: str) -> BundleRefused:
        return BundleRefused(self.name, why)

    def read(self, name: str, most: int) -> bytes:
        """A whole member of at most so many bytes."""
        into = BytesIO()
        self.copy(name, into, most)
        return into.getvalue()

    def copy(self, name: str, target: IO[bytes] | None, most: int = LARGEST_MEMBER) -> str:
        """Copy a member of at most so many bytes, or only read it; returns its sha256."""
        info = self.members.get(name)
        if info is None or info.file_size > most:
            raise self.refused(f"{name} is missing or too large")
        with self._broken_is_refused(), self._zip.open(info) as source:
            return _copied(source, target, info.file_size)

    def _refuse_crowd(self, stream: IO[bytes]) -> None:
        """zipfile takes the whole directory into memory, so its stated size is looked at before.

        Where the last bytes are the closing record, zipfile reads that and no other.
        """
        stream.seek(-min(stream.seek(0, os.SEEK_END), END_64_SIZE + LOCATOR_SIZE + END_SIZE), os.SEEK_END)
        tail = stream.read()
        last, larger = tail[-END_SIZE:], tail[:-END_SIZE]
        if len(last) < END_SIZE or not last.startswith(END) or last[-2:] != b"\0\0":
            raise self.refused("it is no zip file, or cut short")
        size = struct.unpack("<L", last[12:16])[0]
        if larger.startswith(END_64) and larger.startswith(LOCATOR, END_64_SIZE):
            size = struct.unpack("<Q", larger[40:48])[0]
        if size > MOST_MEMBERS * DIRECTORY_ENTRY:
            raise self.refused("it has far too many members")

    def _refuse_member(self, info: zipfile.ZipInfo, expected: re.Pattern[str]) -> None:
        if info.orig_filename != info.filename or not expected.fullmatch(info.filename):
            raise self.refused(f"no member may be called {info.orig_filename[:80]!r}")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise self.refused(f"{info.filename} is a link or no file at all")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.refused(f"{info.filename} is encrypted or packed in an unknown way")
        if info.file_size > min(LARGEST_MEMBER, max(SMALL, SWELLING * info.compress_size)):
            raise self.refused(f"{info.filename} would grow far too large")

    @property
    def size(self) -> int:
        """Bytes of all members, unpacked."""
        return sum(info.file_size for info in self.members.values())

    @contextmanager
    def _broken_is_refused(self) -> Iterator[None]:
        try:
            yield
        except BROKEN as error:
            raise self.refused(f"it is damaged: {error}") from error


@contextmanager
def reading(path: Path, expected: re.Pattern[str]) -> Iterator[Archive]:
    """Open a file whose members' names all match a pattern.

    Raises:
        UsageError: there is no such file.
        BundleRefused: it is not what it should be.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}: name a bundle that `neekoctl bundle save` wrote.")
    with path.open("rb") as stream:
        yield Archive(path, stream, expected)


def _copied(source: IO[bytes], target: IO[bytes] | None, size: int) -> str:
    """Copy to the end; returns the sha256. Raises ValueError, and copies no more, when that is not so many bytes."""
    digest, left = hashlib.sha256(), size
    while left >= 0 and (chunk := source.read(CHUNK)):
        left -= len(chunk)
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
    if left:
        raise ValueError("a member is not of the size it says")
    return digest.hexdigest()
