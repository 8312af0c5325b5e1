"""Whose role embeddings lie nearest, among the residents of one bank: exact, by FAISS.
Knows vectors and rows; nothing of personas, weights or blocks.

The database is the truth. Reading ten thousand embeddings out of it takes longer than the search, so from two thousand
residents on they are kept in a file beside the gate's. The file may be behind: who has come since is read from the
database, who has left is passed over, and what is told of those found is read from their rows. Where these say
otherwise than the file, it is of another registry or damaged, and is written anew.
"""

from dataclasses import dataclass

import numpy as np

from registry.caches import keep
from registry.moves import fetched
from registry.store import Registry
from registry.tables import Bank
from registry.vectors import from_bytes, stacked

KEPT_FROM = 2_000  # residents; fewer are read in a few milliseconds
BEHIND_AT_MOST = 256  # newcomers that the file may lack before it is written anew
ROUNDING = 1e-4  # of a cosine, by which a row and its copy may differ
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
    live = _residents(registry, bank, encoder)
    if not len(live):
        return []
    kept = _kept(registry, bank, encoder, len(vector)) if len(live) >= KEPT_FROM else None
    if kept is not None and len(missing := np.setdiff1d(live, kept.ids, assume_unique=True)) <= BEHIND_AT_MOST:
        known = kept.and_those(_read(registry, missing)) if len(missing) else kept
        found, agrees = _searched(registry, known, live, vector, count)
        if agrees:
            return found
    everybody = _read(registry, live)
    if len(live) >= KEPT_FROM:
        _keep(registry, bank, encoder, everybody)
    return _searched(registry, everybody, live, vector, count)[0]


def _searched(
    registry: Registry, known: Embeddings, live: np.ndarray, vector: np.ndarray, count: int
) -> tuple[list[Near], bool]:
    """The nearest residents as their rows tell, and whether the rows agree with what was searched."""
    import faiss

    left = int(np.isin(known.ids, live, invert=True).sum())
    wanted = min(count + left, len(known.ids))
    query = np.ascontiguousarray(vector[None], dtype=np.float32)
    cosines, rows = faiss.knn(query, known.vectors, wanted, faiss.METRIC_INNER_PRODUCT)
    searched = dict(zip(known.ids[rows[0]].tolist(), cosines[0].tolist(), strict=True))
    told = _told(registry, list(searched), vector)
    agrees = all(abs(near.similarity - searched[owner]) < ROUNDING for owner, near in told.items())
    return sorted(told.values(), key=lambda near: (-near.similarity, near.name))[:count], agrees


def _residents(registry: Registry, bank: Bank, encoder: str) -> np.ndarray:
    """Their numbers, from the index alone."""
    with registry.reading() as session:
        found = list(fetched(session, f"SELECT id FROM character WHERE {READY} ORDER BY id", (bank.id, encoder)))
    return np.fromiter((row[0] for row in found), dtype=np.int64, count=len(found))


def _read(registry: Registry, ids: np.ndarray) -> Embeddings:
    """From the rows, in the order of the numbers."""
    found: list[tuple[int, bytes]] = []
    with registry.reading() as session:
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500].tolist()
            marks = ", ".join("?" * len(some))
            query = f"SELECT id, role_embedding FROM character WHERE id IN ({marks}) ORDER BY id"
            found += [(row[0], row[1]) for row in fetched(session, query, some) if row[1] is not None]
    return Embeddings(np.array([row[0] for row in found], dtype=np.int64), stacked([row[1] for row in found]))


def _told(registry: Registry, ids: list[int], vector: np.ndarray) -> dict[int, Near]:
    """Those of the numbers who are residents, with what their rows say."""
    marks = ", ".join("?" * len(ids))
    query = f"SELECT id, name, role_embedding FROM character WHERE id IN ({marks}) AND status = 'ready'"
    with registry.reading() as session:
        rows = list(fetched(session, query, ids))
    return {owner: Near(name, float(from_bytes(blob) @ vector)) for owner, name, blob in rows}


# the file


def _kept(registry: Registry, bank: Bank, encoder: str, width: int) -> Embeddings | None:
    """What was kept for this bank and encoder; None when there is nothing that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(registry.layout.roles(bank.id or 0), "np") as file:
            if file.metadata() != {"encoder": encoder}:
                return None
            kept = Embeddings(file.get_tensor("ids"), file.get_tensor("vectors"))
    except (OSError, SafetensorError):
        return None
    return kept if kept.vectors.shape == (len(kept.ids), width) else None


def _keep(registry: Registry, bank: Bank, encoder: str, everybody: Embeddings) -> None:
    from safetensors.numpy import save_file

    tensors = {"ids": everybody.ids, "vectors": np.ascontiguousarray(everybody.vectors)}
    keep(registry.layout.roles(bank.id or 0), lambda made: save_file(tensors, made, {"encoder": encoder}))
