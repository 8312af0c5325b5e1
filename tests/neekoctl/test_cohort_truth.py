"""What is told of a cohort's training is what was done: under which words, against what, and to whom."""

from pathlib import Path

import pytest

from neekoctl.measuring import baseline
from registry.errors import NeekoError
from registry.gates import probes_of_everybody
from registry.readings import matrix
from registry.store import Registry
from tests.neekoctl.cohorts import FAST, TWO, trained
from tests.neekoctl.conftest import QUICK
from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")
TOLD = ("--set", "system_message=Be {name}.")


@pytest.fixture
def registry(inhabited: Registry) -> Registry:
    return inhabited


def test_an_old_block_is_read_under_its_own_system_message(neekoctl, registry: Registry) -> None:
    before = {name: baseline(registry.probes(registry.resident(name))) for name in ("Ant", "Bee")}
    document = trained(neekoctl, *TWO, *TOLD)
    assert {row["character"]: row["nll_before"] for row in document["members"]} == pytest.approx(before, abs=1e-4)
    assert registry.resident("Ant").system_message == "Be Ant."


def test_a_newcomer_is_told_what_its_cohort_was(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO, *TOLD)
    for name, options in (("Dog", ("--strategy", "hyper")), ("Eel", ("--warm-start", "hyper"))):
        assert neekoctl("add-character", write_profile(tmp_path, name), *options, "--set", "epochs=1").code == 0
        assert registry.resident(name).system_message == f"Be {name}."
    own = neekoctl("add-character", write_profile(tmp_path, "Fly"), "--strategy", "hyper", "--set", "epochs=1",
                   "--set", "system_message=Hum.")  # fmt: skip
    assert own.code == 0
    assert registry.resident("Fly").system_message == "Hum."


def test_a_damaged_member_is_made_anew(neekoctl, registry: Registry) -> None:
    path = registry.blocks.path(registry.resident("Ant").block or "") / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    members = trained(neekoctl, *TWO)["members"]
    assert [(row["nll_before"] is None, row["switched"]) for row in members] == [(True, True), (False, True)]
    assert neekoctl("check").code == 0


def test_the_others_are_in_the_history_of_a_training(neekoctl, registry: Registry) -> None:
    trained(neekoctl, *TWO)
    found = matrix(registry)
    last = {person.name: line[-1] for person, line in zip(found.characters, found.cells, strict=True)}
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


def test_what_the_gate_did_on_the_first_day_is_kept(neekoctl, registry: Registry) -> None:
    before = {probe.prompt[-1]["content"]: (probe.routed, owner) for probe, owner in probes_of_everybody(registry)}
    assert all(routed for routed, _ in before.values())
    document = trained(neekoctl, *TWO, "--character", "Cub")
    after = {probe.prompt[-1]["content"]: (probe.routed, owner) for probe, owner in probes_of_everybody(registry)}
    assert after == before
    assert document["gate"]["accuracy_before"] is not None


def test_auto_compares_under_one_system_message(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO, "--set", "system_message=Be {name}.")
    plan = ("add-character", write_profile(tmp_path, "Dog"), "--strategy", "auto", "--dry-run", "--json")
    alone, named = neekoctl(*plan), neekoctl(*plan, "--cohort", "founders")
    assert (alone.document["cohort"], "founders is told 'Be {name}.'" in alone.err) == (None, True)
    assert named.document["cohort"] == "founders version 1"


@pytest.mark.parametrize("asked", [("--rank", 8), ("--set", "rank=8"), ("--set", "alpha=3")])
def test_auto_takes_no_block_of_another_size_than_is_asked_for(asked: tuple[object, ...], neekoctl, registry: Registry,
                                                               tmp_path: Path) -> None:  # fmt: skip
    trained(neekoctl, *TWO)
    plan = ("add-character", write_profile(tmp_path, "Dog"), "--strategy", "auto", "--dry-run", "--json", *asked)
    alone, named = neekoctl(*plan), neekoctl(*plan, "--cohort", "founders")
    assert (alone.document["cohort"], "founders writes blocks of" in alone.err) == (None, True)
    assert (named.code, "founders writes blocks of" in named.err) == (2, True)


@pytest.mark.parametrize("asked", [("--set", "epochs=3"), ("--preset", "thorough"), ("--resume",)])
def test_settings_of_a_training_that_does_not_happen_are_refused(asked: tuple[str, ...], neekoctl, registry: Registry,
                                                                 tmp_path: Path) -> None:  # fmt: skip
    trained(neekoctl, *TWO, "--kind", "shared")
    words = ("add-character", write_profile(tmp_path, "Dog"), "--strategy", "hyper")
    done = neekoctl(*words, *asked)
    assert (done.code, "all of cohort founders have one block" in done.err) == (2, True)
    assert neekoctl(*words, "--set", "system_message=Be {name}.").code == 0
    assert registry.resident("Dog").recipe.keys() == {"rank", "alpha", "system_message", "cohort"}


def test_a_kept_profile_that_is_no_valid_one_is_told(neekoctl, registry: Registry) -> None:
    with registry.writing() as session:
        row = registry.resident("Ant")
        row.description = {**row.description, "persona": ""}
        session.add(row)
    done = neekoctl("cohort", "train", "founders", *TWO, *FAST)
    assert (done.code, "kept of Ant is no valid one: name its file" in done.err) == (2, True)


def test_an_error_after_the_training_says_how_to_go_on(neekoctl, registry: Registry,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("recipes.running.CHECKPOINT_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setattr("neekoctl.cohorting._commit", broken)
        done = neekoctl("cohort", "train", "founders", *TWO, *FAST)
        assert (
            done.code,
            "There is no room. The state of its training is kept: repeat it with --resume" in done.err,
        ) == (1, True)
    again = neekoctl("cohort", "train", "founders", *TWO, *FAST, "--resume")
    assert (again.code, "going on from where a run stopped" in again.err) == (0, True)


def test_a_home_that_cannot_be_is_told_in_a_sentence(neekoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEEKOCTL_HOME", "~nobody-here/x")
    done = neekoctl("cohort", "list", "--json")
    assert (done.code, done.document["kind"]) == (2, "UsageError")


def test_a_base_is_known_by_what_it_is_and_not_by_its_name(neekoctl, registry: Registry, pico_llama: Path,
                                                           tmp_path: Path) -> None:  # fmt: skip
    """Another bank of the same name, as a merged bundle may bring it."""
    registry.bank(str(pico_llama), "0" * 64)
    added = neekoctl("add-character", write_profile(tmp_path, "Dog"), *QUICK, "--base", pico_llama)
    assert (added.code, neekoctl("ranks", "--base", pico_llama).code) == (0, 0), added.err


def broken(*_: object) -> None:
    raise NeekoError("There is no room.")


def test_an_upgrade_has_the_seed_and_the_base_of_before(neekoctl, registry: Registry, pico_gemma: Path,
                                                        tmp_path: Path) -> None:  # fmt: skip
    trained(neekoctl, *TWO, "--character", "Cub", "--seed", "7")
    assert neekoctl("remove", "Cub", "--yes").code == 0
    assert neekoctl("add-character", write_profile(tmp_path, "Cub"), *QUICK, "--base", pico_gemma).code == 0
    done = neekoctl("cohort", "upgrade", "founders", "--tolerance", "likelihood_elsewhere=100", "--json")
    assert [row["character"] for row in done.document["members"]] == ["Ant", "Bee"]
    assert neekoctl("cohort", "show", "founders", "--json").document["seed"] == 7
    elsewhere = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--strategy", "hyper", "--base", pico_gemma,
                         "--cohort", "founders")  # fmt: skip
    assert (elsewhere.code, "'founders' is over" in elsewhere.err) == (2, True)


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
    ant, dog = (registry.resident(name) for name in ("Ant", "Dog"))
    assert [row.recipe["cohort"]["own_share"] for row in (ant, dog)] == [0, 0.5]
    assert ["50% that it learned alone" in row.reason for row in (ant, dog)] == [False, True]
