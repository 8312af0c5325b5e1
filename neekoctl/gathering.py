"""Whom a cohort is trained on: residents and profiles of newcomers, every part of the request found good before
anything is loaded. Knows the registry; nothing of networks, Typer or the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from neekoctl.candidate import Candidate
from neekoctl.checks.tolerances import Tolerances
from neekoctl.planning import namesake
from neekoctl.scaffold import UNFINISHED, is_unfinished
from neekoctl.stage import choose_bank, existing_banks
from neekoctl.underway import Screen
from recipes.cohort_recipe import CohortRecipe, load_cohort_recipe
from registry.cohorts import cohorts, dialogues, refuse_bad_name, versions
from registry.errors import UsageError
from registry.heldout import refuse_nothing_to_learn, split
from registry.names import fold
from registry.profile import Profile, load_profile
from registry.seals import digest
from registry.store import Registry
from registry.tables import Bank, Character, Dialogue

if TYPE_CHECKING:
    from recipes.task import Made

Person = tuple[Profile, Character | None]  # and the resident whom it replaces


@dataclass(frozen=True)
class Wanted:
    """What the user asks for; `characters` are names of residents or profile files."""

    name: str
    characters: tuple[str, ...]
    kind: str = "hycora"
    changes: tuple[str, ...] = ()
    rank: int | None = None
    seed: int = 0
    resume: bool = False
    base: str | None = None
    encoder: str | None = None
    accept_gate: bool = False
    allowed: Tolerances = Tolerances()  # what an upgrade may lose


@dataclass(frozen=True, kw_only=True)
class Recruit(Candidate):
    """A member to be."""

    kind: str  # of the cohort, which is its preset

    def kept(self, made: Made) -> dict[str, Any]:
        return {"preset": self.kind, **super().kept(made)}


@dataclass(frozen=True)
class Group:
    """Whom a cohort is trained on, every part found good."""

    wanted: Wanted
    recipe: CohortRecipe
    bank: Bank
    candidates: list[Recruit]
    upgrades: bool = False  # a cohort that is there

    def digest(self, encoder: str | None) -> str:
        """Names the run: the same data, settings but for step sizes, seed, base, and encoder where personas are read
        continue the same checkpoint."""
        settings = {key: value for key, value in self.recipe.model_dump().items()
                    if key != "learning_rate" and not key.startswith("pace_")}  # fmt: skip
        parts = [[each.profile.digests() for each in self.candidates], settings, self.wanted.seed,
                 self.bank.fingerprint, encoder]  # fmt: skip
        return digest(parts)


def gather(registry: Registry, wanted: Wanted, screen: Screen) -> Group:
    """Check a request for a new cohort.

    Raises:
        NeekoError: the first thing found that cannot be.
    """
    refuse_bad_name(wanted.name)
    if cohorts(registry, wanted.name):
        raise UsageError(f"There is a cohort {wanted.name} already: `neekoctl cohort upgrade {wanted.name}` trains its "
                         f"next version, and another name makes another one.")  # fmt: skip
    recipe = load_cohort_recipe(wanted.kind, wanted.changes, wanted.rank)
    people = [_member(registry, word) for word in dict.fromkeys(wanted.characters)]
    return _group(registry, wanted, recipe, people, screen)


def again(registry: Registry, wanted: Wanted, screen: Screen, seed: int | None = None) -> Group:
    """A new version of a cohort: the same kind, base, settings and seed but for the changes, its members who still
    live over it, and whoever is named beside them.

    Raises:
        NeekoError: there is no such cohort, or the first thing found that cannot be.
    """
    last = versions(registry, wanted.name)[-1]
    bank = registry.bank_of(last)
    here = {fold(row.name): row for row in registry.residents(bank=bank)}
    named = [_member(registry, word) for word in dict.fromkeys(wanted.characters)]
    anew = {fold(profile.name) for profile, _ in named}  # who comes with another profile
    settings = (f"{key}={value}" for key, value in last.recipe.items() if value is not None)
    recipe = load_cohort_recipe(last.kind, [*settings, *wanted.changes])
    stay = [here[key] for each in last.members if (key := fold(each["name"])) in here.keys() - anew]
    if gone := [each["name"] for each in last.members if fold(each["name"]) not in here.keys() | anew]:
        screen.say(f"not over {bank.base} any more, so not in the next version: {', '.join(gone)}")
    people = [*_learners(registry, stay, screen), *named]
    asked = replace(wanted, kind=last.kind, base=bank.base, seed=last.seed if seed is None else seed)
    return replace(_group(registry, asked, recipe, people, screen), upgrades=True)


def _group(registry: Registry, wanted: Wanted, recipe: CohortRecipe, people: Sequence[Person], screen: Screen) -> Group:
    """Whether these can be trained together."""
    names = [fold(profile.name) for profile, _ in people]
    if len(set(names)) < 2:
        raise UsageError("A cohort is of two characters at least: name them with --character A --character B.")
    if twice := [profile.name for profile, _ in people if names.count(fold(profile.name)) > 1]:
        raise UsageError(f"{twice[0]} is named twice: leave one out.")
    _refuse_one_handle_for_two([profile for profile, _ in people])
    if any(is_unfinished(profile) for profile, _ in people):
        screen.say(UNFINISHED)
    bank = _bank(registry, wanted, [row for _, row in people if row], screen)
    return Group(wanted, recipe, bank, [_recruit(registry, wanted, recipe, bank, *each) for each in people])


def _refuse_one_handle_for_two(profiles: Sequence[Profile]) -> None:
    owners: dict[str, str] = {}
    for profile in profiles:
        for handle in profile.handles:
            if (owner := owners.setdefault(fold(handle), profile.name)) != profile.name:
                raise UsageError(f"{owner} and {profile.name} would both answer to {handle!r}: change one of them.")


def _recruit(registry: Registry, wanted: Wanted, recipe: CohortRecipe, bank: Bank, profile: Profile,
             row: Character | None) -> Recruit:  # fmt: skip
    registry.refuse_taken([profile.name, *profile.aliases], row)
    parts = split(profile.dialogues)
    refuse_nothing_to_learn(profile.name, parts.train)
    return Recruit(kind=wanted.kind, profile=profile, recipe=recipe, split=parts, bank=bank, seed=wanted.seed,
                   replaced=row)  # fmt: skip


def _member(registry: Registry, word: str) -> Person:
    """A profile file, or a resident as its profile was."""
    if (Path(word).is_file() or Path(word).suffix in (".yaml", ".yml", ".json")) and not registry.answers_to(word):
        profile = load_profile(Path(word))
        return profile, namesake(registry, profile)
    return _resident(registry, registry.resident(word))


def _resident(registry: Registry, row: Character) -> Person:
    talks = dialogues(registry, row)
    if not talks:
        raise UsageError(f"No dialogues of {row.name} are kept: name its profile file instead.")
    return _as_it_was(row, talks)


def _as_it_was(row: Character, kept: Sequence[Dialogue]) -> Person:
    """A resident's profile from what is kept of it."""
    talks = [{"messages": each.messages} for each in kept]
    try:
        return Profile.model_validate({**row.description, "dialogues": talks}), row
    except ValidationError:  # of a bundle, or of a time when less was asked of a profile
        raise UsageError(f"The profile that is kept of {row.name} is no valid one: name its file instead.") from None


def _learners(registry: Registry, members: Sequence[Character], screen: Screen) -> list[Person]:
    """Those who have something to learn from still; who has not is told, and stays out."""
    whole = [_as_it_was(row, talks) for row in members if (talks := dialogues(registry, row))]
    found = [(profile, row) for profile, row in whole if split(profile.dialogues).train]
    if idle := {row.name for row in members} - {profile.name for profile, _ in found}:
        screen.say(f"nothing to learn from any more, so not in the next version: {', '.join(sorted(idle))}")
    return found


def _over(registry: Registry, base: str | None) -> set[int | None]:
    """The banks over a base, or all; none where there is none yet."""
    try:
        return {bank.id for bank in existing_banks(registry, base)}
    except UsageError:
        return set()


def _bank(registry: Registry, wanted: Wanted, residents: Sequence[Character], screen: Screen) -> Bank:
    """The bank they all live in, else the one that newcomers would."""
    if len({row.bank_id for row in residents}) > 1:
        raise UsageError("A cohort is over one base model, and these live over different ones: name others.")
    if not residents:
        return choose_bank(registry, wanted.base, say=screen.say)
    home = registry.bank_of(residents[0])
    if home.id not in _over(registry, wanted.base):
        raise UsageError(f"{residents[0].name} lives over {home.base}, and the cohort is to be over {wanted.base}: "
                         f"name others, or train one over {home.base} (leave --base out).")  # fmt: skip
    return home
