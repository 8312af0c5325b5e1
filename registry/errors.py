"""Every error a user may meet, in one tree. Knows nothing of how an error is shown.

    NeekoError                      exit 1
    ├── ProfileError                the profile is wrong; carries every fault at once
    ├── UsageError                  exit 2: the command line asks for something that cannot be
    ├── UnknownCharacter            (LookupError) no such name; carries the nearest ones
    ├── NameTaken                   a live character already answers to this name or alias
    ├── RankError                   the bank has no room for the range
    ├── BaseError                   the base model is missing, damaged or of the wrong kind
    │   ├── BaseMismatch            its fingerprint is not the bank's
    │   └── EncoderMismatch         two vectors of different encoders cannot be compared
    ├── BlockDamaged                a block's files are missing or not the bytes that were stored
    ├── CohortDamaged               a cohort's files are missing, of another format or base, or not what was stored
    ├── BundleRefused               a bundle is no bundle, damaged, or not what it says of itself
    ├── RegistryTooNew              a registry or bundle written by a newer neekoctl
    ├── RegistryBusy                another process holds the registry for too long
    ├── LeaseLost                   the reservation expired or was cleared while the block was made
    ├── TrainingFailed              the loss is no number any more
    └── NothingToCheck              a check that would check nothing must not pass

A message is one sentence that tells the user what to do next.
"""

from dataclasses import dataclass

from registry.names import CONTROLS

FAULTS_SHOWN = 40  # a file in another format has one a line


class Terminated(KeyboardInterrupt):
    """The system asks the process to end (SIGTERM): like Ctrl-C, but no prompt goes on after it."""


class NeekoError(Exception):
    """Base of the tree; `str(error)` is the sentence for the user."""

    exit_code = 1


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a profile: where, which field, and what to do about it."""

    where: str
    field: str
    message: str

    def __str__(self) -> str:
        told = f"{self.where}: {self.field}: {self.message}" if self.field else f"{self.where}: {self.message}"
        return CONTROLS.sub(lambda found: repr(found[0])[1:-1], told)  # a key may hold what steers a terminal


class ProfileError(NeekoError):
    """A profile that cannot be used; `faults` holds everything found, in file order."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        count = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
        more = len(faults) - FAULTS_SHOWN
        lines = [*map(str, faults[:FAULTS_SHOWN]), *([f"and {more} more"] if more > 0 else [])]
        super().__init__(f"The profile has {count}:\n" + "\n".join(f"  {line}" for line in lines))


class UsageError(NeekoError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class UnknownCharacter(NeekoError, LookupError):
    """No live character answers to this name."""

    def __init__(self, name: str, nearest: list[str]) -> None:
        self.name, self.nearest = name, nearest
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`neekoctl list` shows who is there."
        super().__init__(f"Nobody here is called {name!r}; {hint}")


class NameTaken(NeekoError):
    """A live character already answers to this name or alias."""


class RankError(NeekoError):
    """The bank has no room for the range asked for."""


class BaseError(NeekoError):
    """The base model or encoder is missing, damaged, or of the wrong kind."""


class BaseMismatch(BaseError):
    """The base model on disk is not the one the bank's blocks were made for."""


class EncoderMismatch(BaseError):
    """Embeddings made by another encoder."""


class BlockDamaged(NeekoError):
    """A block's files are missing or are not the bytes that were stored."""


class CohortDamaged(NeekoError):
    """A cohort's files are missing, of another format or base, or are not what was stored."""


class BundleRefused(NeekoError):
    """A bundle that is no bundle, damaged, or not what it says of itself."""

    def __init__(self, bundle: str, why: str) -> None:
        super().__init__(f"The bundle {bundle} was refused, and nothing was changed ({why}): save it anew where it "
                         f"came from.")  # fmt: skip


class RegistryTooNew(NeekoError):
    """The registry or bundle was written by a newer neekoctl."""


class RegistryBusy(NeekoError):
    """Another process held the registry's write lock for longer than the busy timeout."""


class LeaseLost(NeekoError):
    """The reservation is no longer this process's."""


class TrainingFailed(NeekoError):
    """Training cannot go on."""


class NothingToCheck(NeekoError):
    """Nothing was checked, so nothing was proved."""
