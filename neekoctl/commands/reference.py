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

What the documents hold that scripts read most; `list` and `cohort list` print a list of them:

| command | fields |
|---|---|
| any that fails | error, kind |
| `add-character` | character, strategy, rank_start, rank_stop, rank, block, base, replaced, heldout_nll_before, \
heldout_nll_after, seconds, tokens_per_second, parents, reason, certificate, gate (merge, rungs, cohort) |
| `list` | name, aliases, strategy, rank_start, rank_stop, status, block, created_at |
| `ranks` | base, capacity, used, ranges, free |
| `route` | decision, character, candidates, reason |
| `chat --once` | character, reply, new_tokens, seconds (decision, reason) |
| `check` | verdict, checked, left_out, revision, sections, characters, gate, tolerances |
| `cohort train`, `cohort upgrade` | cohort, version, kind, base, members, steps, best_step, seconds, \
tokens_per_second, certificate, gate |
| `cohort list`, `cohort show` | cohort, version, kind, base, digest, whole, encoder, seed, created_at, members, \
recipe, likeness, metrics, collapsed |

Fields in brackets are there where they apply: of a fusion, of `auto`, of a cohort, where the gate chose who answers.
Likelihoods are in nats a token.
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
