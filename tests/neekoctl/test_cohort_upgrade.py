"""`neekoctl cohort upgrade`: a version of its own, on those who can still learn, switching those who do not lose."""

from pathlib import Path

import pytest

from neekoctl.render import TrainingScreen
from registry.cohorts import cohorts
from registry.store import Registry
from tests.neekoctl.cohorts import FAST, TWO, WORSE, trained
from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")
LENIENT = ("--tolerance", "likelihood_elsewhere=100")


@pytest.fixture
def registry(inhabited: Registry) -> Registry:
    return inhabited


def test_an_upgrade_switches_those_who_do_not_lose_and_is_a_version_of_its_own(neekoctl, registry: Registry) -> None:
    first = trained(neekoctl, *TWO)
    again = neekoctl("cohort", "upgrade", "founders", "--set", "epochs=3", "--character", "Cub", "--json").document
    assert again["steps"] % 3 == 0 < again["steps"]
    assert again["members"][0]["rank_stop"] - again["members"][0]["rank_start"] == 4  # as the first version had it
    assert first["version"] == 1
    assert [row["character"] for row in again["members"]] == ["Ant", "Bee", "Cub"]
    assert all(row["switched"] == row["passes"] for row in again["members"])
    lives = {row.name: (row.start, row.stop, row.block) for row in registry.residents()}
    shown = {row["character"]: (row["rank_start"], row["rank_stop"], row["block"]) for row in again["members"]}
    assert shown == lives
    assert again["version"] == (2 if any(row["passes"] for row in again["members"]) else None)
    assert neekoctl("cohort", "show", "founders", "--version", 1, "--json").document["version"] == 1
    assert neekoctl("cohort", "show", "founders", "--version", 9).code == 2


def test_a_newcomer_comes_to_the_version_that_is_named(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO)
    assert neekoctl("cohort", "upgrade", "founders", *LENIENT, "--json").document["version"] == 2
    dog = write_profile(tmp_path, "Dog")
    for wanted, version in (("founders", 2), ("founders@1", 1), ("founders@2", 2)):
        plan = neekoctl("add-character", dog, "--strategy", "hyper", "--cohort", wanted, "--dry-run", "--json").document
        assert plan["cohort"] == f"founders version {version}"
    nameless = neekoctl("add-character", dog, "--strategy", "hyper", "--cohort", "@1", "--dry-run")
    assert (nameless.code, "'@1' names no cohort" in nameless.err) == (2, True)


def test_an_upgrade_may_lose_what_check_yaml_allows(neekoctl, registry: Registry, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    trained(neekoctl, *TWO)
    before = {row.name: (row.block, row.start) for row in registry.characters()}, registry.blocks.digests()
    monkeypatch.chdir(tmp_path)
    strict = neekoctl("cohort", "upgrade", "founders", *WORSE, "--json").document
    assert (strict["version"], [row["switched"] for row in strict["members"]]) == (None, [False, False])
    assert ({row.name: (row.block, row.start) for row in registry.characters()}, registry.blocks.digests()) == before
    assert len(neekoctl("cohort", "list", "--json").document) == 1
    (tmp_path / "check.yaml").write_text("likelihood_elsewhere: 100\n")
    lenient = neekoctl("cohort", "upgrade", "founders", *WORSE, "--json").document
    assert [row["switched"] for row in lenient["members"]] == [True, True]
    named = neekoctl("cohort", "upgrade", "founders", "--tolerance", "likelihod=1")
    assert (named.code, "no measure 'likelihod'" in named.err) == (2, True)


def test_an_upgrade_that_nobody_passes_is_judged_again_and_not_trained_again(
    neekoctl, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(neekoctl, *TWO)
    steps: list[int] = []
    monkeypatch.setattr("recipes.running.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(TrainingScreen, "progress", lambda _, progress: steps.append(progress.step))
    refused = neekoctl("cohort", "upgrade", "founders", *WORSE)
    assert "--resume with another --tolerance judges it again" in refused.err
    assert registry.layout.checkpoints.is_dir() and steps
    taken = steps.copy()
    again = (*LENIENT, "--resume", "--json")
    document = neekoctl("cohort", "upgrade", "founders", *WORSE, *again).document
    assert ([row["switched"] for row in document["members"]], steps) == ([True, True], taken)
    assert not list(registry.layout.checkpoints.glob("*"))


def test_a_member_is_named_once_and_an_upgrade_takes_its_new_profile(neekoctl, registry: Registry,
                                                                          tmp_path: Path) -> None:  # fmt: skip
    done = neekoctl("cohort", "train", "founders", *TWO, "--character", "ant", *FAST)
    assert (done.code, "Ant is named twice: leave one out." in done.err) == (2, True)
    trained(neekoctl, *TWO)
    done = neekoctl("cohort", "upgrade", "founders", "--character", write_profile(tmp_path, "Ant"), "--json")
    assert done.code == 0, done.err
    assert [row["character"] for row in done.document["members"]] == ["Bee", "Ant"]


def test_an_upgrade_says_who_left_and_counts_what_it_names(neekoctl, registry: Registry) -> None:
    trained(neekoctl, *TWO, "--character", "Cub")
    assert neekoctl("remove", "Cub", "--yes").code == 0
    idle = neekoctl("cohort", "upgrade", "founders", "--tolerance", "likelihood=1")
    assert (idle.code, "choose likelihood_elsewhere, significance" in idle.err) == (2, True)
    done = neekoctl("cohort", "upgrade", "founders", "--json")
    assert [row["character"] for row in done.document["members"]] == ["Ant", "Bee"]
    assert "any more, so not in the next version: Cub" in done.err


def test_who_has_no_probes_keeps_its_block_and_is_certified(neekoctl, registry: Registry, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    dog = write_profile(tmp_path, "Dog", questions=1)
    trained(neekoctl, "--character", "Ant", "--character", dog)
    block = registry.resident("Dog").block
    done = neekoctl("cohort", "upgrade", "founders", "--tolerance", "likelihood_elsewhere=100", "--json").document
    assert [(row["passes"], row["switched"]) for row in done["members"]] == [(True, True), (False, False)]
    assert registry.resident("Dog").block == block
    assert done["certificate"] == {"others": 3, "identical": 3}  # Bee, Cub and Dog


def test_whoever_has_no_dialogues_any_more_is_left_out_of_the_next_version(neekoctl, registry: Registry,
                                                                           tmp_path: Path) -> None:  # fmt: skip
    trained(neekoctl, *TWO, "--character", "Cub")
    silent = tmp_path / "ant.yaml"
    silent.write_text("name: Ant\npersona: lives under a stone\ndialogues: []\n")
    assert neekoctl("add-character", silent, "--strategy", "hyper", "--replace").code == 0
    done = neekoctl("cohort", "upgrade", "founders", "--json")
    assert "nothing to learn from any more, so not in the next version: Ant" in done.err
    assert (done.code, [row["character"] for row in done.document["members"]]) == (0, ["Bee", "Cub"])


def test_personas_can_be_read_from_the_next_version_on(neekoctl, registry: Registry) -> None:
    trained(neekoctl, *TWO)
    assert neekoctl("cohort", "upgrade", "founders", "--set", "persona=true", *LENIENT).code == 0
    assert neekoctl("cohort", "upgrade", "founders", "--set", "persona=false", *LENIENT).code == 0
    versions = cohorts(registry)
    assert [(row.encoder is None, row.recipe["persona"], row.recipe["id_dropout"]) for row in versions] == [
        (True, False, None), (False, True, None), (True, False, None)]  # fmt: skip
