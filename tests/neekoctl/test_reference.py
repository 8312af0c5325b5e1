"""The command reference is what the commands say, and its table of fields is what they print."""

import re
from pathlib import Path

import pytest

from neekoctl.commands.reference import reference
from tests.neekoctl.cohorts import FAST, TWO
from tests.neekoctl.conftest import QUICK
from tests.picos import write_profile

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
ROW = re.compile(r"^\| (.+?) \| ([^|()]+?)(?: \((.+)\))? \|$", re.MULTILINE)


def test_the_command_reference_is_not_stale() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make docs`"


@pytest.mark.usefixtures("pico_environment", "inhabited")
def test_documents_have_the_fields_that_the_reference_tells_of(neekoctl, tmp_path: Path) -> None:
    newcomer, once = write_profile(tmp_path, "Dot"), ("--as", "Ant", "--once", "Hello", "--max-new-tokens", 1)
    asked = {
        "add-character": (newcomer, *QUICK),
        "cohort train": ("founders", *TWO, *FAST),
        "cohort upgrade": ("founders",),
        "cohort show": ("founders",),
        "cohort list": (),
        "list": (),
        "ranks": (),
        "route": ("Hello",),
        "chat --once": once,
        "check": (),
    }
    told = _table()
    for command, options in asked.items():
        words = command.removesuffix(" --once").split()
        found = neekoctl(*words, *options, "--json").document
        always, sometimes = told[command]
        for document in found if isinstance(found, list) else [found]:
            assert always <= document.keys() <= always | sometimes, command
    assert neekoctl("show", "nobody", "--json").document.keys() == told["any that fails"][0]
    assert told.keys() - {"any that fails"} == asked.keys()


def _table() -> dict[str, tuple[set[str], set[str]]]:
    """By command: what its document always holds, and what it may hold besides."""
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))[1:]
    return {
        command.strip("`"): (set(always.split(", ")), set(sometimes.split(", ")) - {""})
        for commands, always, sometimes in rows
        for command in commands.split("`, `")
    }
