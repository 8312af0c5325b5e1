"""docs/commands.md, written from the commands themselves: `python -m neekoctl.commands.reference docs/commands.md`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from neekoctl.cli import app

WIDTH = 100
HEAD = """\
# Commands

Written by `make docs` from the commands themselves; a test fails when it is stale.

Progress and logs go to stderr. With `--json`, stdout carries exactly one JSON document.
Exit codes: 0 fine, 1 error, 2 usage, 3 a check found a regression.
"""


def reference() -> str:
    """The whole page."""
    sections = [
        f"## {path}\n\n```text\n{text}\n```\n" for path, text in _helps("neekoctl", typer.main.get_command(app))
    ]
    return "\n".join([HEAD, *sections])


def _helps(path: str, command: Any, parent: Any = None) -> Iterator[tuple[str, str]]:
    context = command.make_context(path, [], parent=parent, resilient_parsing=True, terminal_width=WIDTH)
    context.info_name = path.rpartition(" ")[2]
    yield path, command.get_help(context).strip()
    for name, child in getattr(command, "commands", {}).items():
        yield from _helps(f"{path} {name}", child, context)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
