"""The seal: what was true of a character when it moved in, as digests, and what is no longer so.
Knows rows and the files of blocks; nothing of models. A seal finds accidents and careless edits, not a forger.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from registry.blocks import FILES, BlockStore, file_digest, folder_digest
from registry.tables import Character, Probe

EDITED = {
    "record": "its record (name, system message, seed or recipe) was edited in the database",
    "probes": "a probe was edited in the database",
    "baseline": "the recorded baseline was edited in the database",
    "identity": "its description or environment was edited in the database",
}
LATER = ("identity",)  # a seal made before these were sealed says nothing of them


def seal(row: Character, probes: Sequence[Probe], blocks: BlockStore) -> dict[str, Any]:
    """What `broken` compares with; the block must be in the store, or its files are left out."""
    folder = blocks.path(row.block or "")
    present = all((folder / name).is_file() for name in FILES)
    files = {name: file_digest(folder / name) for name in FILES} if present else {}
    return {"block": row.block, "files": files, **records(row, probes)}


def records(row: Character, probes: Sequence[Probe]) -> dict[str, str]:
    return {
        "record": digest([row.name, row.system_message, row.seed, row.recipe]),
        "probes": digest([[probe.prompt, probe.reference] for probe in probes]),
        "baseline": digest([[probe.nll, probe.tokens, probe.reply] for probe in probes]),
        "identity": digest([row.description, row.environment]),
    }


def digest(value: Any) -> str:
    """sha256 of a value as JSON: what a seal keeps of it."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def broken(row: Character, probes: Sequence[Probe], blocks: BlockStore) -> dict[str, str]:
    """What of a character is not as sealed, and how, in words: its files, block, record, probes, baseline, identity."""
    kept, now = row.seal, records(row, probes)
    found = {} if blocks.is_whole(row.block or "") else {"files": _files_in_words(row, blocks)}
    if kept.get("block") != row.block:
        found["block"] = f"its record points to another block{_owner_in_words(row, blocks)}"
    sealed = {part: words for part, words in EDITED.items() if part not in LATER or part in kept}
    return found | {part: words for part, words in sealed.items() if kept.get(part) != now[part]}


def _files_in_words(row: Character, blocks: BlockStore) -> str:
    """What is wrong with the files of a block that is not whole."""
    folder = blocks.path(row.block or "")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        return f"{', '.join(missing)} of its block {'is' if len(missing) == 1 else 'are'} missing"
    try:
        return _change_in_words(row, blocks, folder)
    except OSError as error:
        return f"its block cannot be read ({error.strerror})"


def _change_in_words(row: Character, blocks: BlockStore, folder: Path) -> str:
    if blocks.path(folder_digest(folder)).is_dir():
        return f"another block lies in its block's place{_owner_in_words(row, blocks)}"
    kept = row.seal.get("files", {})
    changed = [name for name in FILES if kept.get(name) != file_digest(folder / name)] if kept else ["a file"]
    return f"{', '.join(changed)} of its block changed{_alpha_in_words(row, blocks)}"


def _alpha_in_words(row: Character, blocks: BlockStore) -> str:
    """Rank and alpha scale a block: when they are what changed, it is said."""
    try:
        config = json.loads((blocks.path(row.block or "") / "adapter_config.json").read_text(encoding="utf-8"))
        now = {"rank": float(config["r"]), "alpha": float(config["lora_alpha"])}
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    moved = [f"{key} {row.recipe[key]:g} became {value:g}" for key, value in now.items()
             if row.recipe.get(key) not in (None, value)]  # fmt: skip
    return f" ({', '.join(moved)})" if moved else ""


def _owner_in_words(row: Character, blocks: BlockStore) -> str:
    """Whose block lies where this character's should."""
    try:
        card = json.loads((blocks.path(row.block or "") / "neeko.json").read_text(encoding="utf-8"))
        return f": that of {card['name']}" if card["name"] != row.name else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
