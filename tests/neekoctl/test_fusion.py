"""Fusion, warm starts and `auto` through the command line: made, told, certified, and refused with a sentence."""

import json
import warnings
from pathlib import Path

import pytest
import yaml

from registry.layout import Layout
from registry.store import Registry
from tests.picos import save_gemma, talkative, write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")
QUICK = ("--preset", "quick", "--set", "learning_rate=0.01", "--set", "epochs=1")
FUSE = ("--strategy", "fuse")


@pytest.fixture
def two(neekoctl, tmp_path: Path, pico_environment: None) -> None:
    """Ant and Bee live here."""
    for name, seed in (("Ant", 1), ("Bee", 2)):
        assert neekoctl("add-character", write_profile(tmp_path, name), *QUICK, "--seed", seed).code == 0


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    return write_profile(tmp_path, "Cub")


def persona(profile: Path, text: str) -> Path:
    document = yaml.safe_load(profile.read_text(encoding="utf-8"))
    profile.write_text(yaml.safe_dump({**document, "persona": text}), encoding="utf-8")
    return profile


# fuse


@pytest.mark.usefixtures("two")
def test_a_fusion_moves_in_with_parents_and_leaves_them_as_they_were(neekoctl, cub: Path, layout: Layout) -> None:
    before = {path: path.read_bytes() for path in layout.blocks.rglob("*") if path.is_file()}
    document = neekoctl("add-character", cub, *FUSE, "--json").document
    assert (document["strategy"], document["rank"]) == ("fuse", 8)
    assert {parent["character"] for parent in document["parents"]} == {"Ant", "Bee"}
    assert sum(parent["weight"] for parent in document["parents"]) == pytest.approx(1)
    assert document["certificate"] == {"others": 2, "identical": 2}
    assert document["merge"]["method"] == "svd"
    assert 0 <= document["merge"]["discarded"] < 1
    assert len(document["merge"]["discarded_by_module"]) == 14
    assert document["heldout_nll_before"] > 0 and document["heldout_nll_after"] > 0
    assert all(path.read_bytes() == content for path, content in before.items())
    assert neekoctl("check").code == 0


@pytest.mark.usefixtures("two")
def test_a_fused_block_folder_tells_its_lineage_and_loads_in_peft(neekoctl, cub: Path, pico_llama: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    neekoctl("add-character", cub, *FUSE)
    folder = Path(neekoctl("show", "cub", "--json").document["block_folder"])
    card = json.loads((folder / "neeko.json").read_text())
    assert {parent["name"] for parent in card["lineage"]} == {"Ant", "Bee"}
    assert card["recipe"]["strategy"] == "fuse"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT asks transformers by a name that is going out of use
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pico_llama), str(folder))
    assert model.peft_config["default"].r == 8


@pytest.mark.usefixtures("two")
def test_neighbours_are_chosen_by_hand_with_their_weights(neekoctl, cub: Path) -> None:
    document = neekoctl("add-character", cub, *FUSE, "--from", "ant=3", "--from", "BEE=-1", "--json").document
    assert document["parents"] == [{"character": "Ant", "weight": 1.5}, {"character": "Bee", "weight": -0.5}]


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(("options", "rank"), [(("--rank", 3), 3), (("--merge", "cat"), 16), (("--neighbours", 1), 8),
                                               (("--merge", "elementwise"), 8), (("--merge", "ties"), 8)])  # fmt: skip
def test_a_fusion_is_as_wide_as_its_method_asks(neekoctl, cub: Path, options: tuple[object, ...], rank: int) -> None:
    assert neekoctl("add-character", cub, *FUSE, *options, "--json").document["rank"] == rank


@pytest.mark.usefixtures("two")
def test_energy_picks_the_rank_and_gives_the_rest_of_the_range_back(neekoctl, cub: Path) -> None:
    document = neekoctl("add-character", cub, *FUSE, "--energy", 0.5, "--json").document
    assert document["rank"] < 8
    assert document["merge"]["discarded"] <= 0.5
    ranks = neekoctl("ranks", "--json").document
    assert ranks["ranges"][-1] == {"character": "Cub", "start": 16, "stop": 16 + document["rank"]}
    assert neekoctl("chat", "--as", "cub", "--once", "Hi", "--max-new-tokens", 3).code == 0


@pytest.mark.usefixtures("two")
def test_what_was_done_is_kept_whatever_was_asked_for(neekoctl, cub: Path) -> None:
    neekoctl("add-character", cub, *FUSE, "--energy", 0.5)
    shown = neekoctl("show", "cub", "--json").document
    assert shown["recipe"]["rank"] == shown["rank_stop"] - shown["rank_start"]
    assert (shown["recipe"]["energy"], shown["recipe"]["method"], shown["recipe"]["tuned"]) == (0.5, "svd", False)
    assert "epochs" not in shown["recipe"]


def test_a_name_with_an_equals_sign_can_be_a_parent(
    neekoctl, tmp_path: Path, pico_environment: None, cub: Path
) -> None:
    neekoctl("add-character", write_profile(tmp_path, "E=mc"), *QUICK)
    document = neekoctl("add-character", cub, *FUSE, "--from", "e=mc", "--json").document
    assert document["parents"] == [{"character": "E=mc", "weight": 1.0}]


@pytest.mark.usefixtures("two")
def test_a_newcomer_whom_nobody_resembles_is_told(neekoctl, cub: Path, monkeypatch) -> None:
    monkeypatch.setattr("neekoctl.kinship.DISTANT", 1.5)
    done = neekoctl("add-character", cub, *FUSE, "--dry-run")
    assert "nobody here resembles the newcomer" in done.err


@pytest.mark.usefixtures("two")
def test_tuning_shows_its_passes(neekoctl, cub: Path) -> None:
    done = neekoctl("add-character", cub, *FUSE, "--tune", "--json")
    assert 0 < done.document["merge"]["passes"] <= 30
    assert f"in {done.document['merge']['passes']} forward passes" in done.document["reason"]
    assert "step 10/30" in done.err


@pytest.mark.usefixtures("two")
def test_the_same_fusion_is_the_same_block(neekoctl, cub: Path) -> None:
    first = neekoctl("add-character", cub, *FUSE, "--json").document["block"]
    neekoctl("remove", "cub", "--yes")
    assert neekoctl("add-character", cub, *FUSE, "--json").document["block"] == first


# what became of the parents


@pytest.mark.usefixtures("two")
def test_a_child_outlives_its_parents_and_says_so(neekoctl, cub: Path, tmp_path: Path) -> None:
    neekoctl("add-character", cub, *FUSE)
    assert neekoctl("remove", "ant", "--yes", "--json").document["children"] == ["Cub"]
    assert "staying as they are: Cub" in neekoctl("remove", "bee", "--yes").out
    assert "parentless" in neekoctl("show", "cub").out
    assert [parent["state"] for parent in neekoctl("show", "cub", "--json").document["parents"]] == ["gone", "gone"]
    assert neekoctl("chat", "--as", "cub", "--once", "Hi", "--max-new-tokens", 3).code == 0
    assert neekoctl("check").code == 0
    assert neekoctl("doctor", "--prune").code == 0
    assert neekoctl("check").code == 0
    assert neekoctl("stale", "--json").document == []


@pytest.mark.usefixtures("two")
def test_stale_names_children_whose_parents_were_replaced(neekoctl, cub: Path, tmp_path: Path) -> None:
    neekoctl("add-character", cub, *FUSE)
    neekoctl("remove", "ant", "--yes")
    neekoctl("add-character", write_profile(tmp_path, "Ant"), *QUICK, "--seed", 9)
    (row,) = neekoctl("stale", "--json").document
    assert (row["character"], row["parent"]) == ("Cub", "Ant")
    assert row["now"] == neekoctl("show", "ant", "--json").document["block"] != row["block"]
    assert "replaced since" in neekoctl("show", "cub").out
    assert "To follow, add it again with --replace." in neekoctl("stale").out
    neekoctl("add-character", cub, *FUSE, "--replace")
    assert neekoctl("stale", "--json").document == []


# expand from a neighbour


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(("start", "parents"), [("fuse", {"Ant", "Bee"}), ("bee", {"Bee"}), ("none", set())])
def test_an_expansion_starts_from_whom_it_is_told(neekoctl, cub: Path, start: str, parents: set[str]) -> None:
    document = neekoctl("add-character", cub, *QUICK, "--warm-start", start, "--json").document
    assert document["strategy"] == "expand"
    assert {parent["character"] for parent in document["parents"]} == parents


# auto


@pytest.mark.usefixtures("two")
def test_auto_chooses_says_why_and_keeps_the_reason(neekoctl, cub: Path) -> None:
    document = neekoctl("add-character", cub, *QUICK, "--strategy", "auto", "--json").document
    assert document["strategy"] in ("fuse", "expand")
    assert document["reason"].startswith("auto took ")
    shown = neekoctl("show", "cub", "--json").document
    assert shown["reason"] == document["reason"]
    assert shown["strategy"] == document["strategy"]
    assert shown["metrics"]["asked"] == "auto"
    assert document["certificate"] == {"others": 2, "identical": 2}


def test_auto_expands_the_first_of_all(neekoctl, cub: Path) -> None:
    document = neekoctl("add-character", cub, *QUICK, "--strategy", "auto", "--json").document
    assert (document["strategy"], document["parents"]) == ("expand", [])
    assert "nobody whose block could be used" in document["reason"]


@pytest.mark.usefixtures("two")
def test_a_dry_run_prints_the_plan_and_makes_nothing(neekoctl, cub: Path, layout: Layout) -> None:
    before = sorted(path for path in layout.home.rglob("*") if path.is_file() and "registry" not in path.name)
    plan = neekoctl("add-character", cub, "--strategy", "auto", "--budget", "2m", "--dry-run", "--json").document
    assert plan["rungs"] == ["expand --warm-start fuse"]
    assert {each["character"] for each in plan["neighbours"]} == {"Ant", "Bee"}
    assert (plan["budget"], plan["exchanges"] + plan["probes"]) == (120.0, 16)
    said = neekoctl("add-character", cub, "--strategy", "auto", "--dry-run").out
    assert "1. expand --warm-start" in said and "too few to compare by" in said
    assert sorted(path for path in layout.home.rglob("*") if path.is_file() and "registry" not in path.name) == before
    assert [row.name for row in Registry(layout).characters()] == ["Ant", "Bee"]


@pytest.mark.usefixtures("two")
def test_auto_compares_on_held_out_replies_and_keeps_every_comparison(neekoctl, tmp_path: Path) -> None:
    document = neekoctl("add-character", talkative(tmp_path, "Cub"), *QUICK, "--strategy", "auto", "--json").document
    first, *others = document["rungs"]
    assert first["rung"] == "fuse" and "low" not in first
    assert [each["rung"] for each in others] == ["fuse --tune", "expand --warm-start fuse", "expand"]
    assert all(each["low"] <= each["mean"] <= each["high"] for each in others)
    best = first
    for each in others:
        best = each if each["low"] > 0 else best
    assert f"auto took {best['rung']} on " in document["reason"]
    assert document["strategy"] == best["rung"].split()[0]
    shown = neekoctl("show", "cub", "--json").document
    assert shown["metrics"]["rungs"] == document["rungs"]
    assert shown["recipe"]["asked"] == "auto"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("exchanges", [16, 60])
def test_a_spent_budget_takes_the_cheapest_and_names_what_it_left_out(neekoctl, tmp_path: Path, exchanges: int) -> None:
    cub = talkative(tmp_path, "Cub", exchanges)
    done = neekoctl("add-character", cub, *QUICK, "--strategy", "auto", "--budget", "0.001s", "--json")
    assert done.document["strategy"] == "fuse"
    assert "more than the budget has left" in done.document["reason"]


@pytest.mark.usefixtures("two")
def test_auto_with_a_persona_that_resembles_nobody_expands(neekoctl, cub: Path) -> None:
    document = neekoctl("add-character", persona(cub, "Tall."), *QUICK, "--strategy", "auto", "--json").document
    assert (document["strategy"], document["parents"]) == ("expand", [])


# what is refused, with nothing left behind


def refused(neekoctl, *words: object) -> str:
    done = neekoctl("add-character", *words, "--json")
    assert done.code in (1, 2)
    assert "Traceback" not in done.err
    names = [row["name"] for row in neekoctl("list", "--json").document]
    assert "Cub" not in names
    return str(done.document["error"])


def test_nobody_to_fuse_is_sent_to_expand(neekoctl, cub: Path) -> None:
    assert "use --strategy expand" in refused(neekoctl, cub, *FUSE)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--neighbours", 3), "--neighbours 3 asks for more than the 2 who live on"),
        (("--from", "Wasp"), "Nobody here is called 'Wasp'"),
        (("--from", "Ant=nan"), "must be a finite number"),
        (("--from", "Ant=inf"), "must be a finite number"),
        (("--from", "Ant=1e308", "--from", "Bee=1e308"), "must be a finite number"),
        (("--from", "Ant=much"), "'much' is no number"),
        (("--from", "Ant=0"), "A weight of zero"),
        (("--from", "Ant=1", "--from", "Bee=-1"), "The weights sum to 0, and are brought to 1"),
        (("--from", "Ant=-2", "--from", "Bee=1"), "The weights sum to -1, and are brought to 1"),
        (("--from", "Ant=-1"), "The weights sum to -1"),
        (("--from", "Ant=1", "--from", "Bee=-0.99999"), "let those above zero outweigh the others"),
        (("--from", "Ant", "--from", "ant=2"), "names Ant twice"),
        (("--from", "Ant", "--neighbours", 1), "give one of the two"),
        (("--merge", "soup"), "--merge: Input should be"),
        (("--energy", 1.5), "--energy: "),
        (("--energy", 0.9, "--rank", 4), "--energy chooses the rank"),
        (("--energy", 0.9, "--set", "rank=2"), "--energy chooses the rank"),
        (("--energy", 0.9, "--merge", "cat"), "--energy chooses the rank"),
        (("--temperature", 0), "--temperature: "),
        (("--merge", "cat", "--rank", 4), "leave --rank out"),
        (("--from", "Ant=2", "--from", "Bee=-1", "--merge", "ties"), "elects signs"),
        (("--density", 0.3), "--density does nothing for --strategy fuse and --merge svd"),
        (("--from", "Ant", "--temperature", 1), "--temperature does nothing for --strategy fuse and --from"),
        (("--warm-start", "fuse"), "--warm-start does nothing for --strategy fuse"),
        (("--preset", "thorough"), "--preset does nothing for --strategy fuse"),
        (("--set", "epochs=9"), "--set does nothing for --strategy fuse"),
        (("--resume",), "--resume does nothing for --strategy fuse"),
        (("--budget", "60s"), "--budget does nothing for --strategy fuse"),
    ],
)
def test_a_fusion_that_cannot_be_is_refused_with_a_sentence(neekoctl, cub: Path, options, sentence: str) -> None:
    assert sentence in refused(neekoctl, cub, *FUSE, *options)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--tune",), "--tune does nothing for --strategy expand"),
        (("--neighbours", 2), "Choosing neighbours does nothing for --strategy expand without --warm-start fuse"),
        (("--warm-start", "Wasp"), "Nobody here is called 'Wasp'"),
        (("--warm-start", "Ant=5"), "Nobody here is called 'Ant=5'"),
        (("--strategy", "auto", "--budget", "soon"), "'soon' is no time"),
        (("--strategy", "auto", "--budget", "0s"), "'0s' is no time"),
        (("--strategy", "melt"), "choose expand, fuse, hyper, auto"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(neekoctl, cub: Path, options, sentence: str) -> None:
    assert sentence in refused(neekoctl, cub, *options)


@pytest.mark.usefixtures("two")
def test_a_persona_too_short_to_embed_is_refused(neekoctl, cub: Path) -> None:
    assert "too short to find whom it resembles" in refused(neekoctl, persona(cub, "Tall."), *FUSE)


@pytest.mark.usefixtures("two")
def test_a_damaged_parent_is_named_and_nothing_is_made(neekoctl, cub: Path, registry: Registry) -> None:
    row = registry.resident("Bee")
    weights = registry.blocks.path(row.block or "") / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    before = registry.blocks.digests()
    assert "The block of Bee" in refused(neekoctl, cub, *FUSE)
    assert registry.blocks.digests() == before


@pytest.mark.usefixtures("two")
def test_a_resident_of_another_base_cannot_be_a_parent(neekoctl, cub: Path, tmp_path: Path) -> None:
    other = save_gemma(tmp_path / "other-base")
    assert neekoctl("add-character", write_profile(tmp_path, "Dot"), *QUICK, "--base", other).code == 0
    assert "Dot lives on another base" in refused(neekoctl, cub, *FUSE, "--from", "Dot")
    plan = neekoctl("add-character", cub, *FUSE, "--dry-run", "--json").document
    assert {each["character"] for each in plan["neighbours"]} == {"Ant", "Bee"}


def test_auto_with_nothing_to_go_by_is_refused_before_anything_is_loaded(neekoctl, tmp_path: Path) -> None:
    profile = tmp_path / "ghost.yaml"
    profile.write_text("name: Ghost\npersona: Ghost says nothing to anybody, ever.\ndialogues: []\n")
    for dry in ((), ("--dry-run",)):
        done = neekoctl("add-character", profile, "--strategy", "auto", *dry)
        assert (done.code, "nobody to start from" in done.err, "loading" in done.err) == (1, True, False), done.err
