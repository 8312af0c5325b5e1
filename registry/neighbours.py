"""Whose role embeddings lie nearest, among the residents of one bank: exact, by FAISS.
Knows vectors and rows; nothing of personas, weights or blocks.

The database is the truth. Reading ten thousand embeddings out of it takes longer than the search, so from two thousand
residents on they are kept in a file beside the gate's. The file may be behind: who has come since is read from the
database, who has left is passed over, and what is told of those found is read from their rows.
"""

from dataclasses import dataclass

import numpy as np

from registry.store import Registry
from registry.tables import Bank

KEPT_FROM = 2_000  # residents; fewer are read in a few milliseconds
BEHIND_AT_MOST = 256  # newcomers that the file may lack before it is written anew
READY = "bank_id = ? AND encoder = ? AND status = 'ready'"  # spelt as in the partial index `residents`


@dataclass(frozen=True)
class Near:
    """A resident, and the cosine of its role embedding with the one asked about."""

    name: str
    similarity: float


@dataclass(frozen=True)
class Embeddings:
    """Role embeddings by character number."""

    ids: np.ndarray  # (n,)
    vectors: np.ndarray  # (n, d)

    def and_those(self, others: "Embeddings") -> "Embeddings":
        return Embeddings(np.concatenate([self.ids, others.ids]), np.concatenate([self.vectors, others.vectors]))


def nearest(registry: Registry, bank: Bank, encoder: str, vector: np.ndarray, count: int) -> list[Near]:
    """At most `count` residents, the nearest first; `vector` (d,) is of unit length, from the same encoder."""
    import faiss

    live = _residents(registry, bank, encoder)
    if not len(live):
        return []
    known = _embeddings(registry, bank, encoder, live)
    left = int(np.isin(known.ids, live, invert=True).sum())
    wanted = min(count + left, len(known.ids))
    _, rows = faiss.knn(vector[None].astype(np.float32), known.vectors, wanted, faiss.METRIC_INNER_PRODUCT)
    return _told(registry, known.ids[rows[0]], vector)[:count]


def _residents(registry: Registry, bank: Bank, encoder: str) -> np.ndarray:
    """Their numbers, from the index alone."""
    with registry.reading() as session:
        cursor = session.connection().connection.cursor()
        found = cursor.execute(f"SELECT id FROM character WHERE {READY} ORDER BY id", (bank.id, encoder)).fetchall()
    return np.fromiter((row[0] for row in found), dtype=np.int64, count=len(found))


def _embeddings(registry: Registry, bank: Bank, encoder: str, live: np.ndarray) -> Embeddings:
    """Everybody's, and perhaps those of some who have left."""
    if len(live) < KEPT_FROM:
        return _read(registry, live)
    kept = _kept(registry, bank, encoder)
    missing = live if kept is None else np.setdiff1d(live, kept.ids, assume_unique=True)
    if kept is not None and len(missing) <= BEHIND_AT_MOST:
        return kept.and_those(_read(registry, missing)) if len(missing) else kept
    everybody = _read(registry, live)
    _keep(registry, bank, encoder, everybody)
    return everybody


def _read(registry: Registry, ids: np.ndarray) -> Embeddings:
    """From the rows, in the order of the numbers."""
    found: list[tuple[int, bytes]] = []
    with registry.reading() as session:
        cursor = session.connection().connection.cursor()
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500].tolist()
            marks = ", ".join("?" * len(some))
            query = f"SELECT id, role_embedding FROM character WHERE id IN ({marks}) ORDER BY id"
            found += [row for row in cursor.execute(query, some) if row[1] is not None]
    vectors = np.frombuffer(b"".join(row[1] for row in found), dtype="<f4").reshape(len(found), -1)
    return Embeddings(np.array([row[0] for row in found], dtype=np.int64), vectors)


def _told(registry: Registry, ids: np.ndarray, vector: np.ndarray) -> list[Near]:
    """Those of the numbers who are residents, the nearest first, with what their rows say."""
    with registry.reading() as session:
        cursor = session.connection().connection.cursor()
        marks = ", ".join("?" * len(ids))
        query = f"SELECT name, role_embedding FROM character WHERE id IN ({marks}) AND status = 'ready'"
        rows = cursor.execute(query, ids.tolist()).fetchall()
    found = [Near(name, float(np.frombuffer(blob, dtype="<f4") @ vector)) for name, blob in rows]
    return sorted(found, key=lambda near: (-near.similarity, near.name))


# the file


def _kept(registry: Registry, bank: Bank, encoder: str) -> Embeddings | None:
    """What was kept for this bank and encoder; None when there is nothing that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(registry.layout.roles(bank.id or 0), "np") as file:
            if file.metadata() != {"encoder": encoder}:
                return None
            kept = Embeddings(file.get_tensor("ids"), file.get_tensor("vectors"))
    except (OSError, SafetensorError):
        return None
    return kept if kept.vectors.ndim == 2 and kept.ids.shape == kept.vectors.shape[:1] else None


def _keep(registry: Registry, bank: Bank, encoder: str, everybody: Embeddings) -> None:
    from safetensors.numpy import save_file

    path = registry.layout.roles(bank.id or 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({"ids": everybody.ids, "vectors": np.ascontiguousarray(everybody.vectors)}, partial, {"encoder": encoder})
    partial.replace(path)
