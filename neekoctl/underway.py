"""While a block is made: the user is told, leases are renewed, a run begins from its checkpoints or without them and
leaves none behind, and the disk is large enough. Knows a registry and a stage; nothing of what is made.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from neekoctl.stage import Stage
from registry.errors import LeaseLost, NeekoError
from registry.layout import Layout
from registry.store import Registry, Reservation

if TYPE_CHECKING:
    from recipes.running import Progress

RENEW_SECONDS = 60.0  # between two renewals of a lease
COPIES_IN_A_CHECKPOINT = 5  # of the factors: themselves, mean, best and two moments
RESUMABLE = "The state of its training is kept: repeat it with --resume to go on."  # a note on an error


class Screen(Protocol):
    """Where an onboarding tells how it stands."""

    def say(self, text: str) -> None: ...

    def progress(self, progress: Progress) -> None: ...


def refuse_full_disk(stage: Stage, ranks: int, runs: int = 1) -> None:
    """Before anything is made: whether so many ranks of fp32 factors fit as often as they are kept, in a checkpoint of
    each of `runs`, in the next one, and in the block.

    Raises:
        NeekoError: less is free.
    """
    home, widths = stage.registry.layout.home, (d_out + d_in for d_out, d_in in stage.base.shapes.values())
    copies = COPIES_IN_A_CHECKPOINT * (runs + 1) + 1
    free, needed = shutil.disk_usage(home).free, copies * ranks * sum(widths) * 4
    if free < needed:
        raise NeekoError(f"Only {free / 2**20:.0f} MiB are free under {home}, and up to {needed / 2**20:.0f} may be "
                         f"needed: free some space or set NEEKOCTL_HOME elsewhere.")  # fmt: skip


@contextmanager
def training(layout: Layout, run: str, resume: bool, screen: Screen) -> Iterator[Callable[[], None]]:
    """From the checkpoints of a run, or without them at the beginning. Gives what is to be called once what was made is
    kept: then they are gone. An error on the way is noted as `RESUMABLE` when it has left one."""
    kept = layout.checkpoints_of(run)
    if resume:
        screen.say("going on from where a run stopped" if kept else "nothing to resume: starting at the beginning")
    else:
        _clear(kept)
    try:
        yield lambda: _clear(layout.checkpoints_of(run))  # of `auto` and of a cohort several
    except BaseException as error:
        if layout.checkpoints_of(run):
            error.add_note(RESUMABLE)
        raise


def _clear(checkpoints: Sequence[Path]) -> None:
    for path in checkpoints:
        path.unlink(missing_ok=True)


def renewing(registry: Registry, reservations: Sequence[Reservation]) -> Callable[[], None]:
    """To be called while the work goes on: pushes the leases out now and then. A registry that is busy, or a disk that
    is full for a moment, does not end a training of hours; a lease that is lost does."""
    last = time.monotonic()

    def renew() -> None:
        nonlocal last
        if time.monotonic() - last < RENEW_SECONDS:
            return
        last = time.monotonic()
        for each in reservations:
            try:
                registry.renew(each)
            except LeaseLost:
                raise
            except NeekoError:
                return

    return renew


def reporting(screen: Screen, renew: Callable[[], None]) -> Callable[[Progress], None]:
    """Shows where a training stands, and keeps its leases while it does."""

    def report(progress: Progress) -> None:
        screen.progress(progress)
        renew()

    return report
