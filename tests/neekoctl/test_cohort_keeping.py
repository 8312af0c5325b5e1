"""What becomes of cohorts' files: they travel, are found damaged, are removed, and a training that dies leaves none."""

from pathlib import Path
from typing import Any

import pytest

from neekoctl.render import TrainingScreen
from registry.cohorts import cohorts, next_version, put_cohort
from registry.errors import NameTaken
from registry.shapes import plain, rows_of
from registry.store import Registry
from registry.tables import Cohort
from tests.neekoctl.cohorts import FAST, TWO, trained
from tests.neekoctl.conftest import QUICK
from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")


@pytest.fixture
def registry(inhabited: Registry) -> Registry:
    return inhabited


def damage(registry: Registry, version: int = 1) -> None:
    path = registry.layout.cohort("founders", version) / "network.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def test_a_cohort_travels_with_its_registry(neekoctl, registry: Registry, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    trained(neekoctl, *TWO)
    bundle = tmp_path / "monday.neeko"
    saved = neekoctl("bundle", "save", bundle)
    assert saved.code == 0 and ", cohort founders 1, " in saved.out
    monkeypatch.setenv("NEEKOCTL_HOME", str(tmp_path / "elsewhere"))
    assert neekoctl("bundle", "load", bundle).code == 0
    assert neekoctl("cohort", "show", "founders", "--json").document["whole"]
    dog = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--strategy", "hyper", "--preset", "quick")
    assert dog.code == 0, dog.err
    assert neekoctl("check").code == 0
    assert neekoctl("cohort", "upgrade", "founders", "--json").code == 0  # their dialogues came along


def test_a_damaged_cohort_is_refused_and_told(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO)
    damage(registry)
    dog = write_profile(tmp_path, "Dog")
    done = neekoctl("add-character", dog, "--strategy", "hyper", "--preset", "quick")
    assert (done.code, "missing or damaged" in done.err) == (1, True)
    assert registry.characters(status=("reserved",)) == []
    assert neekoctl("add-character", dog, "--strategy", "hyper", "--dry-run").code == 1
    assert "damaged" in neekoctl("cohort", "list").out
    assert "cohort founders version 1 are missing or changed" in neekoctl("doctor").out
    checked = neekoctl("check", "--json")
    assert (checked.code, checked.document["sections"]["weights"]["common"]) == (
        3, ["the files of cohort founders version 1 are missing or changed"])  # fmt: skip


def test_a_cohort_whose_files_cannot_be_deleted_is_forgotten_all_the_same(
    neekoctl, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(neekoctl, *TWO)
    with monkeypatch.context() as patch:
        patch.setattr("registry.cohorts._delete", lambda folder: (_ for _ in ()).throw(PermissionError(folder)))
        assert neekoctl("cohort", "remove", "founders", "--yes").code == 1
    assert neekoctl("cohort", "list", "--json").document == []
    assert neekoctl("doctor", "--json").code == 0
    assert not list(registry.layout.cohorts.glob("*/*"))


def test_a_damaged_cohort_is_removed_and_its_members_stay(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO)
    damage(registry)
    before = {row.name: row.block for row in registry.residents()}
    (finding,) = (each for each in neekoctl("doctor", "--json").document["findings"] if each["harm"])
    command = finding["advice"].split("`")[1]
    assert command == "neekoctl cohort remove founders --version 1"
    asked = neekoctl(*command.split()[1:])
    assert (asked.code, "repeat with --yes" in asked.err) == (2, True)
    assert "keeps its block" in neekoctl(*command.split()[1:], "--yes").out
    assert not (registry.layout.home / "cohorts" / "founders").exists()
    assert {row.name: row.block for row in registry.residents()} == before
    assert [neekoctl(*words).code for words in (("doctor",), ("check",), ("bundle", "save", tmp_path / "b.neeko"))] == [
        0, 0, 0]  # fmt: skip
    assert neekoctl("cohort", "list", "--json").document == []
    assert neekoctl("cohort", "remove", "founders", "--yes").code == 2
    assert next_version(registry, "founders") == 2  # Ant's block is of version 1 still
    assert next_version(registry, "others") == 1


def test_a_cohort_that_was_made_meanwhile_is_not_continued(neekoctl, registry: Registry) -> None:
    trained(neekoctl, *TWO)
    (row,) = cohorts(registry)
    late = Cohort(**{**row.model_dump(exclude={"id"}), "version": 2})
    with registry.writing() as session, pytest.raises(NameTaken, match="Version 1 .* --resume under another name"):
        put_cohort(registry, session, late, registry.layout.cohort("founders", 1), first=True)
    assert cohorts(registry) == [row]


def test_a_version_that_is_not_there_is_told_from_a_cohort_that_is_not(neekoctl, registry: Registry,
                                                                       tmp_path: Path) -> None:  # fmt: skip
    trained(neekoctl, *TWO)
    done = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--strategy", "hyper", "--cohort", "founders@3")
    assert (done.code, "The cohort founders has no version 3: choose 1." in done.err) == (2, True)


def test_a_cohort_stays_out_where_its_people_are_merged_among_others(
    neekoctl, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(neekoctl, *TWO)
    assert neekoctl("bundle", "save", tmp_path / "monday.neeko").code == 0
    monkeypatch.setenv("NEEKOCTL_HOME", str(tmp_path / "elsewhere"))
    assert neekoctl("add-character", write_profile(tmp_path, "Dot"), *QUICK).code == 0
    assert neekoctl("bundle", "load", tmp_path / "monday.neeko", "--json").document["how"] == "merged"
    assert neekoctl("cohort", "list", "--json").document == []
    assert not list((tmp_path / "elsewhere" / "cohorts").glob("*"))
    assert neekoctl("check").code == 0


def test_versions_are_removed_one_by_one_and_a_number_comes_once(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO)
    assert neekoctl("cohort", "upgrade", "founders", "--tolerance", "likelihood_elsewhere=100").code == 0
    assert neekoctl("cohort", "remove", "founders", "--version", 1, "--yes").code == 0
    assert [row["version"] for row in neekoctl("cohort", "list", "--json").document] == [2]
    assert neekoctl("cohort", "remove", "founders", "--yes").code == 0
    for name in ("Ant", "Bee"):
        neekoctl("remove", name, "--yes")
    pair = ("--character", "Cub", "--character", write_profile(tmp_path, "Dog"))
    assert trained(neekoctl, *pair)["version"] == 3  # blocks of the second are in the history


def test_auto_does_without_a_damaged_cohort(neekoctl, registry: Registry, tmp_path: Path) -> None:
    trained(neekoctl, *TWO)
    damage(registry)
    dog = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--strategy", "auto", "--dry-run", "--json")
    assert (dog.code, dog.document["cohort"]) == (0, None)
    assert "missing or changed: going on without it" in dog.err


def test_files_of_another_cohort_are_refused(neekoctl, registry: Registry, tmp_path: Path) -> None:
    from registry.cohorts import cohort_digest

    trained(neekoctl, *TWO)
    folder = registry.layout.cohort("founders", 1)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"founders"', '"strangers"'))
    with registry.writing() as session:
        row = cohorts(registry)[0]
        row.digest = cohort_digest(folder)
        session.add(row)
    done = neekoctl("add-character", write_profile(tmp_path, "Dog"), "--strategy", "hyper")
    assert (done.code, "are of cohort strangers version 1" in done.err) == (1, True)


def test_what_a_killed_training_left_is_in_nobodys_way(neekoctl, registry: Registry) -> None:
    stale = registry.layout.cohort("founders", 1)
    stale.mkdir(parents=True)
    (stale / "config.json").write_text("{}")
    assert trained(neekoctl, *TWO)["version"] == 1
    assert neekoctl("cohort", "show", "founders", "--json").document["whole"]


def test_a_training_that_fails_leaves_no_trace(neekoctl, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from recipes.cohort import Learning

    before = [(row.name, row.status, row.block) for row in registry.characters()]
    loss = Learning.loss
    monkeypatch.setattr(Learning, "loss", lambda self, batch, epoch: loss(self, batch, epoch) * float("nan"))
    done = neekoctl("cohort", "train", "founders", *TWO, *FAST)
    assert (done.code, "The loss is nan at step 1" in done.err) == (1, True)
    assert [(row.name, row.status, row.block) for row in registry.characters()] == before
    assert not registry.layout.cohort("founders", 1).exists()


def test_a_training_that_fails_at_the_very_end_leaves_no_files(neekoctl, registry: Registry,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from registry.store import Registry as Store

    commit = Store.commit_all

    def fails(self: Store, arrivals: Any, also: Any) -> Any:
        def then(session: Any) -> None:
            also(session)
            raise KeyboardInterrupt

        return commit(self, arrivals, then)

    before = [(row.name, row.status, row.block) for row in registry.characters()], registry.blocks.digests()
    monkeypatch.setattr(Store, "commit_all", fails)
    assert neekoctl("cohort", "train", "founders", *TWO, *FAST).code != 0
    assert cohorts(registry) == []
    assert not list(registry.layout.cohorts.glob("*"))
    assert ([(row.name, row.status, row.block) for row in registry.characters()], registry.blocks.digests()) == before


def test_nobody_moves_in_when_a_member_has_left_meanwhile(neekoctl, registry: Registry,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    before = registry.resident("Ant").block, registry.blocks.digests()

    def say(_: TrainingScreen, text: str) -> None:
        if text.startswith("witnessing the residents after"):
            registry.remove(registry.resident("Bee"))

    monkeypatch.setattr(TrainingScreen, "say", say)
    done = neekoctl("cohort", "train", "founders", *TWO, *FAST)
    assert (done.code, "Bee was removed or replaced meanwhile" in done.err) == (1, True)
    assert ((registry.resident("Ant").block, registry.blocks.digests()), cohorts(registry)) == (before, [])


def test_doctor_clears_folders_that_no_row_names(neekoctl, registry: Registry) -> None:
    trained(neekoctl, *TWO)
    stray = registry.layout.cohort("founders", 2)
    stray.mkdir()
    (stray / "config.json").write_text("{}")
    assert "cohort founders version 2, which no row names" in neekoctl("doctor").out
    assert (stray.exists(), registry.layout.cohort("founders", 1).exists()) == (False, True)


def test_resuming_nothing_is_said(neekoctl, registry: Registry) -> None:
    done = neekoctl("cohort", "train", "founders", *TWO, *FAST, "--resume")
    assert (done.code, "nothing to resume" in done.err) == (0, True)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kind": "[red]"}, "kind"),
        ({"recipe": {"rank": "8"}}, "must have a rank"),
        ({"recipe": {"rank": 8, "generated": "a"}}, "must have a system_message"),
        ({"recipe": {"rank": 8, "system_message": "Be.", "generated": "c"}}, "which half is written"),
        ({"metrics": {}}, "numbers of steps"),
        ({"metrics": {"steps": 1, "best_step": 1, "likeness": [["a"]]}}, "numbers for likeness"),
        ({"members": [{"name": 3}]}, "members with names"),
    ],
)
def test_a_bundles_cohort_that_could_not_be_told_is_refused(changed: Any, told: str, neekoctl,
                                                            registry: Registry) -> None:  # fmt: skip
    from registry.shapes import Rows

    trained(neekoctl, *TWO)
    tables = plain(Rows(cohort=cohorts(registry)))
    assert rows_of(tables).cohort[0].kind == "hycora"
    tables["cohort"][0].update(changed)
    with pytest.raises(ValueError, match=told):
        rows_of(tables)


def test_likeness_is_of_the_members(neekoctl, registry: Registry) -> None:
    from registry.consistency import refuse_inconsistent
    from registry.shapes import Rows

    trained(neekoctl, *TWO)
    row = cohorts(registry)[0]
    row.metrics = {**row.metrics, "likeness": [[1.0]]}
    with pytest.raises(ValueError, match="not of them"):
        refuse_inconsistent(Rows(bank=registry.banks(), cohort=[row]), whole=True)
