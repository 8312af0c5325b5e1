"""Where everything under NEEKOCTL_HOME lies. Knows paths and nothing of what is in the files."""

import os
from dataclasses import dataclass
from pathlib import Path

from registry.errors import UsageError

HOME_VARIABLE = "NEEKOCTL_HOME"


@dataclass(frozen=True)
class Layout:
    """Where to look under the home folder."""

    home: Path

    @classmethod
    def default(cls) -> "Layout":
        """`$NEEKOCTL_HOME` when set, else the platform's user data folder."""
        if chosen := os.environ.get(HOME_VARIABLE):
            try:
                return cls(Path(chosen).expanduser().absolute())
            except RuntimeError as error:
                raise UsageError(f"{HOME_VARIABLE} is {chosen}, and nobody of that name has a home here.") from error
        import platformdirs  # late: `neekoctl --help` never needs it

        return cls(Path(platformdirs.user_data_dir("neekoctl", appauthor=False)))

    @property
    def database(self) -> Path:
        return self.home / "registry.db"

    @property
    def blocks(self) -> Path:
        return self.home / "blocks"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def gates(self) -> Path:
        """Learned heads by version, and the index over prototypes."""
        return self.home / "gates"

    def head(self, version: int) -> Path:
        """What a version of the gate has learned, if it has."""
        return self.gates / str(version) / "head.safetensors"

    def roles(self, bank: int) -> Path:
        """The role embeddings of a large bank's residents: a copy, quicker to read than their rows."""
        return self.home / "roles" / f"{bank}.safetensors"

    @property
    def cohorts(self) -> Path:
        return self.home / "cohorts"

    def cohort(self, name: str, version: int) -> Path:
        """A cohort's network and config."""
        return self.cohorts / name / str(version)

    @property
    def checkpoints(self) -> Path:
        return self.home / "checkpoints"

    def checkpoint(self, run: str) -> Path:
        """Of an unfinished training, which is named by all that decides its outcome."""
        return self.checkpoints / f"{run}.safetensors"

    def checkpoints_of(self, run: str) -> list[Path]:
        """All that there are of it: several blocks may be trained on the way."""
        return sorted(self.checkpoints.glob(f"{run}*.safetensors"))

    @property
    def scratch(self) -> Path:
        """Half-made things; whatever lies here belongs to a running process or to nobody."""
        return self.home / "scratch"
