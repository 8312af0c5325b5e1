"""A check where other programs read it: JUnit, GitHub's annotations and step summary, and a page with plots.
Computes nothing of the check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neekoctl.outlet import ready, refuse_unwritable
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
                refuse_unwritable(path)
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

            junit.write_error(sentence, ready(self.junit))
        self._annotate(sentence)

    def _annotate(self, sentence: str) -> None:
        if self.github:
            from neekoctl.checks import github

            github.tell_error(sentence)

    def write(self, registry: Registry, document: dict[str, Any]) -> None:
        """Write them; folders are made where they are missing."""
        if self.junit:
            from neekoctl.checks import junit

            junit.write(document, ready(self.junit))
        if self.html:
            from neekoctl.checks import page
            from registry.readings import matrix

            page.write(document, matrix(registry), self.html)
        if self.github:
            from neekoctl.checks import github

            github.tell(document)
