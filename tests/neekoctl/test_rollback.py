"""`log` and `rollback` through the command line."""

from pathlib import Path

import pytest

from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")
QUICK = ("--preset", "quick", "--set", "learning_rate=0.01", "--set", "epochs=1")


@pytest.fixture
def three(neekoctl, tmp_path: Path, pico_environment: None) -> None:
    """Ant and Bee moved in, Bee moved out, Cub moved in where she was."""
    for name in ("Ant", "Bee"):
        assert neekoctl("add-character", write_profile(tmp_path, name, (f"{name}ie",)), *QUICK).code == 0
    neekoctl("remove", "bee", "--yes")
    assert neekoctl("add-character", write_profile(tmp_path, "Cub"), *QUICK).code == 0


@pytest.mark.usefixtures("three")
def test_the_log_tells_who_came_and_went(neekoctl) -> None:
    rows = neekoctl("log", "--json").document
    assert [(row["revision"], row["kind"], row["character"]) for row in rows] == [
        (4, "moved in", "Cub"), (3, "moved out", "Bee"), (2, "moved in", "Bee"), (1, "moved in", "Ant")]  # fmt: skip
    assert "- moved out Bee" in neekoctl("log").out


@pytest.mark.usefixtures("three")
def test_going_back_brings_the_same_replies_and_passes_the_check(neekoctl) -> None:
    neekoctl("rollback", 3, "--yes")
    said = neekoctl("chat", "--as", "ant", "--once", "Hello", "--temperature", 0, "--json").document["reply"]
    document = neekoctl("rollback", 2, "--yes", "--json").document
    assert (document["moved_in"], document["moved_out"]) == (["Bee"], [])
    assert document["certificate"] == {"residents": 2, "identical": 2, "changed": []}
    assert [row["name"] for row in neekoctl("list", "--json").document] == ["Ant", "Bee"]
    assert neekoctl("show", "beeie", "--json").document["rank_start"] == 8
    assert neekoctl("chat", "--as", "ant", "--once", "Hello", "--temperature", 0, "--json").document["reply"] == said
    assert neekoctl("check").code == 0
    assert neekoctl("route", "Bee, who are you?", "--json").document["character"] == "Bee"


@pytest.mark.usefixtures("three")
def test_a_pruned_block_cannot_come_back(neekoctl) -> None:
    neekoctl("doctor", "--prune")
    done = neekoctl("rollback", 2, "--yes", "--json")
    assert (done.code, "The block of Bee" in done.document["error"]) == (1, True)
    assert [row["name"] for row in neekoctl("list", "--json").document] == ["Ant", "Cub"]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("9", "--yes"), "There is no revision 9"),
        (("4", "--yes"), "Nothing has changed"),
        (("2",), "repeat with --yes"),
    ],
)
def test_a_rollback_to_nowhere_is_refused(neekoctl, words, sentence: str) -> None:
    done = neekoctl("rollback", *words, "--json")
    assert done.code == 2
    assert sentence in done.document["error"]


def test_nothing_has_happened_in_an_empty_home(neekoctl) -> None:
    assert neekoctl("log", "--json").document == []
    assert "Nothing has happened" in neekoctl("log").out
    assert neekoctl("rollback", 0, "--yes").code == 2


@pytest.mark.usefixtures("three")
def test_who_is_damaged_after_going_back_is_named(neekoctl, home: Path) -> None:
    block = neekoctl("show", "ant", "--json").document["block"]
    path = home / "blocks" / block[:2] / block / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    done = neekoctl("rollback", 3, "--yes")
    assert (done.code, "The blocks of Ant are damaged" in done.err) == (1, True)
