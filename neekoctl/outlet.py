"""Files that people name for a report or a page: seen to be writable before the work begins, their folders made.
Knows nothing of what is written.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

from registry.errors import UsageError


def refuse_unwritable(path: Path) -> None:
    """Raises UsageError when a file would overwrite a folder, or cannot be written where it is to lie."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the file to write to.")
    if path.exists():  # a file, or a pipe
        if not os.access(path, os.W_OK):
            raise UsageError(f"{path} may not be written over: name another file.")
        return
    try:
        with TemporaryFile(dir=ready(path).parent):
            pass
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): name another file.") from error


def ready(path: Path) -> Path:
    """The path, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
