"""Text to unit vectors, with the provenance of the encoder that made them. Knows nothing of characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.quiet import quiet_transformers
from registry.errors import BaseError


@dataclass(frozen=True)
class Encoder:
    """A sentence encoder; two vectors may be compared only when their provenance is the same."""

    name: str
    fingerprint: str
    model: Any

    @property
    def provenance(self) -> str:
        return f"{self.name}@{self.fingerprint}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d) float32, each row of unit length; texts beyond the encoder's window are cut."""
        return self.model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False).astype(np.float32)


def load_encoder(folder: Path, *, name: str, fingerprint: str) -> Encoder:
    """Load a sentence-transformers folder on the CPU.

    Raises:
        BaseError: the folder is no sentence encoder.
    """
    from sentence_transformers import SentenceTransformer

    quiet_transformers()
    if not (folder / "modules.json").is_file():
        raise BaseError(f"{name} cannot be loaded as a sentence encoder: it has no modules.json.")
    if pickled := _pickled(folder):
        raise BaseError(f"{name} holds {pickled}, and only safetensors are loaded: take another encoder.")
    try:
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    except Exception as error:  # noqa: BLE001  a damaged folder makes the readers raise anything
        raise BaseError(f"{name} cannot be loaded as a sentence encoder ({error}).") from error
    return Encoder(name, fingerprint, model)


def _pickled(folder: Path) -> str | None:
    """The first file of weights that only pickle reads."""
    found = sorted(folder.rglob("pytorch_model.bin"))
    return next((str(path.relative_to(folder)) for path in found if not [*path.parent.glob("*.safetensors")]), None)
