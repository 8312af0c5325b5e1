"""A check where other programs read it: JUnit, GitHub's annotations and step summary, and a page with plots.
Computes nothing of the check."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from registry.errors import NeekoError, UsageError
from registry.store import Registry


@dataclass(frozen=True)
class Reports:
    """Those that are asked for."""

    junit: Path | None = None
    html: Path | None = None
    github: bool = False

    @contextmanager
    def told(self) -> Iterator[Reports]:
        """See first that they can be written, and tell them too when the check cannot run.

        Raises:
            UsageError: a report would overwrite a folder, or cannot be written where it is to lie.
        """
        try:
            for path in filter(None, (self.junit, self.html)):
                _refuse_unwritable(path)
        except UsageError as error:
            self._annotate(str(error))
            raise
        try:
            yield self
        except (NeekoError, OSError) as error:
            self._write_error(str(error))
            raise

    def _write_error(self, sentence: str) -> None:
        if self.junit:
            from neekoctl.checks import junit

            junit.write_error(sentence, _ready(self.junit))
        self._annotate(sentence)

    def _annotate(self, sentence: str) -> None:
        if self.github:
            from neekoctl.checks import github

            github.tell_error(sentence)

    def write(self, registry: Registry, document: dict[str, Any]) -> None:
        """Write them; folders are made where they are missing."""
        if self.junit:
            from neekoctl.checks import junit

            junit.write(document, _ready(self.junit))
        if self.html:
            from neekoctl.checks import page
            from registry.readings import matrix

            page.write(document, matrix(registry), _ready(self.html))
        if self.github:
            from neekoctl.checks import github

            github.tell(document)


def _refuse_unwritable(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the file to write the report to.")
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"{path} may not be written over: name another file.")
    try:
        with TemporaryFile(dir=_ready(path).parent):
            pass
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}): name another file.") from error


def _ready(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
