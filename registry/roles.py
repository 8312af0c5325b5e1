"""The prototypes of everybody, and the FAISS index that finds the nearest: exact below ten thousand vectors, HNSW
(arXiv 1603.09320) above. Knows vectors and owners; nothing of how a text becomes a vector or of what is decided.

The database is the truth. The HNSW index takes seconds to build, so it is kept in a file: a cache, checked against the
database and against its own digest each time, and built anew when either differs.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text

from registry.blocks import file_digest
from registry.caches import keep
from registry.errors import EncoderMismatch
from registry.moves import fetched
from registry.store import Registry
from registry.vectors import stacked

EXACT_BELOW = 10_000
HNSW_LINKS, HNSW_BUILD, HNSW_SEARCH = 32, 80, 128  # links a vector, and the breadths of FAISS's two searches
INDEX = "roles.faiss"
KINDS = ("prompt", "persona", "fact")


class Roles:
    """Vectors of unit length by owner; rows of one owner lie together."""

    def __init__(self, owners: np.ndarray, kinds: np.ndarray, vectors: np.ndarray, cache: Path | None = None) -> None:
        self.owners, self.kinds, self.vectors = owners, kinds, vectors  # (n,) ids, (n,) places in KINDS, (n, d)
        self._spans = _spans(owners)
        self._index = self._built(cache) if len(vectors) >= EXACT_BELOW else None

    @property
    def everybody(self) -> list[int]:
        """Character ids."""
        return list(self._spans)

    def __contains__(self, owner: int) -> bool:
        return owner in self._spans

    def rows(self, owner: int) -> slice:
        """Where the rows of an owner lie."""
        return self._spans[owner]

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """(m, d) -> (m, count) rows with the largest inner product, best first; -1 where there are fewer."""
        if self._index is None:
            scores = queries @ self.vectors.T
            return np.argsort(-scores, axis=1)[:, :count]
        rows: np.ndarray = self._index.search(np.ascontiguousarray(queries), count)[1]
        return rows

    def _built(self, cache: Path | None) -> Any:
        import faiss

        digest = hashlib.sha256(self.owners.tobytes() + self.vectors.tobytes()).hexdigest()
        if cache is not None and (found := _cached(cache, digest)) is not None:
            return found
        index = faiss.IndexHNSWFlat(self.vectors.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = HNSW_BUILD, HNSW_SEARCH
        index.add(self.vectors)
        if cache is not None:
            _keep(index, cache, digest)
        return index


def load_roles(registry: Registry, encoder: str) -> Roles:
    """The prototypes of every ready character.

    Raises:
        EncoderMismatch: some were made by another encoder.
    """
    refuse_another_encoder(registry, encoder)
    query = ("SELECT character_id, kind, vector FROM prototype JOIN character ON character.id = character_id "
             "WHERE status = 'ready' ORDER BY character_id, prototype.id")  # fmt: skip
    with registry.reading() as session:
        found = list(fetched(session, query))
    vectors = stacked([row[2] for row in found])
    owners = np.array([row[0] for row in found], dtype=np.int64)
    kinds = np.array([KINDS.index(row[1]) for row in found], dtype=np.int8)
    return Roles(owners, kinds, vectors, registry.layout.gates / INDEX)


def refuse_another_encoder(registry: Registry, encoder: str) -> None:
    """Raises EncoderMismatch when a ready character was embedded by another encoder."""
    query = "SELECT name, encoder FROM character WHERE status = 'ready' AND encoder IS NOT :ours LIMIT 1"
    with registry.reading() as session:
        other = session.connection().execute(text(query), {"ours": encoder}).first()
    if other:
        raise EncoderMismatch(
            f"{other[0]} was embedded by {_short(other[1])} and this is {_short(encoder)}: use the same encoder, or "
            f"`neekoctl gate rebuild` embeds everybody anew."
        )


def _short(provenance: str | None) -> str:
    name, _, digest = (provenance or "no encoder@").rpartition("@")
    return f"{name} ({digest[:12]})"


def _spans(owners: Iterable[int]) -> dict[int, slice]:
    spans: dict[int, slice] = {}
    for row, owner in enumerate(owners):
        start = spans[int(owner)].start if int(owner) in spans else row
        spans[int(owner)] = slice(start, row + 1)
    return spans


def _cached(path: Path, digest: str) -> Any:
    """The kept index, when it is whole and of these vectors; else None."""
    import faiss

    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if note == {"vectors": digest, "file": file_digest(path)}:
            return faiss.read_index(str(path))
    except (OSError, ValueError):
        return None
    return None


def _keep(index: Any, path: Path, digest: str) -> None:
    import faiss

    note = {"vectors": digest}

    def write(made: Path) -> None:
        faiss.write_index(index, str(made))
        note["file"] = file_digest(made)  # of these bytes, whoever else writes there

    keep(path, write)
    if "file" in note:
        keep(path.with_suffix(".json"), lambda made: made.write_text(json.dumps(note), encoding="utf-8"))
