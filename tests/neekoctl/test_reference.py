"""The command reference is what the commands say."""

from pathlib import Path

from neekoctl.commands.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_command_reference_is_not_stale() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"
