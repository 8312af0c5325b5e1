"""`neekoctl cohort` and `--strategy hyper` on a village of three: trained together, materialised, left alone by whoever
comes after, upgraded only where nobody loses."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlmodel import select, update

from neekoctl.render import TrainingScreen
from recipes.running import Progress
from registry.gates import probes_of_everybody
from registry.store import Registry
from registry.tables import Cohort
from tests.neekoctl.cohorts import FAST, TWO, WORSE, trained
from tests.neekoctl.conftest import NAMES, QUICK
from tests.picos import talkative, write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")


@pytest.fixture
def registry(inhabited: Registry) -> Registry:
    return inhabited


def test_members_get_blocks_of_one_network_and_everybody_else_is_untouched(neekoctl, registry: Registry) -> None:
    before = {row.name: row.block for row in registry.residents()}
    document = trained(neekoctl, *TWO)
    assert (document["cohort"], document["version"], document["kind"]) == ("founders", 1, "hycora")
    assert [(row["character"], row["switched"]) for row in document["members"]] == [("Ant", True), ("Bee", True)]
    assert document["certificate"] == {"others": 1, "identical": 1}
    after = {row.name: row for row in registry.residents()}
    assert after["Cub"].block == before["Cub"]
    assert {after[name].strategy for name in ("Ant", "Bee")} == {"hyper"}
    assert after["Ant"].block not in (before["Ant"], after["Bee"].block)
    assert neekoctl("check").code == 0
    assert neekoctl("chat", "--as", "Ant", "--once", "Hello", "--max-new-tokens", 2).code == 0
    shown = neekoctl("cohort", "show", "founders", "--json").document
    assert [each["served"] for each in shown["members"]] == [True, True]
    assert shown["whole"]
    assert "founders 1 hycora 2 2" in " ".join(neekoctl("cohort", "list").out.split())
    neekoctl("rollback", 3, "--yes")
    assert {row.name: row.block for row in registry.residents()} == before


def test_a_cohort_that_is_there_is_upgraded_and_not_trained_again(neekoctl, registry: Registry) -> None:
    trained(neekoctl, *TWO)
    again = neekoctl("cohort", "train", "founders", *TWO, *FAST)
    assert (again.code, "neekoctl cohort upgrade founders" in again.err) == (2, True)


def test_one_block_for_all_reads_no_personas_and_says_what_it_gave(neekoctl, registry: Registry,
                                                                   tmp_path: Path) -> None:  # fmt: skip
    idle = neekoctl("cohort", "train", "common", *TWO, "--kind", "shared", "--set", "persona=true")
    assert (idle.code, "--set persona: One block for all reads no personas" in idle.err) == (2, True)
    trained(neekoctl, *TWO, "--kind", "shared", name="common")
    dog = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--strategy", "hyper", "--json").document
    assert "took the one block of its 2 members as it is" in dog["reason"]


def test_whoever_a_training_made_worse_moves_in_and_is_named(neekoctl, registry: Registry) -> None:
    told = "Less likely than under the block before, beyond what a check lets pass: Ant, Bee."
    worse = neekoctl("cohort", "train", "worse", *TWO, *FAST, *WORSE)
    assert (worse.code, told in worse.out, "keeps its block" in worse.out) == (0, True, False)
    assert [registry.resident(name).strategy for name in ("Ant", "Bee")] == ["hyper"] * 2
    better = neekoctl("cohort", "train", "better", *TWO, *FAST)
    assert (better.code, "Less likely" in better.out) == (0, False)


def test_a_cohort_is_shown_whole(neekoctl, registry: Registry, tmp_path: Path) -> None:
    assert "There are no cohorts yet" in neekoctl("cohort", "list").out
    trained(neekoctl, *TWO, "--set", "persona=true")
    neekoctl("remove", "Ant", "--yes")
    neekoctl("add-character", write_profile(tmp_path, "Bee"), "--replace", *QUICK)
    for alike in (0.5, 0.99):
        with registry.writing() as session:
            row = session.exec(select(Cohort)).one()
            row.metrics = {**row.metrics, "likeness": [[1, alike], [alike, 1]]}
        shown = neekoctl("cohort", "show", "founders").out
        assert all(
            told in shown for told in ("reads personas by", "Ant  lives here no more", "Bee  served by another block")
        )
        assert ("the roles have collapsed" in shown) == (alike > 0.95)


def test_auto_climbs_from_a_cohort_and_compares_every_rung(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO)
    dog = talkative(tmp_path, "Dog")
    document = neekoctl("add-character", dog, "--strategy", "auto", "--set", "epochs=1", "--json").document
    assert [each["rung"] for each in document["rungs"]] == [
        "fuse", "hyper", "fuse --tune", "expand --warm-start fuse", "expand --warm-start hyper", "expand"]  # fmt: skip
    assert not list(registry.layout.checkpoints.glob("*"))
    assert neekoctl("check").code == 0


@pytest.mark.parametrize(("changed", "begins"), [(("--set", "learning_rate=0.001"), 4), (("--seed", "1"), 1)])
def test_a_killed_training_goes_on_at_another_step_size_and_not_from_another_seed(
    changed: tuple[str, ...], begins: int, neekoctl, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipes.running.CHECKPOINT_SECONDS", 0)
    steps: list[int] = []

    def progress(_: TrainingScreen, progress: Progress) -> None:
        steps.append(progress.step)
        if steps == [1, 2, 3]:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingScreen, "progress", progress)
    stopped = neekoctl("cohort", "train", "founders", *TWO, *FAST)
    assert (stopped.code, "repeat it with --resume to go on" in stopped.err) == (1, True)
    assert neekoctl("cohort", "train", "founders", *TWO, *FAST, *changed, "--resume").code == 0
    assert steps[3] == begins


def test_a_base_beside_residents_of_another_is_refused(neekoctl, registry: Registry) -> None:
    done = neekoctl("cohort", "train", "founders", *TWO, *FAST, "--base", "another/base")
    assert (done.code, "leave --base out" in done.err) == (2, True)


def test_a_conversation_that_the_base_cannot_read_is_refused(neekoctl, registry: Registry, tmp_path: Path) -> None:
    before = {row.name: row.block for row in registry.residents()}
    long = write_profile(tmp_path, "Ant")
    talks = long.with_name("ant.jsonl")
    talks.write_text(talks.read_text().replace("says dust", "says " + "dust " * 3000))
    done = neekoctl("cohort", "train", "founders", "--character", long, "--character", "Bee", *FAST)
    assert (done.code, "split the one that ends with 'st dust , dust!'" in done.err) == (1, True)
    assert {row.name: row.block for row in registry.characters()} == before


def test_only_what_is_written_is_compared(neekoctl, registry: Registry) -> None:
    trained(neekoctl, *TWO, "--set", "generated=b")
    shown = neekoctl("cohort", "show", "founders", "--json").document
    assert 0 < shown["likeness"][0][1] < 0.9999  # A is one for both
    trained(neekoctl, *TWO, "--kind", "shared", name="common")
    shown = neekoctl("cohort", "show", "common", "--json").document
    assert (shown["likeness"], shown["collapsed"]) == ([], False)


def test_the_gate_is_judged_by_those_who_lived_here(neekoctl, registry: Registry, tmp_path: Path) -> None:
    files = [write_profile(tmp_path, name) for name in ("Dog", "Eel", "Fly")]
    document = trained(neekoctl, *(word for file in files for word in ("--character", file)))
    lived = [owner for _, owner in probes_of_everybody(registry) if owner in NAMES]
    assert document["gate"]["questions"] == len(lived) > 0


def test_a_cohort_may_be_of_newcomers(neekoctl, home: Path, tmp_path: Path) -> None:
    files = [write_profile(tmp_path, name) for name in NAMES]
    profile = yaml.safe_load(files[0].read_text(encoding="utf-8"))
    files[0] = files[0].with_suffix(".json")
    files[0].write_text(json.dumps(profile), encoding="utf-8")
    words = [word for file in files for word in ("--character", file)]
    document = trained(neekoctl, *words, "--kind", "shared")
    assert [row["nll_before"] for row in document["members"]] == [None] * 3
    assert [row["name"] for row in neekoctl("list", "--json").document] == list(NAMES)
    assert neekoctl("check").code == 0


def test_a_newcomer_gets_its_block_from_the_network(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO, "--set", "persona=true")
    before = {row.name: row.block for row in registry.residents()}
    dog = write_profile(tmp_path, "Dog")
    plain = neekoctl("add-character", dog, "--strategy", "hyper", "--preset", "quick", "--json").document
    assert (plain["strategy"], plain["rank"], plain["certificate"]) == ("hyper", 4, {"others": 3, "identical": 3})
    assert plain["cohort"]["name"] == "founders"
    one = tmp_path / "eft.yaml"
    one.write_text("name: Eft\npersona: lives in a pond\ndialogues: []\n")
    assert "need no dialogues" in neekoctl("profile", "validate", one).out
    assert "too few dialogues" in neekoctl("add-character", one).err
    told = neekoctl("add-character", one, "--strategy", "hyper", "--from-profile", "--json").document
    assert told["cohort"]["from_profile"]
    assert told["heldout_nll_after"] is None
    assert "too few dialogues" in neekoctl("cohort", "train", "x", *TWO, "--character", one).err
    assert "No dialogues of Eft are kept" in neekoctl("cohort", "train", "x", *TWO, "--character", "Eft").err
    started = neekoctl("add-character", write_profile(tmp_path, "Fly"), "--warm-start", "hyper", "--set", "epochs=12",
                       "--json").document  # fmt: skip
    assert (started["strategy"], started["cohort"]["version"]) == ("expand", 1)
    assert "started from cohort founders version 1" in started["reason"]
    assert registry.resident("Fly").recipe["preset"] == "gentle"
    auto = neekoctl("add-character", write_profile(tmp_path, "Gnu"), "--strategy", "auto", "--json").document
    assert "--warm-start hyper" in auto["reason"]
    kept = registry.resident("Gnu").recipe
    assert (kept["asked"], kept["preset"], kept["warm_start"]) == ("auto", "gentle", "hyper")
    after = {row.name: row.block for row in registry.residents()}
    assert before.items() <= after.items()
    assert neekoctl("check").code == 0


def one_alone(_: Registry, folder: Path) -> tuple[tuple[object, ...], str]:
    return ("--character", "Ant"), "two characters at least"


def one_twice(_: Registry, folder: Path) -> tuple[tuple[object, ...], str]:
    return ("--character", "Ant", "--character", "ant"), "two characters at least"


def nobody(_: Registry, folder: Path) -> tuple[tuple[object, ...], str]:
    return (*TWO, "--character", "Zoe"), "Nobody here is called 'Zoe'"


def before_dialogues_were_kept(registry: Registry, folder: Path) -> tuple[tuple[object, ...], str]:
    from sqlmodel import delete

    from registry.tables import Dialogue

    with registry.writing() as session:
        session.exec(delete(Dialogue))
    return TWO, "name its profile file instead"


def over_two_bases(registry: Registry, folder: Path) -> tuple[tuple[object, ...], str]:
    from registry.tables import Character

    other = registry.bank("another", "f" * 64)
    with registry.writing() as session:
        ant = session.get_one(Character, registry.find("Ant").id)
        ant.bank_id = other.id or 0
    return TWO, "over one base model"


@pytest.mark.parametrize("case", [one_alone, one_twice, nobody, before_dialogues_were_kept, over_two_bases],
                         ids=lambda each: each.__name__)  # fmt: skip
def test_what_cannot_be_a_cohort_is_refused(case: Any, neekoctl, registry: Registry, tmp_path: Path) -> None:
    options, told = case(registry, tmp_path)
    before = [(row.name, row.status) for row in registry.characters()]
    done = neekoctl("cohort", "train", "founders", *options, *FAST)
    assert done.code in (1, 2)
    assert told in done.err
    assert [(row.name, row.status) for row in registry.characters()] == before


def test_no_disk_space(neekoctl, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    done = neekoctl("cohort", "train", "founders", *TWO, *FAST)
    assert (done.code, "free some space" in done.err) == (1, True)
    assert registry.characters(status=("reserved",)) == []


def test_a_bad_name_or_setting_is_refused(neekoctl, registry: Registry) -> None:
    assert "lower-case" in neekoctl("cohort", "train", "../x", *TWO).err
    assert "no preset" in neekoctl("cohort", "train", "x", *TWO, "--kind", "odd").err
    assert "--set generated" in neekoctl("cohort", "train", "x", *TWO, "--set", "generated=c").err


def test_without_a_cohort_hyper_says_how_to_make_one(neekoctl, registry: Registry, tmp_path: Path) -> None:
    done = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--strategy", "hyper")
    assert (done.code, "neekoctl cohort train" in done.err) == (2, True)
    trained(neekoctl, *TWO)
    for strategy in ("hyper", "auto"):
        unread = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--strategy", strategy, "--from-profile")
        assert (unread.code, "reads no personas" in unread.err, "persona=true" in unread.err) == (2, True, True)


def test_a_persona_is_read_by_the_newest_cohort_that_can(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO, "--set", "persona=true")
    trained(neekoctl, *TWO, name="deaf")
    dog = write_profile(tmp_path, "Dog")
    for strategy in ("hyper", "auto"):
        plan = neekoctl("add-character", dog, "--strategy", strategy, "--from-profile", "--dry-run", "--json").document
        assert plan["cohort"] == "founders version 1"
    named = neekoctl("add-character", dog, "--strategy", "hyper", "--from-profile", "--cohort", "deaf", "--dry-run")
    assert (named.code, "deaf reads no personas" in named.err) == (2, True)


def test_a_rehearsal_sees_that_a_persona_is_read_by_another_encoder(neekoctl, registry: Registry,
                                                                    tmp_path: Path) -> None:  # fmt: skip
    trained(neekoctl, *TWO, "--set", "persona=true")
    with registry.writing() as session:
        session.exec(update(Cohort).values(encoder="another@1234"))
    asked = ("--strategy", "hyper", "--from-profile", "--dry-run")
    done = neekoctl("add-character", write_profile(tmp_path, "Dog"), *asked)
    assert (done.code, "reads personas by another@1234: leave --from-profile out" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--strategy", "hyper", "--rank", 16), "--rank does nothing for --strategy hyper"),
        (("--strategy", "hyper", "--set", "rank=16"), "--rank does nothing for --strategy hyper"),
        (("--strategy", "hyper", "--set", "alpha=16"), "--set alpha does nothing for --strategy hyper"),
        (("--cohort", "founders"), "--cohort does nothing for --strategy expand without --warm-start hyper"),
        (("--strategy", "auto", "--from-profile"), "neekoctl cohort train"),
    ],
)
def test_an_option_that_no_network_reads_is_refused(options: Any, told: str, neekoctl, registry: Registry,
                                                    tmp_path: Path) -> None:  # fmt: skip
    done = neekoctl("add-character", write_profile(tmp_path, "Dog"), *options)
    assert (done.code, told in done.err) == (2, True)
