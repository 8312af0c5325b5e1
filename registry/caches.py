"""Copies that only save time: written whole or not at all, and never missed. Knows nothing of what is in them."""

import tempfile
from collections.abc import Callable
from pathlib import Path


def keep(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` write a file, and give it its name. What cannot be kept is made anew the next time, and whoever
    writes at the same time writes the same."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            made = Path(scratch) / path.name
            write(made)
            made.replace(path)
    except Exception:  # noqa: BLE001  every library has an error of its own for a full disk
        return
