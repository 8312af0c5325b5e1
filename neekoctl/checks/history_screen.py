"""The matrix of characters by revisions as a heat map on a terminal. Computes nothing."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from neekoctl.checks.screen import number
from neekoctl.render import out

CELL = 7  # columns of the terminal a revision takes
NAME = 24
STEPS = ((1e-4, "green"), (0.02, "yellow"), (0.1, "bold yellow"))  # of forgetting, nats a token; beyond is red


def show(document: dict[str, Any]) -> None:
    """As many of the newest revisions as fit, and the measures."""
    console = out()
    if not document["characters"]:
        console.print("Nobody lives here, so nobody can have changed.")
        return
    longest = min(NAME, max(len(row["name"]) for row in document["characters"]))
    fits = max(1, (console.width - max(longest, len("CHARACTER")) - CELL) // CELL)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("CHARACTER", no_wrap=True, max_width=NAME)
    for step in document["revisions"][-fits:]:
        table.add_column(str(step["revision"]), justify="right")
    table.add_column("LAST", justify="right")
    for row in document["characters"]:
        table.add_row(escape(row["name"]), *(_cell(each) for each in row["change"][-fits:]), _cell(row["forgetting"]))
    console.print(table)
    for step in document["revisions"][-fits:]:
        console.print(f"  [dim]{escape(step['title'])}[/]")
    if (earlier := len(document["revisions"]) - fits) > 0:
        console.print(f"  [dim]{earlier} earlier revisions do not fit: --html or a wider terminal shows them[/]")
    lost, transfer = (number(document[key], "+.4f") for key in ("forgetting", "backward_transfer"))
    console.print(f"forgetting {lost} nats a token, backward transfer {transfer}; a dot was not measured")


def _cell(change: float | None) -> str:
    if change is None:
        return "[dim]·[/]"
    colour = next((colour for most, colour in STEPS if change <= most), "bold red")
    return f"[{colour}]{change:+.3f}[/]"
