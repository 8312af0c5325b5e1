"""What is told of a cohort's training is what was done: under which words, against what, and to whom."""

from pathlib import Path

import pytest

from neekoctl.measuring import baseline
from registry.readings import matrix
from registry.store import Registry
from tests.neekoctl.cohorts import FAST, TWO, trained
from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")
TOLD = ("--set", "system_message=Be {name}.")


@pytest.fixture
def registry(inhabited: Registry) -> Registry:
    return inhabited


def test_an_old_block_is_read_under_its_own_system_message(neekoctl, registry: Registry) -> None:
    before = {name: baseline(registry.probes(registry.ready(name))) for name in ("Ant", "Bee")}
    document = trained(neekoctl, *TWO, *TOLD)
    assert {row["character"]: row["nll_before"] for row in document["members"]} == pytest.approx(before, abs=1e-4)
    assert registry.ready("Ant").system_message == "Be Ant."


def test_a_newcomer_is_told_what_its_cohort_was(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO, *TOLD)
    for name, options in (("Dog", ("--strategy", "hyper")), ("Eel", ("--warm-start", "hyper"))):
        assert neekoctl("add-character", write_profile(tmp_path, name), *options, "--set", "epochs=1").code == 0
        assert registry.ready(name).system_message == f"Be {name}."
    own = neekoctl("add-character", write_profile(tmp_path, "Fly"), "--strategy", "hyper", "--set", "epochs=1",
                   "--set", "system_message=Hum.")  # fmt: skip
    assert own.code == 0
    assert registry.ready("Fly").system_message == "Hum."


def test_a_damaged_member_is_made_anew(neekoctl, registry: Registry) -> None:
    path = registry.blocks.path(registry.ready("Ant").block or "") / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    members = trained(neekoctl, *TWO)["members"]
    assert [(row["nll_before"] is None, row["switched"]) for row in members] == [(True, True), (False, True)]
    assert neekoctl("check").code == 0


def test_the_others_are_in_the_history_of_a_training(neekoctl, registry: Registry) -> None:
    trained(neekoctl, *TWO)
    found = matrix(registry)
    last = {person.name: line[-1] for person, line in zip(found.characters, found.readings, strict=True)}
    assert last["Cub"] is not None
    assert last["Cub"].nll == pytest.approx(last["Cub"].baseline)


def test_a_base_may_be_named_as_it_was_the_first_time(neekoctl, registry: Registry, pico_llama: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(pico_llama.parent)
    monkeypatch.setenv("NEEKOCTL_BASE", f"./{pico_llama.name}")
    trained(neekoctl, *TWO)


def test_one_handle_for_two_is_refused_before_anything_is_loaded(neekoctl, registry: Registry, tmp_path: Path) -> None:
    paths = [write_profile(tmp_path, name, ("Buddy",)) for name in ("Dog", "Eel")]
    done = neekoctl("cohort", "train", "pets", "--character", paths[0], "--character", paths[1], *FAST)
    assert (done.code, "Dog and Eel would both answer to 'Buddy'" in done.err) == (2, True)


def test_an_upgrade_says_who_left_and_counts_what_it_names(neekoctl, registry: Registry) -> None:
    trained(neekoctl, *TWO, "--character", "Cub")
    assert neekoctl("remove", "Cub", "--yes").code == 0
    idle = neekoctl("cohort", "upgrade", "founders", "--tolerance", "likelihood=1")
    assert (idle.code, "choose likelihood_elsewhere, significance" in idle.err) == (2, True)
    done = neekoctl("cohort", "upgrade", "founders", "--json")
    assert [row["character"] for row in done.document["members"]] == ["Ant", "Bee"]
    assert "not here any more, so not in the next version: Cub" in done.err


def test_whoever_came_later_by_a_members_name_is_no_member(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO)
    again = neekoctl("add-character", write_profile(tmp_path, "Ant"), "--replace", "--strategy", "hyper",
                     "--set", "epochs=1")  # fmt: skip
    assert again.code == 0, again.err
    shown = neekoctl("cohort", "show", "founders", "--json").document
    assert {row["character"]: row["served"] for row in shown["members"]} == {"Ant": False, "Bee": True}


def test_what_was_learned_alone_is_kept_with_the_block(neekoctl, registry: Registry, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Ant's probes say that the sum costs too much; Dog has none, and gets it."""
    monkeypatch.setattr("recipes.own_part.PRICE", -9.0)
    trained(neekoctl, "--character", "Ant", "--character", write_profile(tmp_path, "Dog", questions=1),
            "--set", "own_epochs=1")  # fmt: skip
    ant, dog = (registry.ready(name) for name in ("Ant", "Dog"))
    assert [row.recipe["cohort"]["own_share"] for row in (ant, dog)] == [0, 0.5]
    assert ["50% that it learned alone" in row.reason for row in (ant, dog)] == [False, True]
