"""A registry opened on a loaded base: blocks fetched and checked, prompts formed. Everything that runs a model goes
through here. Knows nothing of commands or screens.

Torch is imported when a stage is set, not before: choosing a bank needs none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.exchanges import PromptForm
from recipes.sources import DEFAULT_BASE, SOURCES, Say, fingerprint, folder_of, local_folder, on_disk
from registry.errors import BaseError, BaseMismatch, UsageError
from registry.ranks import RankRange
from registry.store import CAPACITY, Registry
from registry.tables import Bank, Character

if TYPE_CHECKING:
    from recipes.bank import Bank as RunningBank
    from recipes.bank import Mix
    from recipes.base_model import BaseModel


@dataclass
class Stage:
    """One base model, loaded, with the bank over it."""

    registry: Registry
    row: Bank
    base: BaseModel
    bank: RunningBank
    form: PromptForm
    lying: dict[RankRange, str] = field(default_factory=dict)  # the digests of what was mounted where

    def mounted(self, character: Character, *, anew: bool = False) -> Mix:
        """The character's block, resident at its range; read from the disk when it is not, or `anew`.

        Raises:
            BlockDamaged: the files are not what was stored.
        """
        at = character.ranks
        if anew:
            self.bank.evict(at)
        return self.mount(at, character.block or "", character.name)

    def mount(self, at: RankRange, digest: str, owner: str) -> Mix:
        """The block of this digest, likewise; `owner` is named when it is damaged."""
        from recipes.block import load_block

        if not (self.bank.is_mounted(at) and self.lying.get(at) == digest):
            block = load_block(self.registry.blocks.verified(digest, owner))
            for other in self.bank.mounted:
                if other.start < at.stop and at.start < other.stop:
                    self.bank.evict(other)  # its owner has moved out: live ranges never overlap
            self.bank.mount(block, at)
            self.lying[at] = digest
        return {at: 1.0}


def canonical(registry: Registry, base: str) -> str:
    """The name under which a base is remembered: aliases and hub ids as they are, files by where their model lies."""
    if base in SOURCES or not on_disk(base).exists():
        return base
    return str(folder_of(registry.layout, base))


def choose_bank(registry: Registry, base: str | None, *, say: Say) -> Bank:
    """The bank to add to: the one over `base`, else the only one there is, else a new one over the default base,
    which is not in the database (its id is None) until `Registry.bank` puts it there.

    Raises:
        UsageError: several banks and no `base` to tell them apart.
        BaseMismatch: the model at `base` is not the one its bank was made over.
    """
    banks = registry.banks()
    if base is None and (homes := registry.banks(lived_in=True)):
        return the_one(homes)
    name = canonical(registry, base or DEFAULT_BASE)
    found = fingerprint(registry.layout, local_folder(registry.layout, base or DEFAULT_BASE, say=say))
    for bank in banks:
        if bank.fingerprint == found:
            return _followed(registry, bank, name)
    for bank in banks:  # a merged bundle may have brought another one of this name
        if bank.base == name:
            raise _mismatch(bank, found)
    return Bank(base=name, fingerprint=found, capacity=CAPACITY)


def _followed(registry: Registry, bank: Bank, name: str) -> Bank:
    """The bank, its base's place brought up to date when the base has moved to `name`."""
    return bank if _is_still_there(registry, bank) else registry.relocate(bank, name)


def _is_still_there(registry: Registry, bank: Bank) -> bool:
    """Whether the bank's base lies where it was; aliases and hub ids have no other place."""
    folder = Path(bank.base)
    if not folder.is_absolute():
        return True
    return (folder / "config.json").is_file() and fingerprint(registry.layout, folder) == bank.fingerprint


def existing_banks(registry: Registry, base: str | None) -> list[Bank]:
    """The banks to look at: the one over `base`, or all; at least one.

    Raises:
        UsageError: there is none.
    """
    banks = registry.banks(lived_in=base is None)
    if base is not None:
        name, folder = canonical(registry, base), folder_of(registry.layout, base)
        found = fingerprint(registry.layout, folder) if (folder / "config.json").is_file() else None
        same = [bank for bank in banks if bank.fingerprint == found]
        called = [bank for bank in banks if bank.base == name]
        banks = [_followed(registry, bank, name) for bank in same or called]
    if not banks:
        raise UsageError("There is no such bank yet: it is made when the first character is added.")
    return banks


def the_one(banks: list[Bank]) -> Bank:
    """The only bank of the list. Raises UsageError when there are several."""
    if len(banks) > 1:
        raise UsageError(f"There are several banks: choose with --base {' | '.join(bank.base for bank in banks)}.")
    return banks[0]


def stage_for(registry: Registry, speaker: Character | None, base: str | None, *, say: Say,
              standing: Stage | None = None) -> Stage:  # fmt: skip
    """A stage on which somebody speaks, or the base model over `base`; the `standing` one where it will do."""
    if standing is not None and (speaker is None or speaker.bank_id == standing.row.id):
        return standing
    bank = registry.bank_of(speaker) if speaker else choose_bank(registry, base, say=say)
    return set_stage(registry, bank, say=say)


def set_stage(registry: Registry, row: Bank, *, say: Say, fresh: bool = False) -> Stage:
    """Load the bank's base; `fresh` reads every byte of its weights to prove they are the bank's.

    Raises:
        BaseError: the base's folder is gone.
        BaseMismatch: the model on disk is another one now.
    """
    if Path(row.base).is_absolute() and not Path(row.base).exists():
        raise BaseError(f"The base is no longer at {row.base}: tell where it is now with `neekoctl ranks --base PATH`.")
    folder = local_folder(registry.layout, row.base, say=say)
    found = fingerprint(registry.layout, folder, fresh=fresh)
    if found != row.fingerprint:
        raise _mismatch(row, found)
    say(f"loading {row.base}")
    from recipes.bank import Bank as RunningBank
    from recipes.base_model import load_base

    base = load_base(folder, name=row.base, fingerprint=found)
    return Stage(registry, row, base, RunningBank(base), PromptForm(base.tokenizer))


def _mismatch(bank: Bank, found: str) -> BaseMismatch:
    return BaseMismatch(
        f"The base {bank.base} is not the model its bank was made over (fingerprint {found[:12]}, the bank has "
        f"{bank.fingerprint[:12]}): put the original model back, or add the new one under another path."
    )
