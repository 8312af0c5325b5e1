"""Half-made things: a folder to make something in, and its way to its place, whole or not at all.
Knows files and processes; nothing of what is made.
"""

import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.layout import Layout
from registry.leases import host_name, is_running, owner_tag

MOVING = ".*-*@*-*"  # what `move` calls it on the way
STALE_SECONDS = 24 * 3600.0  # of a folder whose process cannot be looked at


@contextmanager
def scratch(layout: Layout, kind: str) -> Iterator[Path]:
    """A folder to make something in; gone afterwards, whatever happened, unless it was moved."""
    layout.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{kind}-{owner_tag()}-", dir=layout.scratch) as private:
        folder = Path(private) / kind  # readable by others as the umask says, which the outer folder is not
        folder.mkdir()
        yield folder


def half_made(layout: Layout) -> list[Path]:
    """What lies in scratch, or is on its way from there to another disk."""
    beside = [*layout.blocks.glob(f"??/{MOVING}"), *layout.models.glob(MOVING)]  # cohorts are swept by their rows
    return sorted([*layout.scratch.glob("*"), *beside])


def is_abandoned(path: Path) -> bool:
    """The names end in -pid@host-random; it is in use while that process runs, as far as one can see."""
    pid, _, host = (path.name.rsplit("-", 2)[1] if path.name.count("-") > 1 else "").partition("@")
    if pid.isdecimal() and host == host_name():
        return not is_running(int(pid))
    return time.time() - path.stat().st_mtime > STALE_SECONDS


def move(folder: Path, target: Path) -> None:
    """Give a finished folder its name, at once; from another disk it is copied beside it first."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = target.with_name(f".{target.name}-{owner_tag()}-{secrets.token_hex(4)}")
        try:
            shutil.copytree(folder, beside)
            flush_files(beside, [path.relative_to(beside) for path in beside.rglob("*") if path.is_file()])
            beside.rename(target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def flush_files(folder: Path, names: Iterable[str | Path]) -> None:
    """Force a finished folder and its files to the disk, before it is given its name."""
    for name in names:
        sync(folder / name)
    sync(folder)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
