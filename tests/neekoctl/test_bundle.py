"""`bundle save | load | diff` through the command line, with real blocks: whoever moves is who it was."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from registry.layout import HOME_VARIABLE
from tests.picos import write_profile

QUICK = ("--preset", "quick", "--set", "learning_rate=0.01", "--set", "epochs=1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Homes that were made once: a test works on a copy."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def two(neekoctl, home: Path, kept: Path, tmp_path: Path, pico_environment: None) -> Path:
    """Ant and Bee live in this home, Cub did; the bundle of it."""
    if (kept / "two").is_dir():
        shutil.copytree(kept / "two", home)
    else:
        for name in ("Ant", "Bee", "Cub"):
            done = neekoctl("add-character", write_profile(tmp_path, name, (f"{name}ie",)), *QUICK)
            assert done.code == 0, done.err
        neekoctl("remove", "cub", "--yes")
        neekoctl("gate", "rebuild")
        shutil.copytree(home, kept / "two")
    bundle = tmp_path / "two.neeko"
    assert neekoctl("bundle", "save", bundle).code == 0
    return bundle


@pytest.fixture
def elsewhere(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, used from now on."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


def said(neekoctl, name: str) -> str:
    reply: str = neekoctl("chat", "--as", name, "--once", "Hi", "--temperature", 0, "--json").document["reply"]
    return reply


def test_a_restored_home_passes_the_check_and_says_the_same(neekoctl, two: Path, tmp_path: Path, monkeypatch) -> None:
    reply, log = said(neekoctl, "ant"), neekoctl("log", "--json").document
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "elsewhere"))
    document = neekoctl("bundle", "load", two, "--json").document
    assert document == {
        "file": str(two), "dry_run": False, "how": "restored", "skipped": [], "blocks": 3, "gate": 4,
        "moved_in": [{"name": "Ant", "from": [0, 8], "to": [0, 8]}, {"name": "Bee", "from": [8, 16], "to": [8, 16]}],
    }  # fmt: skip
    assert neekoctl("check").code == 0
    assert neekoctl("log", "--json").document == log
    assert said(neekoctl, "antie") == reply
    assert neekoctl("route", "Bee, who are you?", "--json").document["character"] == "Bee"
    assert neekoctl("route", "Who are you, Ant?", "--gate", "head").code == 0
    assert neekoctl("rollback", 3, "--yes", "--json").document["moved_in"] == ["Cub"]
    assert neekoctl("check").code == 0


def test_those_who_live_there_are_joined_and_everybody_passes_the_check(neekoctl, elsewhere, two, tmp_path) -> None:
    assert neekoctl("add-character", write_profile(tmp_path / "d", "Dot"), *QUICK, "--rank", 4).code == 0
    dot = said(neekoctl, "dot")
    done = neekoctl("bundle", "load", two, "--json")
    document = done.document
    assert [(row["name"], row["to"]) for row in document["moved_in"]] == [("Ant", [4, 12]), ("Bee", [12, 20])]
    assert (document["how"], document["gate"]) == ("merged", 2), done.err  # fitted to all
    # who was made first, elsewhere, has moved in last
    assert [row["name"] for row in neekoctl("history", "--json").document["characters"]] == ["Dot", "Ant", "Bee"]
    checked = neekoctl("check", "--json")
    assert (checked.code, checked.document["checked"]) == (0, 3)
    assert said(neekoctl, "dot") == dot
    assert [row["character"] for row in neekoctl("log", "--json").document] == ["Bee", "Ant", "Dot"]
    assert neekoctl("route", "Antie, who are you?", "--json").document["character"] == "Ant"
    again = neekoctl("bundle", "load", two)
    assert "= Ant" in again.out and again.code == 0


def test_without_the_encoder_here_a_rebuild_is_asked_for(neekoctl, elsewhere, two, tmp_path, monkeypatch) -> None:
    assert neekoctl("add-character", write_profile(tmp_path / "d", "Dot"), *QUICK).code == 0
    monkeypatch.setattr("neekoctl.moving.folder_of", lambda *_: tmp_path / "nowhere")
    done = neekoctl("bundle", "load", two, "--json")
    assert (done.code, "`neekoctl gate rebuild`" in done.err, done.document["gate"]) == (0, True, 1)


def test_some_residents_alone(neekoctl, two: Path, elsewhere: Path, home: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    document = neekoctl("bundle", "save", tmp_path / "bee.neeko", "--only", "beeie", "--json").document
    assert (document["residents"], document["whole"], document["blocks"]) == (["Bee"], False, 1)
    monkeypatch.setenv(HOME_VARIABLE, str(elsewhere))
    assert "+ Bee" in neekoctl("bundle", "load", tmp_path / "bee.neeko").out
    assert neekoctl("check").code == 0
    differs = neekoctl("bundle", "diff", home, "here", "--json").document
    assert (differs["removed"], differs["changed"]) == (["Ant"], [])
    assert differs["moved"] == [{"name": "Bee", "from": [8, 16], "to": [0, 8]}]


def test_a_rehearsal_keeps_nothing(neekoctl, two: Path, elsewhere: Path) -> None:
    done = neekoctl("bundle", "load", two, "--dry-run")
    assert "would be restored" in done.out
    assert neekoctl("list", "--json").document == []
    assert not list((elsewhere / "blocks").rglob("*.json"))


def test_a_difference_is_shown_and_is_no_failure(neekoctl, two: Path) -> None:
    assert "No difference" in neekoctl("bundle", "diff", two, "here").out
    neekoctl("remove", "ant", "--yes")
    done = neekoctl("bundle", "diff", two, "here")
    assert (done.code, "- Ant" in done.out) == (0, True)


def test_a_file_that_is_there_stays(neekoctl, two: Path) -> None:
    before = two.read_bytes()
    done = neekoctl("bundle", "save", two, "--json")
    assert (done.code, done.document["kind"], two.read_bytes() == before) == (2, "UsageError", True)
    assert neekoctl("bundle", "save", two, "--force").code == 0


def test_a_bad_bundle_is_refused_with_a_sentence(neekoctl, two: Path, elsewhere: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.neeko"
    bad.write_bytes(two.read_bytes()[:-9])
    for words in (("load", bad), ("diff", bad, "here")):
        done = neekoctl("bundle", *words, "--json")
        assert (done.code, done.document["kind"]) == (1, "BundleRefused")
        assert "nothing was changed" in done.err and "Traceback" not in done.err


def test_the_manifest_is_what_the_documentation_says(two: Path) -> None:
    with zipfile.ZipFile(two) as archive:
        manifest = json.loads(archive.read("bundle.json"))
        assert set(archive.namelist()) == {"bundle.json", *manifest["members"]}
        assert "lives in a lamp" in archive.read("profiles/ant.yaml").decode()
    assert set(manifest) == {"format", "neekoctl", "schema", "created_at", "whole", "tables", "members"}
    assert "gates/4/head.safetensors" in manifest["members"]
