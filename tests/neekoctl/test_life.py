"""The life of a registry through the command line: characters move in, talk, are checked, and leave."""

import json
import shutil
from pathlib import Path

import pytest

from neekoctl import render
from registry.layout import Layout
from tests.conftest import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")
QUICK = ("--preset", "quick", "--set", "learning_rate=0.01")


def test_an_onboarding_answers_with_the_promised_document(neekoctl, moth: Path, pico_llama: Path) -> None:
    done = neekoctl("add-character", moth, *QUICK, "--json")
    document = done.document
    assert done.code == 0
    assert document["character"] == "Moth"
    assert (document["rank_start"], document["rank_stop"], document["rank"]) == (0, 8, 8)
    assert document["base"] == str(pico_llama)
    assert document["heldout_nll_after"] < document["heldout_nll_before"]
    assert document["tokens_per_second"] > 0
    assert document["parents"] == []
    assert document["certificate"] == {"others": 0, "identical": 0}
    assert "held-out perplexity" in document["reason"]


def test_a_newcomer_leaves_everybody_else_bit_for_bit_identical(neekoctl, tmp_path: Path, layout: Layout) -> None:
    for name in ("Ant", "Bee"):
        assert neekoctl("add-character", write_profile(tmp_path, name), *QUICK).code == 0
    before = {path: path.read_bytes() for path in layout.blocks.rglob("*") if path.is_file()}
    said = neekoctl("chat", "--as", "ant", "--once", "Hello", "--temperature", 0, "--json").document["reply"]
    document = neekoctl("add-character", write_profile(tmp_path, "Cat"), *QUICK, "--json").document
    assert document["certificate"] == {"others": 2, "identical": 2}
    assert all(path.read_bytes() == content for path, content in before.items())
    assert neekoctl("chat", "--as", "ant", "--once", "Hello", "--temperature", 0, "--json").document["reply"] == said


def test_the_same_seed_makes_the_same_block(neekoctl, moth: Path) -> None:
    first = neekoctl("add-character", moth, *QUICK, "--seed", 7, "--json").document
    assert neekoctl("remove", "moth", "--yes").code == 0
    again = neekoctl("add-character", moth, *QUICK, "--seed", 7, "--json").document
    assert neekoctl("remove", "moth", "--yes").code == 0
    other = neekoctl("add-character", moth, *QUICK, "--seed", 8, "--json").document
    assert first["block"] == again["block"] != other["block"]


def test_list_show_and_ranks_tell_who_lives_where(neekoctl, tmp_path: Path) -> None:
    neekoctl("add-character", write_profile(tmp_path, "Ant", ("Formica",)), *QUICK, "--rank", 4)
    neekoctl("add-character", write_profile(tmp_path, "Bee"), *QUICK)
    rows = neekoctl("list", "--json").document
    assert [(row["name"], row["aliases"], row["rank_start"], row["rank_stop"], row["status"]) for row in rows] == [
        ("Ant", ["Formica"], 0, 4, "ready"),
        ("Bee", [], 4, 12, "ready"),
    ]
    ranks = neekoctl("ranks", "--json").document
    assert ranks["used"] == 12
    assert ranks["ranges"][1] == {"character": "Bee", "start": 4, "stop": 12}
    assert ranks["free"] == [[12, ranks["capacity"]]]
    shown = neekoctl("show", "FORMICA", "--json").document
    assert shown["name"] == "Ant"
    assert shown["probes"]
    assert shown["encoder"].partition("@")[2]
    assert "Formica" in neekoctl("list").out
    assert "Ant" in neekoctl("ranks").out
    assert "lives in a lamp" in neekoctl("show", "ant").out


def test_removing_frees_the_range_and_keeps_the_block_until_pruned(neekoctl, tmp_path: Path, layout: Layout) -> None:
    block = neekoctl("add-character", write_profile(tmp_path, "Ant"), *QUICK, "--json").document["block"]
    assert neekoctl("remove", "Ant").code == 2  # no terminal, no --yes
    assert neekoctl("remove", "Ant", "--yes").code == 0
    assert neekoctl("list", "--json").document == []
    assert (layout.blocks / block[:2] / block).is_dir()
    assert neekoctl("doctor", "--json").document["findings"][0]["fixed"] is False
    assert neekoctl("doctor", "--prune", "--json").document["findings"][0]["fixed"] is True
    assert not (layout.blocks / block[:2] / block).exists()
    assert neekoctl("add-character", write_profile(tmp_path, "Bee"), *QUICK, "--json").document["rank_start"] == 0


def test_piped_lines_are_answered_one_by_one(neekoctl, moth: Path) -> None:
    neekoctl("add-character", moth, *QUICK)
    done = neekoctl("chat", "--as", "moth", "--temperature", 0, "--max-new-tokens", 4, stdin="Hello\n\nAnd you?\n")
    assert done.code == 0
    assert len(done.out.rstrip("\n").split("\n")) == 2


def test_a_block_that_is_worse_than_none_is_said_to_be(
    neekoctl, moth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = neekoctl("add-character", moth, *QUICK, "--json").document
    for after, told in ((1.5, True), (0.5, False), (None, False)):
        render.onboarded(document | {"heldout_nll_before": 1.0, "heldout_nll_after": after})
        assert ("The bare base finds" in capsys.readouterr().out) == told


def test_a_sampled_reply_repeats_with_its_seed(neekoctl, moth: Path) -> None:
    neekoctl("add-character", moth, *QUICK)
    ask = ("chat", "--as", "moth", "--once", "Hello", "--max-new-tokens", 12, "--json", "--temperature", 2)
    replies = [neekoctl(*ask, "--seed", seed).document["reply"] for seed in (1, 1, 2)]
    assert replies[0] == replies[1] != replies[2]


def test_the_block_folder_carries_its_card(neekoctl, moth: Path, pico_llama: Path) -> None:
    neekoctl("add-character", moth, *QUICK, "--seed", 3)
    shown = neekoctl("show", "moth", "--json").document
    card = json.loads((Path(shown["block_folder"]) / "neeko.json").read_text())
    assert card["name"] == "Moth"
    assert card["system_message"] == "You are Moth."
    assert card["seed"] == 3
    assert set(card) == {"name", "system_message", "base_fingerprint", "recipe", "seed", "lineage", "data_digests"}
    config = json.loads((Path(shown["block_folder"]) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(pico_llama)


def test_a_base_that_moved_is_named_once_and_found_again(neekoctl, moth: Path, pico_llama: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(pico_llama, old)
    assert neekoctl("add-character", moth, *QUICK, "--base", old).code == 0
    monkeypatch.delenv("NEEKOCTL_BASE")
    old.rename(new)
    lost = neekoctl("check")
    assert (lost.code, "ranks --base" in lost.err) == (1, True)
    assert neekoctl("ranks", "--base", pico_llama.parent).code == 2
    assert neekoctl("ranks", "--base", new, "--json").document["base"] == str(new)
    assert neekoctl("check", "--json").document["verdict"] == "pass"


def test_a_wrong_encoder_is_told_before_anything_is_trained(neekoctl, moth: Path, pico_llama: Path) -> None:
    done = neekoctl("add-character", moth, *QUICK, "--encoder", pico_llama)
    assert (done.code, "sentence encoder" in done.err, "step" in done.err) == (1, True, False)
