"""The settings of a run: presets are valid, changes are checked, and what is out of bounds is refused by name."""

import subprocess
import sys

import pytest

from recipes.recipe import DEFAULT_PRESET, Recipe, load_recipe, presets
from registry.errors import UsageError
from registry.ranks import LARGEST_RANK


def test_the_default_is_one_of_the_presets() -> None:
    assert presets() == ["gentle", "quick", "standard", "thorough"]
    assert DEFAULT_PRESET in presets()


@pytest.mark.parametrize("preset", ["gentle", "quick", "standard", "thorough"])
def test_a_preset_is_a_whole_recipe(preset: str) -> None:
    recipe = load_recipe(preset, [])
    assert recipe.model_dump().keys() == Recipe.model_fields.keys()
    assert "{name}" in recipe.system_message
    assert recipe.rank in (1, 8, 16, 32, 64, 128, 256, 320, 512)  # vLLM's max_lora_rank


def test_changes_are_laid_over_the_preset() -> None:
    recipe = load_recipe("quick", ["epochs=5", " alpha = 1e1 ", "system_message=Be {name}: a=b."])
    assert (recipe.epochs, recipe.alpha, recipe.system_message) == (5, 10.0, "Be {name}: a=b.")
    untouched = load_recipe("quick", [])
    changed = {"epochs", "alpha", "system_message"}
    assert recipe.model_dump(exclude=changed) == untouched.model_dump(exclude=changed)


def test_a_rank_alone_keeps_the_presets_alpha() -> None:
    recipe = load_recipe("standard", [], rank=32)
    assert (recipe.rank, recipe.alpha) == (32, load_recipe("standard", []).alpha)


@pytest.mark.parametrize("rank", [1, LARGEST_RANK])
def test_ranks_are_allowed_up_to_the_largest(rank: int) -> None:
    assert load_recipe("quick", [], rank=rank).rank == rank
    assert load_recipe("quick", [f"rank={rank}"]).rank == rank


@pytest.mark.parametrize("rank", [0, -1, LARGEST_RANK + 1])
def test_a_rank_out_of_bounds_is_refused_under_the_option_that_asked(rank: int) -> None:
    with pytest.raises(UsageError, match="^--rank: "):
        load_recipe("quick", [], rank=rank)
    with pytest.raises(UsageError, match="^--set rank: "):
        load_recipe("quick", [f"rank={rank}"])


@pytest.mark.parametrize(
    "change",
    ["rank=8.5", "rank=many", "rank=8=9", "rank=", "alpha=0", "alpha=-1", "alpha=nan", "alpha=inf", "learning_rate=0",
     "learning_rate=1", "learning_rate=nan", "learning_rate=fast", "epochs=0", "epochs=1001", "epochs=1e3", "batch=0",
     "batch=1025", "warmup_steps=-1", "warmup_steps=1.5", "clip=0", "weight_decay=-0.1", "weight_decay=inf",
     "evaluations=0", "patience=0"],
)  # fmt: skip
def test_a_bad_value_is_refused_by_its_key(change: str) -> None:
    key = change.partition("=")[0]
    with pytest.raises(UsageError, match=f"^--set {key}: "):
        load_recipe("quick", [change])


@pytest.mark.parametrize("change", ["lr=0.1", "Rank=8", "about=mine", "=3"])
def test_an_unknown_key_is_answered_with_the_known_ones(change: str) -> None:
    with pytest.raises(UsageError, match="learning_rate, epochs"):
        load_recipe("quick", [change])


@pytest.mark.parametrize("change", ["rank", "", "rank:8"])
def test_a_change_without_an_equals_sign_is_refused(change: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        load_recipe("quick", [change])


@pytest.mark.parametrize("preset", ["", "slow", "../presets/quick", "quick.yaml", "Quick"])
def test_an_unknown_preset_is_answered_with_the_known_ones(preset: str) -> None:
    with pytest.raises(UsageError, match="choose gentle, quick, standard, thorough"):
        load_recipe(preset, [])


def test_a_recipe_cannot_be_changed_once_made() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("quick", []).rank = 16


def test_a_setting_is_refused_before_torch_is_loaded() -> None:
    code = (
        "import sys\nfrom recipes.recipe import load_recipe\nfrom registry.errors import UsageError\n"
        "try:\n    load_recipe('quick', ['rank=0'])\nexcept UsageError:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
