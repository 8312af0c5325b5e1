"""Prototypes and their index: exact, and near enough above ten thousand; a cache that never outlives its vectors."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from registry import roles as module
from registry.errors import EncoderMismatch
from registry.roles import KINDS, Roles, load_roles
from registry.store import Onboarded, Registry
from registry.tables import Prototype

DIGEST = "a" * 64


def unit(count: int, seed: int = 0, width: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def made(vectors: np.ndarray, cache: Path | None = None) -> Roles:
    owners = np.arange(len(vectors)) // 4
    return Roles(owners, np.zeros(len(vectors), dtype=np.int8), vectors, cache)


def best(vectors: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-(queries @ vectors.T), axis=1)[:, :count]


def test_below_ten_thousand_the_nearest_are_exact() -> None:
    vectors, queries = unit(300), unit(20, seed=1)
    assert np.array_equal(made(vectors).nearest(queries, 10), best(vectors, queries, 10))


def test_rows_of_an_owner_lie_together() -> None:
    roles = made(unit(12))
    assert roles.everybody == [0, 1, 2]
    assert roles.rows(1) == slice(4, 8)
    assert 2 in roles
    assert 3 not in roles


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """HNSW from a thousand vectors on."""
    monkeypatch.setattr(module, "EXACT_BELOW", 1000)


@pytest.mark.usefixtures("few")
def test_above_hnsw_finds_nearly_all_of_the_nearest() -> None:
    vectors, queries = unit(3000), unit(50, seed=1)
    found, exact = made(vectors).nearest(queries, 10), best(vectors, queries, 10)
    shared = np.mean([len(set(one) & set(two)) / 10 for one, two in zip(found, exact, strict=True)])
    assert shared > 0.95


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("harm", ["none", "cut", "gone", "note", "other-vectors"])
def test_the_index_is_a_cache_that_is_checked_and_built_anew(harm: str, tmp_path: Path, monkeypatch) -> None:
    cache, vectors, queries = tmp_path / "gates" / "roles.faiss", unit(1500), unit(5, seed=1)
    expected = made(vectors, cache).nearest(queries, 3)
    if harm == "cut":
        cache.write_bytes(cache.read_bytes()[:1000])
    elif harm == "gone":
        cache.unlink()
    elif harm == "note":
        cache.with_suffix(".json").write_text("{")
    built: list[int] = []
    monkeypatch.setattr(module, "_keep", lambda *_: built.append(1))
    if harm == "other-vectors":
        vectors = unit(1500, seed=9)
        expected = best(vectors, queries, 3)
    found = made(vectors, cache).nearest(queries, 3)
    assert bool(built) == (harm != "none")
    assert np.mean(found == expected) > 0.9


@pytest.mark.usefixtures("few")
def test_an_index_that_could_not_be_kept_is_not_certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, vectors, queries = tmp_path / "gates" / "roles.faiss", unit(1500, seed=9), unit(5, seed=1)
    made(unit(1500), cache)
    with monkeypatch.context() as full:
        full.setattr(faiss, "write_index", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        made(vectors, cache)
    assert np.mean(made(vectors, cache).nearest(queries, 3) == best(vectors, queries, 3)) > 0.9


def test_another_encoders_vectors_are_refused_with_the_way_out(registry: Registry) -> None:
    bank = registry.bank("base", "f")
    for number, encoder in enumerate(["one@1", "one@1", "two@2"]):
        held = registry.reserve(bank, f"C{number}", [], 8, "expand")
        words = [Prototype(character_id=0, kind=kind, text=kind, vector=unit(1)[0].tobytes()) for kind in KINDS]
        registry.commit(held, Onboarded(DIGEST, {}, {}, {}, {}, {}, "", 0, "", b"", encoder, prototypes=words))
        if number == 1:
            roles = load_roles(registry, "one@1")
            assert roles.vectors.shape == (6, 16)
            assert [KINDS[kind] for kind in roles.kinds[:3]] == list(KINDS)
    with pytest.raises(EncoderMismatch, match="C2 was embedded by two.*gate rebuild"):
        load_roles(registry, "one@1")
    registry.remove(registry.find("C2"))
    assert load_roles(registry, "one@1").everybody == roles.everybody
