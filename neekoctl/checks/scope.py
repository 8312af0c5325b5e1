"""Who is checked, and who is left out for speed. Knows rows; nothing of what a check looks at."""

from __future__ import annotations

import random
from dataclasses import dataclass

from registry.errors import NothingToCheck, UsageError
from registry.revisions import newest, settled_since
from registry.store import Registry
from registry.tables import Character


@dataclass(frozen=True)
class Scope:
    """Everybody, unless one of these says otherwise."""

    only: str | None = None
    changed_since: int | None = None  # a revision: who moved in, or came back, after it
    sample: int | None = None  # so many of them, drawn anew each day of history

    def chosen(self, registry: Registry) -> tuple[list[Character], list[Character]]:
        """Who is checked, and who is left out.

        Raises:
            UsageError: no such revision, or no sample of that size.
            NothingToCheck: nobody is there.
        """
        everybody = registry.characters(status=("ready",))
        rows = [registry.ready(self.only)] if self.only else everybody
        if self.changed_since is not None:
            moved = settled_since(registry, self.changed_since)
            rows = [row for row in rows if row.id in moved]
        if self.sample is not None:
            rows = _sampled(registry, rows, self.sample)
        if not rows:
            raise NothingToCheck(self._why_nobody(bool(everybody)))
        kept = {row.id for row in rows}
        return rows, [row for row in everybody if row.id not in kept]

    def _why_nobody(self, somebody_lives_here: bool) -> str:
        if not somebody_lives_here:
            return "There is nobody to check: add a character first with `neekoctl add-character`."
        return f"Nobody of those asked for has moved in since revision {self.changed_since}: check without it."


def _sampled(registry: Registry, rows: list[Character], size: int) -> list[Character]:
    """The same people at the same revision, others at the next: over time everybody's turn comes."""
    if size < 1:
        raise UsageError("--sample wants a number of characters, at least 1.")
    drawn = {row.id for row in random.Random(newest(registry)).sample(rows, min(size, len(rows)))}
    return [row for row in rows if row.id in drawn]
