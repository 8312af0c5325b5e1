"""Faults to put into an inhabited registry, and the check asked about them."""

import json
from typing import Any

from sqlmodel import Session, select

from registry.seals import seal
from registry.store import Registry
from registry.tables import Character, Handle, Probe


def checked(neekoctl: Any, *options: object) -> dict[str, Any]:
    """The document of a check that ended as its verdict says."""
    done = neekoctl("check", *options, "--json")
    document: dict[str, Any] = done.document
    assert done.code == (3 if document["verdict"] == "regressed" else 0)
    return document


def complaints(document: dict[str, Any], section: str) -> dict[str, list[str]]:
    """Who is complained of in a section, and how."""
    return {row["name"]: row["complaints"][section] for row in document["characters"] if row["complaints"][section]}


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {name: section["verdict"] for name, section in document["sections"].items()}


def flip_a_byte(registry: Registry) -> None:
    path = registry.blocks.path(registry.find("Bee").block or "") / "adapter_model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def change_alpha(registry: Registry) -> None:
    path = registry.blocks.path(registry.find("Bee").block or "") / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]}))


def lose_a_file(registry: Registry) -> None:
    (registry.blocks.path(registry.find("Bee").block or "") / "neeko.json").unlink()


def swap_folders(registry: Registry) -> None:
    one, two = (registry.blocks.path(registry.find(name).block or "") for name in ("Bee", "Cub"))
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def swap_pointers(registry: Registry) -> None:
    with registry.writing() as session:
        bee, cub = (row_of(session, name) for name in ("Bee", "Cub"))
        bee.block, cub.block = cub.block, bee.block


def edit_a_probe(registry: Registry) -> None:
    with registry.writing() as session:
        a_probe(session).reference = "Bee says rain, rain!"


def edit_the_baseline(registry: Registry) -> None:
    with registry.writing() as session:
        a_probe(session).nll += 0.5


def edit_a_reply(registry: Registry) -> None:
    with registry.writing() as session:
        a_probe(session).reply = [1, 2, 3]


def edit_the_system_message(registry: Registry) -> None:
    with registry.writing() as session:
        row_of(session, "Bee").system_message = "You are somebody else."


def take_an_alias(registry: Registry) -> None:
    with registry.writing() as session:
        session.delete(session.exec(select(Handle).where(Handle.text == "Bee")).one())


def edit_the_persona(registry: Registry) -> None:
    with registry.writing() as session:
        row = row_of(session, "Bee")
        row.description = {**row.description, "persona": "Somebody else."}


def row_of(session: Session, name: str) -> Character:
    return session.exec(select(Character).where(Character.name == name)).one()


def a_probe(session: Session) -> Probe:
    row = row_of(session, "Bee")
    return session.exec(select(Probe).where(Probe.character_id == row.id)).all()[0]


def overwrite_with(registry: Registry, name: str, other: str) -> None:
    """Let a character answer with another's block, seal and all."""
    probes = registry.probes(registry.find(name))
    with registry.writing() as session:
        row = row_of(session, name)
        row.block = row_of(session, other).block
        row.seal = seal(row, probes, registry.blocks)
