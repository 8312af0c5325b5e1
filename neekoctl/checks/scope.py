"""Who is checked, and who is left out for speed. Knows rows; nothing of what a check looks at."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from registry.errors import NothingToCheck, UsageError
from registry.readings import count_readings
from registry.revisions import newest, settled_since
from registry.store import Registry
from registry.tables import Character


@dataclass(frozen=True)
class Scope:
    """Everybody, unless one of these says otherwise."""

    only: Sequence[str] = ()
    changed_since: int | None = None  # a revision: who moved in, or came back, after it
    sample: int | None = None  # so many of them, drawn anew each time

    def chosen(self, registry: Registry) -> tuple[list[Character], list[Character]]:
        """Who is checked, and who is left out.

        Raises:
            UsageError: no such revision, or no sample of that size.
            NothingToCheck: nobody is there.
        """
        everybody = registry.residents()
        named = {registry.resident(name).id for name in self.only}
        rows = [row for row in everybody if row.id in named or not named]
        if self.changed_since is not None:
            moved = settled_since(registry, self.changed_since)
            rows = [row for row in rows if row.id in moved]
        if self.sample is not None:
            rows = _sampled(registry, rows, self.sample)
        if not rows:
            raise NothingToCheck(self._why_nobody(registry, bool(everybody)))
        kept = {row.id for row in rows}
        return rows, [row for row in everybody if row.id not in kept]

    def _why_nobody(self, registry: Registry, somebody_lives_here: bool) -> str:
        if not somebody_lives_here:
            home = registry.layout.home
            return f"There is nobody to check in {home}: `neekoctl add-character` moves the first one in."
        return f"Nobody of those asked for has moved in since {self.changed_since}: leave --changed-since out."


def _sampled(registry: Registry, rows: list[Character], size: int) -> list[Character]:
    """Others after every check and every revision: over time everybody's turn comes."""
    if size < 1:
        raise UsageError("--sample wants a number of characters, at least 1.")
    seed = f"{newest(registry)}:{count_readings(registry)}"
    drawn = {row.id for row in random.Random(seed).sample(rows, min(size, len(rows)))}
    return [row for row in rows if row.id in drawn]
