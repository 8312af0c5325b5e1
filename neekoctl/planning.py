"""What an onboarding is going to do: the request checked whole, the recipe, the neighbours. Knows no transaction.

Everything that can be refused without a block's tensors is refused here, before anything is reserved; what needs no
encoder, before torch is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from neekoctl import kinship
from neekoctl.candidate import Candidate
from neekoctl.kinship import Choice, Kin
from neekoctl.request import FROM_COHORT, FROM_FUSED, FROM_SCRATCH, Request, refuse_idle_options
from neekoctl.stage import choose_bank
from recipes.recipe import Recipe
from registry.cohorts import cohorts, harm, is_whole, newest_cohort, verified_cohort
from registry.errors import UsageError
from registry.heldout import Split, refuse_nothing_to_learn, split
from registry.names import fold
from registry.profile import Profile, load_profile
from registry.seals import digest
from registry.store import Registry
from registry.tables import Bank, Character, Cohort, Prototype

if TYPE_CHECKING:
    from recipes.task import Made


@dataclass(frozen=True, kw_only=True)
class Plan(Candidate):
    """A request whose every part was found good; `kin` and the `width` of their fusion are filled once the persona is
    embedded."""

    request: Request
    choice: Choice | None  # of neighbours; None when none are wanted
    kin: tuple[Kin, ...] = ()
    width: int | None = None
    cohort: Cohort | None = None  # None when none is wanted
    after_cohort: Recipe | None = None  # of a training that starts from its block

    @property
    def digest(self) -> str:
        """Names the run: the same data, recipe but for the step size, seed, base and neighbours continue the same
        checkpoint."""
        parts = [fold(self.profile.name), self.profile.digests(), _settings(self.recipe), self.seed,
                 self.request.strategy, self.bank.fingerprint]  # fmt: skip
        parts += [[each.character.block, each.weight] for each in self.kin]
        parts += [self.cohort.digest, self.request.from_profile] if self.cohort else []
        parts += [_settings(self.after_cohort)] if self.after_cohort else []
        return digest(parts)

    @property
    def rank(self) -> int:
        """How many ranks to reserve: what is not needed in the end is given back."""
        strategy, written = self.request.strategy, int(self.cohort.recipe["rank"]) if self.cohort else 0
        if strategy == "hyper":
            return written
        trained = 0 if strategy == "fuse" else self.recipe.rank
        return trained if strategy == "expand" else max(trained, self.width or 0, written)

    @property
    def exchanges(self) -> int:
        """Replies to learn from."""
        return sum(len(talk.messages) // 2 for talk in self.split.train)

    def kept(self, made: Made) -> dict[str, Any]:
        asked = {"asked": self.request.strategy} if self.request.strategy != made.strategy else {}
        size = {"rank": made.block.rank, "alpha": made.block.alpha, "system_message": self.recipe.system_message}
        if made.strategy == "fuse":
            return {**asked, **size, **self.request.merging.model_dump(), "tuned": made.details["merge"]["passes"] > 0}
        if made.strategy == "hyper" and not made.steps:  # taken as the network gives it
            return {**asked, **size, "cohort": made.details["cohort"]}
        from_cohort = "cohort" in made.details and made.strategy == "expand"
        recipe = self.after_cohort if from_cohort and self.after_cohort else self.recipe
        preset = {"preset": self.request.preset_after(from_cohort)}
        return {**asked, **preset, **self._trained_by(recipe, made), **self._inherited(made, from_cohort)}

    def _inherited(self, made: Made, from_cohort: bool) -> dict[str, Any]:
        """What a training started from, where that was something."""
        if not (made.parents or from_cohort):
            return {}
        chosen = FROM_COHORT if from_cohort else FROM_FUSED
        return {"warm_start": self.request.warm_start if self.request.strategy == "expand" else chosen}


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Those that a run cannot go on under others of."""
    return recipe.model_dump(exclude={"learning_rate"})


def plan(registry: Registry, request: Request, say: Callable[[str], None]) -> Plan:
    """Check a request.

    Raises:
        NeekoError: the first thing found that cannot be.
    """
    refuse_idle_options(request)
    profile = load_profile(request.profile)
    recipe = request.recipe_after(cohort=False)
    if request.strategy == "fuse" and not registry.banks():  # before a base is fetched for nothing
        raise kinship.nobody(profile.name)
    bank = choose_bank(registry, request.base, say=say)
    replaced = namesake(registry, profile) if request.replace else None
    registry.refuse_taken([profile.name, *profile.aliases], replaced)
    choice = _choice(registry, request, profile, bank, replaced)
    if choice is not None:
        kinship.refuse(registry, bank, profile, request.profile.name, choice, replaced)
    parts = _parts(request, profile)
    cohort = _cohort(registry, request, recipe, bank, say)
    found = Plan(request=request, profile=profile, recipe=recipe, split=parts, bank=bank, seed=request.seed,
                 choice=choice, replaced=replaced)  # fmt: skip
    if cohort is None:
        if request.strategy == "auto" and choice is None:
            refuse_nothing_to_learn(profile.name, parts.train, "add some, since there is nobody to start from")
        return found
    _refuse_idle_settings(request, cohort, parts)
    return _coming_to(found, cohort)


def _parts(request: Request, profile: Profile) -> Split:
    """The dialogues to learn from and those kept aside; refused where the former are needed and none are left."""
    parts = split(profile.dialogues)
    if request.tune and not parts.train:
        raise UsageError(
            f"{profile.name} has no dialogues left to tune on once probes are kept aside: leave --tune out."
        )
    if request.strategy == "expand":
        instead = "add some, or take --strategy fuse or hyper, which need none"
        refuse_nothing_to_learn(profile.name, parts.train, instead)
    return parts


def _refuse_idle_settings(request: Request, cohort: Cohort, parts: Split) -> None:
    """Where e_c is not read, or there is nothing to learn it from, the block is what the network gives."""
    reads = cohort.recipe["generated"] != "none"
    if request.strategy == "hyper" and not (reads and parts.train):
        why = f"no dialogues are left of {request.profile.name} once probes are kept aside" if reads else (
            f"all of cohort {cohort.name} have one block")  # fmt: skip
        settings = [each for each in request.changes if not each.startswith("system_message")]
        if request.preset or request.resume or settings:
            raise UsageError(f"Nothing is learned where {why}: leave --preset, --set and --resume out.")


def _coming_to(plan: Plan, cohort: Cohort) -> Plan:
    """What a network writes is only itself under the system message that it was trained with."""
    told = {} if plan.request.sets("system_message") else {"system_message": cohort.recipe["system_message"]}
    recipe, after = (each.model_copy(update=told) for each in (plan.recipe, plan.request.recipe_after(cohort=True)))
    return replace(plan, recipe=recipe, after_cohort=after, cohort=cohort)


def namesake(registry: Registry, profile: Profile) -> Character | None:
    """The resident of the profile's name, whom it would replace: nobody the first time, so that one command serves
    every run of a pipeline."""
    everybody = registry.residents(brief=True)
    return next((registry.resident(row.name) for row in everybody if fold(row.name) == fold(profile.name)), None)


def _choice(registry: Registry, request: Request, profile: Profile, bank: Bank,
            replaced: Character | None) -> Choice | None:  # fmt: skip
    """Which neighbours are wanted; `auto` does without when there are none, or none can be found."""
    if request.comes_to_a_cohort:
        return None
    if request.strategy == "expand" and request.warm_start != FROM_FUSED:
        one = Choice(by_hand=(f"{request.warm_start}=1",))  # the weight keeps a name with = in it whole
        return None if request.warm_start == FROM_SCRATCH else one
    alone = kinship.others(registry, bank, replaced) == 0
    none_found = alone or not kinship.is_comparable(profile)
    return None if request.strategy == "auto" and none_found and request.choice == Choice() else request.choice


def _cohort(registry: Registry, request: Request, recipe: Recipe, bank: Bank,
            say: Callable[[str], None]) -> Cohort | None:  # fmt: skip
    """The cohort that is wanted; `auto` takes the newest where there is one that suits what else is asked for.

    Raises:
        UsageError: there is none, or it reads no personas and is to read one.
        CohortDamaged: its files are not what was stored.
    """
    if not request.comes_to_a_cohort and request.cohort is None:
        return _newest(registry, bank, request, recipe, say) if request.strategy == "auto" else None
    row = newest_cohort(registry, bank, request.cohort, reading=request.from_profile)
    if request.strategy == "auto" and (why := _other_size(row, request, recipe)):
        raise UsageError(f"The cohort {row.name} {why}: leave --rank and --set alpha out, or --cohort.")
    verified_cohort(registry, row)  # before a model is loaded for nothing
    if request.from_profile and row.encoder is None:
        raise UsageError(f"The cohort {row.name} reads no personas: train one with `--set persona=true`, or leave "
                         f"--from-profile out.")  # fmt: skip
    return row


def _newest(registry: Registry, bank: Bank, request: Request, recipe: Recipe,
            say: Callable[[str], None]) -> Cohort | None:  # fmt: skip
    """`auto` does without a cohort whose files are damaged, whose blocks have another size than is asked for, one that
    reads no personas where one is to be read, or one under another system message: what it compares is to be compared
    under one. It says so.

    Raises:
        UsageError: a persona is to be read, and none is left.
    """
    for row in reversed([row for row in cohorts(registry) if row.bank_id == bank.id]):
        why = _unsuited(row, request, recipe)
        if not why and is_whole(registry, row):
            return row
        fault = f"cohort {row.name} {why}" if why else harm(row)
        say(f"{fault}: going on without it")
    if request.from_profile:
        raise UsageError("No cohort that suits reads personas: `neekoctl cohort train NAME --character A --character B "
                         "--set persona=true` makes one; or leave --from-profile out.")  # fmt: skip
    return None


def _unsuited(row: Cohort, request: Request, recipe: Recipe) -> str:
    """Why a cohort is none for what is asked for, in words."""
    other, told = row.recipe["system_message"], recipe.system_message
    if other != told:
        return f"is told {other!r}, and not {told!r}"
    if request.from_profile and row.encoder is None:
        return "reads no personas"
    return _other_size(row, request, recipe)


def _other_size(row: Cohort, request: Request, recipe: Recipe) -> str:
    """How a cohort's blocks differ from what is asked for, in words."""
    asked = {"rank": request.names_a_rank, "alpha": request.sets("alpha")}
    other = [key for key, named in asked.items() if named and row.recipe[key] != getattr(recipe, key)]
    return f"writes blocks of {other[0]} {row.recipe[other[0]]}" if other else ""


def with_kin(registry: Registry, plan: Plan, encoder: str, persona: Prototype) -> Plan:
    """The plan with its neighbours found; a fusion is as wide as they ask for, unless the user says how wide.

    Raises:
        UsageError: the merge cannot make a block of these.
    """
    if plan.choice is None:
        return plan
    from registry.vectors import from_bytes

    request, role = plan.request, from_bytes(persona.vector)
    kin = kinship.relatives(registry, plan.bank, encoder, role, plan.choice, request.merging.temperature,
                             but=plan.replaced)  # fmt: skip
    widths = [each.character.ranks.rank for each in kin]
    width = plan.recipe.rank if request.names_a_rank else request.merging.rank(widths)
    alphas = [each.character.recipe["alpha"] for each in kin if "alpha" in each.character.recipe]
    request.merging.refuse(widths, alphas, [each.weight for each in kin], width)
    return replace(plan, kin=tuple(kin), width=width)


def document(plan: Plan) -> dict[str, Any]:
    """What `--dry-run` prints."""
    from recipes.advisor import at_hand, ladder, why_alone

    auto, probes = plan.request.strategy == "auto", len(plan.split.probes)
    there = at_hand(neighbours=bool(plan.kin), cohort=plan.cohort is not None)
    rungs = ladder(plan.exchanges, probes, there) if auto else []
    return {
        "character": plan.profile.name,
        "strategy": plan.request.strategy,
        "base": plan.bank.base,
        "rank": plan.rank,
        "exchanges": plan.exchanges,
        "probes": probes,
        "neighbours": [each.document() for each in plan.kin],
        "cohort": f"{plan.cohort.name} version {plan.cohort.version}" if plan.cohort else None,
        "rungs": [rung.name for rung in rungs],
        "note": why_alone(plan.exchanges, probes, there) if len(rungs) == 1 else "",
        "budget": plan.request.budget,
    }
