"""Whom `neekoctl check` looks at, what it lets pass, and everywhere people read it."""

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from neekoctl.checks import junit
from neekoctl.outlet import refuse_unwritable
from registry.store import Registry
from tests.neekoctl.conftest import NAMES
from tests.neekoctl.faults import change_alpha, checked, edit_a_probe, flip_a_byte, overwrite_with, row_of

pytestmark = pytest.mark.usefixtures("pico_environment")


@pytest.fixture
def registry(inhabited: Registry) -> Registry:
    return inhabited


# whom, and how much is allowed


def test_only_sample_and_changed_since_say_who_was_left_out(neekoctl, registry: Registry) -> None:
    assert checked(neekoctl, "--only", "bee")["left_out"] == ["Ant", "Cub"]
    since = checked(neekoctl, "--changed-since", 2)
    assert ([row["name"] for row in since["characters"]], since["left_out"]) == (["Cub"], ["Ant", "Bee"])
    some = checked(neekoctl, "--sample", 2)
    assert (some["checked"], len(some["left_out"])) == (2, 1)
    assert "Left out" in neekoctl("check", "--only", "bee").out
    assert neekoctl("check", "--changed-since", 3).code == 1  # nobody since: a check of nothing
    assert neekoctl("check", "--changed-since", 99).code == 2
    assert neekoctl("check", "--sample", 0).code == 2


def test_only_may_be_said_of_several(neekoctl, registry: Registry) -> None:
    assert [row["name"] for row in checked(neekoctl, "--only", "cub", "--only", "ant")["characters"]] == ["Ant", "Cub"]


def test_a_sample_is_another_after_every_check(neekoctl, registry: Registry) -> None:
    drawn = {checked(neekoctl, "--sample", 1)["characters"][0]["name"] for _ in range(12)}
    assert drawn == set(NAMES)


def test_tolerances_come_from_the_file_and_the_option(neekoctl, registry: Registry, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    edit_a_probe(registry)
    monkeypatch.chdir(tmp_path)
    assert checked(neekoctl)["verdict"] == "regressed"
    (tmp_path / "check.yaml").write_text("weights: 1\n")
    assert checked(neekoctl)["verdict"] == "pass"
    assert checked(neekoctl, "--tolerance", "weights=0")["verdict"] == "regressed"
    other = tmp_path / "strict.yaml"
    other.write_text("likelihood: 0\n")
    assert checked(neekoctl, "--config", other)["tolerances"]["likelihood"] == 0


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("weight: 1", "names no measure 'weight'"),
        ("gate: true", "wants a number"),
        ("replies: 2", "less than or equal to 1"),
        ("- 1", "no mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_tolerance_is_told_in_a_sentence(written: str, told: str, neekoctl, registry: Registry,
                                                 tmp_path: Path) -> None:  # fmt: skip
    file = tmp_path / "check.yaml"
    file.write_text(written)
    done = neekoctl("check", "--config", file)
    assert (done.code, told in done.err) == (2, True)
    assert neekoctl("check", "--tolerance", "likelihood").code == 2


# where people read it


def test_the_terminal_shows_sections_and_complaints(neekoctl, registry: Registry) -> None:
    change_alpha(registry)
    told = neekoctl("check").out
    assert "weights     regressed" in told
    assert "alpha 32 became 64" in told
    assert "exact McNemar" in told


def test_junit_has_a_suite_a_section_and_a_case_a_character(neekoctl, registry: Registry, tmp_path: Path) -> None:
    flip_a_byte(registry)
    path = tmp_path / "reports" / "check.xml"
    neekoctl("check", "--junit", path)
    root = ElementTree.parse(path).getroot()
    suites = {suite.get("name"): suite for suite in root.iter("testsuite")}
    assert list(suites) == [f"neekoctl.{name}" for name in ("weights", "likelihood", "replies", "gate", "style")]
    failed = [
        case.get("name") for case in suites["neekoctl.weights"].iter("testcase") if case.find("failure") is not None
    ]
    assert failed == ["Bee"]
    assert [case.get("name") for case in suites["neekoctl.gate"].iter("testcase")] == [*NAMES, "(everybody)"]
    assert root.get("failures") == "1"


def test_letters_that_join_stay_in_a_report() -> None:
    said = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645\xa0\u3000x"
    assert junit._printable(f"{said}\x1b[2J\x00") == f"{said}\ufffd[2J\ufffd"


def test_who_was_not_judged_is_skipped_and_not_passed(neekoctl, registry: Registry, tmp_path: Path) -> None:
    flip_a_byte(registry)
    path = tmp_path / "check.xml"
    document = neekoctl("check", "--junit", path, "--json").document
    why = "its block or records are not as they were stored"
    assert document["sections"]["replies"]["unjudged"] == {"Bee": why}
    cases = {(case.get("classname"), case.get("name")): case.find("skipped")
             for case in ElementTree.parse(path).iter("testcase")}  # fmt: skip
    assert cases["neekoctl.replies", "Bee"].get("message") == why
    assert cases["neekoctl.replies", "Ant"] is None


def test_tolerated_weights_fail_nowhere(neekoctl, registry: Registry, tmp_path: Path) -> None:
    flip_a_byte(registry)
    path = tmp_path / "check.xml"
    done = neekoctl("check", "--tolerance", "weights=1", "--junit", path, "--github")
    assert (done.code, ElementTree.parse(path).getroot().get("failures")) == (0, "0")
    assert "::error" not in done.err
    assert "::warning title=neekoctl weights::Bee" in done.err


def test_a_check_that_could_not_run_is_told_where_people_read(neekoctl, tmp_path: Path) -> None:
    path = tmp_path / "check.xml"
    done = neekoctl("check", "--junit", path, "--github")
    assert (done.code, "::error title=neekoctl check::There is nobody to check" in done.err) == (1, True)
    assert ElementTree.parse(path).getroot().get("errors") == "1"


def test_a_report_that_would_overwrite_a_folder_is_refused_first(neekoctl, registry: Registry, tmp_path: Path) -> None:
    done = neekoctl("check", "--junit", tmp_path)
    assert (done.code, "is a folder" in done.err, done.out) == (2, True, "")


def test_a_report_that_cannot_be_written_is_refused_first(neekoctl, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no folder")
    done = neekoctl("check", "--html", tmp_path / "notes" / "check.html")
    assert (done.code, done.out) == (2, "")
    assert "check.html cannot be written" in done.err
    assert neekoctl("check", "--html", tmp_path / "check.html", "--only", "nobody").code == 1
    assert not (tmp_path / "check.html").exists()  # having looked leaves nothing


def test_github_gets_annotations_and_a_summary(neekoctl, registry: Registry, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    flip_a_byte(registry)
    done = neekoctl("check", "--github", "--json")
    assert done.document["verdict"] == "regressed"  # stdout stays one document
    errors = [line for line in done.err.splitlines() if line.startswith("::error title=neekoctl weights::")]
    assert errors == ["::error title=neekoctl weights::Bee: adapter_model.safetensors of its block changed"]
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("## ❌ neekoctl check: regressed")
    assert r"adapter\_model.safetensors" in summary


def test_the_page_needs_no_network_and_escapes_what_people_wrote(neekoctl, registry: Registry, tmp_path: Path) -> None:
    with registry.writing() as session:
        row_of(session, "Bee").name = "<b>Bee</b>"
    page = tmp_path / "check.html"
    neekoctl("check", "--html", page)
    text = page.read_text()
    assert "&lt;b&gt;Bee&lt;/b&gt;" in text
    assert "<td><b>Bee" not in text
    assert 'src="http' not in text


# which onboarding changed whom


def test_history_has_a_column_a_revision_and_tells_who_changed(neekoctl, registry: Registry, tmp_path: Path) -> None:
    document = neekoctl("history", "--json").document
    assert [row["name"] for row in document["characters"]] == list(NAMES)
    assert document["characters"][0]["change"] == [0.0, 0.0, 0.0]  # its own day, and two certificates
    assert document["characters"][2]["change"] == [None, None, 0.0]
    overwrite_with(registry, "Bee", "Cub")
    neekoctl("remove", "Ant", "--yes")
    checked(neekoctl)
    after = neekoctl("history", "--json").document
    bee = after["characters"][0]
    assert (bee["name"], bee["worst"]) == ("Bee", 4)
    assert bee["forgetting"] == bee["change"][-1] > 0
    assert after["forgetting"] == pytest.approx(bee["forgetting"] / 2)
    assert after["backward_transfer"] == -bee["forgetting"]  # the newest is not counted
    page = tmp_path / "pages" / "history.html"
    assert "Bee" in neekoctl("history", "--html", page).out
    assert "Which onboarding changed whom" in page.read_text()


@pytest.mark.parametrize("command", [("check",), ("history",), ("gate", "report")], ids=" ".join)
def test_a_page_that_cannot_be_written_is_refused_before_the_work(
    neekoctl, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = neekoctl(*command, "--html", tmp_path)
    assert (done.code, "is a folder: name the file to write to" in done.err) == (2, True)


def test_a_pipe_may_be_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refuse_unwritable(tmp_path / "pipe")
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_an_empty_history_says_so(neekoctl) -> None:
    assert "Nobody lives here" in neekoctl("history").out
