"""The characters that ship with the project, as people to interview: the first exchange of every dialogue. Knows
profiles; nothing of models."""

from importlib import resources
from pathlib import Path

from registry.heldout import prompt_hash
from registry.profile import Profile, load_profile
from tests.studies.character_llm import Interviewed

TESTED = 16  # questions a character, those that hash lowest


def starters() -> list[Interviewed]:
    """Everybody, in the order of their files."""
    folder = resources.files("recipes") / "characters"
    with resources.as_file(folder) as here:
        return [_interviewed(load_profile(path)) for path in sorted(Path(here).glob("*.yaml"))]


def _interviewed(profile: Profile) -> Interviewed:
    pairs = {talk.messages[0].content: talk.messages[1].content for talk in profile.dialogues}
    ordered = sorted(pairs.items(), key=lambda pair: prompt_hash(pair[0]))
    return Interviewed(profile.name, [profile.persona], ordered[TESTED:], ordered[:TESTED], [])
