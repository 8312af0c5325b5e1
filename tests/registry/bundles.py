"""Registries to put into bundles, and bundles that an enemy might make."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlmodel import text

from registry.bundle import save
from registry.gates import put_gate
from registry.layout import Layout
from registry.store import Onboarded, Registry
from registry.tables import Character, Parent, Probe, Prototype, Reading

ENCODER = "encoder@1"
Members = dict[str, bytes]
Change = Callable[[dict[str, Any], Members], object]


def vector(seed: int = 0, size: int = 4) -> bytes:
    """(size,) of unit length."""
    found = np.random.default_rng(seed).normal(size=size)
    return (found / np.linalg.norm(found)).astype("<f4").tobytes()


def move_in(
    registry: Registry, name: str, *aliases: str, rank: int = 8, encoder: str = ENCODER, base: str = "1", size: int = 4
) -> Character:
    """Somebody with everything that a character can have, and three files for a block."""
    held = registry.reserve(registry.bank("base", base, capacity=64), name, list(aliases), rank, "expand")
    with registry.blocks.making() as folder:
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
        (folder / "adapter_model.safetensors").write_text(f"{name}'s weights")
        (folder / "neeko.json").write_text(json.dumps({"name": name, "base_fingerprint": base}))
        block = registry.blocks.put(folder)
    made = Onboarded(
        block, {"name": name, "aliases": list(aliases), "persona": f"{name} é\n蚁"}, {"rank": rank},
        {"nll_before": 2.5, "odd": float("inf")}, {"torch": "2"}, {"dialogues": "0" * 64}, f"You are {name}.", 3, "why",
        vector(1, size), encoder,
        probes=[Probe(character_id=0, position=place, prompt=[{"role": "user", "content": f"Who {place}?"}],
                      reference=name, nll=0.1 + place, tokens=3, reply=[1, 2], reply_text="ab\x01",
                      vector=vector(2 + place, size), routed=name) for place in range(2)],
        parents=[Parent(character_id=0, name="Eve", block="e" * 64, weight=-0.5)],
        prototypes=[Prototype(character_id=0, kind="persona", text=name, vector=vector(9, size))],
        others=2, identical=2, evidence={"changed": []},
    )  # fmt: skip
    return registry.commit(held, made)


def read_on(registry: Registry, row: Character, revision: int) -> None:
    """A reading of somebody at a revision."""
    with registry.writing() as session:
        session.add(Reading(character_id=row.id, revision=revision, probes=2, nll=1.5, baseline=1.5, found=2,
                            distinctness={"f" * 64: [0.5]}))  # fmt: skip


def put_head(registry: Registry, content: bytes) -> int:
    """A version of the gate in use that has learned something."""
    version = put_gate(registry, ENCODER, {"prototypes": {"nobody": 0.5}}, {"questions": 2}).version or 0
    path = registry.layout.head(version)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return version


def village(registry: Registry) -> None:
    """Ant and Cub live here, Bee did; two gates, the second in use, and readings of Ant."""
    ant = move_in(registry, "Ant", "Formica")
    put_gate(registry, ENCODER, {}, {})
    bee = move_in(registry, "Bee", rank=4)
    read_on(registry, ant, 1)
    registry.remove(bee)
    move_in(registry, "Cub", "Little Bear")
    read_on(registry, ant, 4)
    put_head(registry, b"learned")


def contents(registry: Registry) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table as SQLite has it, and every block and head."""
    tables = ("bank", "gate", "character", "revision", "handle", "probe", "prototype", "parent", "certificate",
              "reading")  # fmt: skip
    with registry.engine.connect() as connection:
        found = {name: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {name} ORDER BY rowid"))]
                 for name in tables}  # fmt: skip
    files = {str(path.relative_to(registry.layout.home)): path.read_bytes()
             for top in (registry.layout.blocks, registry.layout.gates, registry.layout.scratch)
             for path in top.rglob("*") if path.is_file()}  # fmt: skip
    return {**found, "files": sorted(files.items())}


def saved(registry: Registry, path: Path, **options: Any) -> Path:
    save(registry, path, program="0.1.0", **options)
    return path


def another(tmp_path: Path) -> Registry:
    """An empty registry elsewhere."""
    return Registry(Layout(tmp_path / "elsewhere"))


def unzipped(path: Path) -> tuple[dict[str, Any], Members]:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(members.pop("bundle.json")), members


def forged(good: Path, change: Change) -> Path:
    """A bundle with a changed manifest or members, all digests right again: `change` alone is what is wrong."""
    manifest, members = unzipped(good)
    change(manifest, members)
    manifest["members"] = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    path = good.with_name("forged.neeko")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, "bundle.json": json.dumps(manifest).encode()}.items():
            archive.writestr(name, data)
    return path
