"""Registries full of characters that were never trained, for measuring the registry alone."""

import numpy as np

from registry.store import Onboarded, Registry
from registry.tables import Bank, Character

FINGERPRINT = "0" * 64


def bank(registry: Registry, capacity: int = 1_000_000) -> Bank:
    return registry.bank("nowhere", FINGERPRINT, capacity)


def populate(registry: Registry, count: int) -> None:
    """`count` ready characters of rank 8, each with an alias and a persona."""
    row = bank(registry)
    for number in range(count):
        held = registry.reserve(row, f"Character {number}", [f"Alias {number}"], 8, "expand")
        registry.commit(held, onboarded(number))


def onboarded(number: int) -> Onboarded:
    return Onboarded(
        block=f"{number:064x}", description={"name": f"Character {number}", "persona": "Somebody. " * 60}, recipe={},
        metrics={}, environment={}, data_digests={}, system_message="", seed=0, reason="", role_embedding=bytes(1536),
        encoder="none@0",
    )  # fmt: skip


def crowd(registry: Registry, count: int, width: int, encoder: str) -> None:
    """`count` ready characters of one rank with random role embeddings, written at once."""
    row, order = bank(registry), np.random.default_rng(0)
    vectors = order.standard_normal((count, width)).astype("<f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with registry.writing() as session:
        for number, vector in enumerate(vectors):
            made = onboarded(number)
            session.add(Character(bank_id=row.id, name=f"Character {number}", start=number, stop=number + 1,
                                  status="ready", strategy="expand", block=made.block, description=made.description,
                                  role_embedding=vector.tobytes(), encoder=encoder))  # fmt: skip
