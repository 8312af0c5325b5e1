"""Who lies nearest: exact whatever the file of embeddings holds, and only among the residents of the bank."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from registry import neighbours as module
from registry.neighbours import nearest
from registry.store import Onboarded, Registry
from registry.tables import Bank

ENCODER = "encoder@1"


def unit(count: int, seed: int = 0, width: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def settle(registry: Registry, bank: Bank, vectors: np.ndarray, *, first: int = 0, encoder: str = ENCODER) -> None:
    for number, vector in enumerate(vectors, start=first):
        held = registry.reserve(bank, f"{bank.id}:{number}", [], 1, "expand")
        made = Onboarded(f"{number:064x}", {}, {}, {}, {}, {}, "", 0, "", vector.tobytes(), encoder)
        registry.commit(held, made)


@pytest.fixture
def bank(registry: Registry) -> Bank:
    return registry.bank("base", "1")


def names(registry: Registry, bank: Bank, vector: np.ndarray, count: int) -> list[str]:
    return [each.name for each in nearest(registry, bank, ENCODER, vector, count)]


def exact(vectors: np.ndarray, vector: np.ndarray, count: int) -> list[str]:
    return [f"1:{row}" for row in np.argsort(-(vectors @ vector))[:count]]


@pytest.fixture(params=["from the rows", "from the file"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that embeddings are read."""
    if request.param == "from the file":
        monkeypatch.setattr(module, "KEPT_FROM", 10)


@pytest.mark.usefixtures("kept")
def test_the_nearest_come_first_with_their_cosines(registry: Registry, bank: Bank) -> None:
    vectors, (query,) = unit(40), unit(1, seed=1)
    settle(registry, bank, vectors)
    found = nearest(registry, bank, ENCODER, query, 3)
    assert [each.name for each in found] == exact(vectors, query, 3)
    assert [each.similarity for each in found] == pytest.approx(sorted(vectors @ query)[::-1][:3], abs=1e-6)


@pytest.mark.usefixtures("kept")
def test_fewer_residents_than_asked_for_are_all_given(registry: Registry, bank: Bank) -> None:
    settle(registry, bank, unit(2))
    assert len(nearest(registry, bank, ENCODER, unit(1)[0], 5)) == 2


def test_an_empty_bank_has_no_neighbours(registry: Registry, bank: Bank) -> None:
    assert nearest(registry, bank, ENCODER, unit(1)[0], 3) == []


def test_residents_of_another_bank_or_encoder_are_strangers(registry: Registry, bank: Bank) -> None:
    other = registry.bank("other", "2")
    query = unit(1)[0]
    settle(registry, bank, unit(3, seed=2))
    settle(registry, other, query[None])
    settle(registry, bank, query[None], first=3, encoder="another@2")
    assert set(names(registry, bank, query, 5)) == {"1:0", "1:1", "1:2"}


@pytest.mark.usefixtures("kept")
def test_whoever_came_or_left_since_is_known(registry: Registry, bank: Bank) -> None:
    """The file is written once and not again: those after it come from the rows, those gone are passed over."""
    vectors, (query,) = unit(40), unit(1, seed=1)
    settle(registry, bank, vectors[:30])
    first = names(registry, bank, query, 3)
    settle(registry, bank, vectors[30:], first=30)
    assert names(registry, bank, query, 3) == exact(vectors, query, 3)
    registry.remove(registry.find(first[0]))
    stayed = [name for name in exact(vectors, query, 5) if name != first[0]]
    assert names(registry, bank, query, 3) == stayed[:3]


@pytest.mark.parametrize("harm", ["gone", "cut", "other", "behind"])
def test_a_file_that_cannot_serve_is_written_anew(harm: str, registry: Registry, bank: Bank, monkeypatch) -> None:
    monkeypatch.setattr(module, "KEPT_FROM", 10)
    vectors, (query,) = unit(20), unit(1, seed=1)
    settle(registry, bank, vectors)
    names(registry, bank, query, 3)
    path = registry.layout.roles(bank.id or 0)
    stood = path.stat().st_mtime_ns
    _harm(harm, path, monkeypatch)
    if harm == "behind":
        settle(registry, bank, unit(2, seed=5), first=20)
        vectors = np.concatenate([vectors, unit(2, seed=5)])
    assert names(registry, bank, query, 3) == exact(vectors, query, 3)
    assert path.stat().st_mtime_ns != stood


def _harm(harm: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif harm == "other":
        from safetensors.numpy import save_file

        save_file({"ids": np.arange(20), "vectors": unit(20, seed=9)}, path, {"encoder": "another"})
    else:
        monkeypatch.setattr(module, "BEHIND_AT_MOST", 1)


def test_a_file_of_another_registry_is_found_out_and_written_anew(registry: Registry, bank: Bank, monkeypatch) -> None:
    from safetensors.numpy import load_file, save_file

    monkeypatch.setattr(module, "KEPT_FROM", 10)
    vectors, (query,) = unit(20), unit(1, seed=1)
    settle(registry, bank, vectors)
    path = registry.layout.roles(bank.id or 0)
    path.parent.mkdir(parents=True)
    ids = np.array([row.id for row in registry.characters()])
    save_file({"ids": ids, "vectors": unit(20, seed=9)}, path, {"encoder": ENCODER})
    assert names(registry, bank, query, 3) == exact(vectors, query, 3)
    assert np.array_equal(load_file(path)["vectors"], vectors)


def test_a_folder_that_cannot_be_written_only_costs_time(registry: Registry, bank: Bank, monkeypatch) -> None:
    monkeypatch.setattr(module, "KEPT_FROM", 10)
    vectors, (query,) = unit(20), unit(1, seed=1)
    settle(registry, bank, vectors)
    registry.layout.roles(bank.id or 0).parent.write_text("in the way")
    assert names(registry, bank, query, 3) == exact(vectors, query, 3)


def test_a_reservation_is_nobodys_neighbour(registry: Registry, bank: Bank) -> None:
    settle(registry, bank, unit(1))
    registry.reserve(bank, "Newcomer", [], 1, "fuse")
    assert names(registry, bank, unit(1)[0], 5) == ["1:0"]
    assert replace(nearest(registry, bank, ENCODER, unit(1)[0], 1)[0], name="") == module.Near("", pytest.approx(1.0))  # type: ignore[arg-type]
