"""What the user asks of an onboarding, and which of the options would do nothing for it. Knows no registry and no
model, and imports no torch: what is asked in vain is told before anything is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from neekoctl.kinship import Choice
from recipes.recipe import AFTER_COHORT, DEFAULT_PRESET, SIGN_ELECTING, Merging, Recipe, load_recipe
from registry.errors import UsageError

STRATEGIES = ("expand", "fuse", "hyper", "auto")
OF_A_FUSION = ("rank", "system_message")  # of all settings, what is not about training
FROM_SCRATCH, FROM_FUSED, FROM_COHORT = "none", "fuse", "hyper"  # of --warm-start; anything else is a name


@dataclass(frozen=True)
class Request:
    """What the user asks for."""

    profile: Path
    strategy: str = "expand"
    base: str | None = None
    encoder: str | None = None
    preset: str | None = None  # the one that suits what the block starts from
    changes: tuple[str, ...] = ()
    rank: int | None = None
    seed: int = 0
    resume: bool = False
    accept_gate: bool = False
    replace: bool = False  # whoever has the name moves out as this one moves in
    choice: Choice = field(default_factory=Choice)
    merging: Merging = field(default_factory=Merging)
    tune: bool = False
    warm_start: str = FROM_SCRATCH
    cohort: str | None = None  # whose network writes the block; None: the newest, where one is needed
    from_profile: bool = False  # the network reads the persona
    budget: float | None = None  # seconds

    def sets(self, key: str) -> bool:
        return any(_key(change) == key for change in self.changes)

    @property
    def names_a_rank(self) -> bool:
        return self.rank is not None or self.sets("rank")

    @property
    def names_a_temperature(self) -> bool:
        return "temperature" in self.merging.model_fields_set

    @property
    def comes_to_a_cohort(self) -> bool:
        return self.strategy == "hyper" or self.warm_start == FROM_COHORT

    def preset_after(self, cohort: bool) -> str:
        """What a cohort knows is built upon in smaller steps, unless a preset is named."""
        return self.preset or (AFTER_COHORT if cohort else DEFAULT_PRESET)

    def recipe_after(self, cohort: bool) -> Recipe:
        return load_recipe(self.preset_after(cohort), list(self.changes), self.rank)


def _key(change: str) -> str:
    return change.partition("=")[0].strip()


def refuse_idle_options(request: Request) -> None:
    """An option of another strategy would change nothing: better said than passed over.

    Raises:
        UsageError: there is one, or no such strategy.
    """
    strategy, merging = request.strategy, request.merging
    if strategy not in STRATEGIES:
        raise UsageError(f"There is no strategy {strategy!r}: choose {', '.join(STRATEGIES)}.")
    idle = {**_of_cohorts(request), **_of_training(request), **_of_fusing(request), **_of_neighbours(request)}
    if option := next((option for option, unused in idle.items() if unused), None):
        told = f"{option} does nothing for --strategy {strategy}{_beside(option, request)}"
        raise UsageError(f"{told}: leave it out, or change the strategy.")
    if merging.energy is not None and (merging.method != "svd" or request.names_a_rank):
        raise UsageError("--energy chooses the rank of --merge svd: leave --rank and other merges out.")


def _of_cohorts(request: Request) -> dict[str, bool]:
    alone = not request.comes_to_a_cohort and request.strategy != "auto"
    return {"--cohort": request.cohort is not None and alone, "--from-profile": request.from_profile and alone}


def _of_training(request: Request) -> dict[str, bool]:
    fuse, written = request.strategy == "fuse", request.strategy == "hyper"
    return {
        "--rank": request.names_a_rank and written,  # the network's is the block's, and so is its alpha
        "--set alpha": request.sets("alpha") and written,
        "--preset": request.preset is not None and fuse,
        "--resume": request.resume and fuse,
        "--set": fuse and any(_key(change) not in OF_A_FUSION for change in request.changes),
        "--warm-start": request.warm_start != FROM_SCRATCH and request.strategy != "expand",
        "--budget": request.budget is not None and request.strategy != "auto",
    }


def _of_fusing(request: Request) -> dict[str, bool]:
    merging, fuse = request.merging, request.strategy == "fuse"
    return {
        "--tune": request.tune and not fuse,
        "--merge": merging.method != "svd" and not fuse,
        "--energy": merging.energy is not None and not fuse,
        "--density": "density" in merging.model_fields_set and merging.method not in SIGN_ELECTING,
    }


def _of_neighbours(request: Request) -> dict[str, bool]:
    chosen = request.choice != Choice() or request.names_a_temperature
    trains_alone = request.strategy == "expand" and request.warm_start != FROM_FUSED
    return {
        "--temperature": request.names_a_temperature and bool(request.choice.by_hand),
        "Choosing neighbours": chosen and (request.strategy == "hyper" or trains_alone),
    }


def _beside(option: str, request: Request) -> str:
    """What else, besides the strategy, makes an option idle."""
    trains = request.strategy == "expand"
    kin, network = (f" without --warm-start {start}" * trains for start in (FROM_FUSED, FROM_COHORT))
    told = {"Choosing neighbours": kin, "--cohort": network, "--from-profile": network,
            "--temperature": " and --from", "--density": f" and --merge {request.merging.method}"}  # fmt: skip
    return told.get(option, "")


def seconds(text: str) -> float:
    """ "90", "90s", "5m" or "1.5h" in seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found or not float(found[1]):
        raise UsageError(f"{text!r} is no time: write --budget 60s, 5m or 1h.")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
