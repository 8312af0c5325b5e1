"""Cohorts on a terminal. Computes nothing."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from neekoctl.render import SHADES, out, ranks_of
from registry.gates import name_of


def trained(document: dict[str, Any]) -> None:
    """What a training did for each member."""
    console = out()
    table = Table(box=None, pad_edge=False)
    for title in ("CHARACTER", "RANKS", "NLL: BASE", "BEFORE", "AFTER", ""):
        table.add_column(title, justify="left" if title in ("CHARACTER", "") else "right", no_wrap=True)
    for row in document["members"]:
        fate = "[green]moved in[/]" if row["switched"] else "[yellow]keeps its block[/]"
        table.add_row(escape(row["character"]), escape(ranks_of(row)), *(_nll(row[key]) for key in
                      ("nll_base", "nll_before", "nll_after")), fate)  # fmt: skip
    console.print(table)
    proof, version = document["certificate"], document["version"]
    title = f"{document['cohort']} version {version}" if version else f"{document['cohort']}: no new version was kept"
    console.print(
        f"{escape(title)}, {document['kind']}, best after step {document['best_step']} of {document['steps']}"
    )
    colour = "green" if proof["identical"] == proof["others"] else "bold red"
    console.print(f"[{colour}]Untouched: {proof['identical']} of {proof['others']} others.[/]")
    compared = [row for row in document["members"] if row["nll_before"] is not None]
    if worse := [row["character"] for row in compared if row["switched"] and not row["passes"]]:
        told = f"Less likely than under the block before, beyond what a check lets pass: {', '.join(worse)}."
        console.print(f"[yellow]{escape(told)}[/]")
    if any(row["switched"] for row in compared):
        console.print("[dim]The blocks they had are in the history: `neekoctl log`, `neekoctl rollback REV`.[/]")


def _nll(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def listed(rows: list[dict[str, Any]]) -> None:
    """One line a version."""
    if not rows:
        out().print("There are no cohorts yet: `neekoctl cohort train NAME --character A --character B` makes one.")
    table = Table(box=None, pad_edge=False)
    for title in ("COHORT", "VERSION", "KIND", "MEMBERS", "SERVED", ""):
        table.add_column(title, justify="right" if title in ("VERSION", "MEMBERS", "SERVED") else "left", no_wrap=True)
    for row in rows:
        counts = len(row["members"]), sum(each["served"] for each in row["members"])
        state = "" if row["whole"] else "[bold red]damaged[/]"
        table.add_row(escape(row["cohort"]), str(row["version"]), row["kind"], *map(str, counts), state)
    if rows:
        out().print(table)


def removed(document: dict[str, Any]) -> None:
    """What is gone, and what stays."""
    versions = f"version{'s' * (len(document['versions']) > 1)} {', '.join(map(str, document['versions']))}"
    out().print(f"The cohort {document['removed']} has lost {versions}; who is served by it keeps its block.",
                markup=False)  # fmt: skip


def shown(document: dict[str, Any]) -> None:
    """Everything of a version."""
    console, metrics = out(), document["metrics"]
    listed([document])
    console.print(f"  over {escape(document['base'])}, best after step {metrics['best_step']} of {metrics['steps']}")
    if document["encoder"]:
        console.print(f"  reads personas by {escape(name_of(document['encoder']))}")
    for place, each in enumerate(document["members"]):
        line = document["likeness"][place] if document["likeness"] else []
        shades = "".join(SHADES[min(4, max(0, round(4 * value)))] * 2 for value in line)
        elsewhere = "served by another block" if each["here"] else "lives here no more"
        console.print(f"  {shades}  {escape(each['character'])}{'' if each['served'] else f'  [dim]{elsewhere}[/]'}")
    if document["collapsed"] and document["kind"] == "hycora":
        console.print(
            "[yellow]The written halves are nearly one: the roles have collapsed. "
            "`--set contrast=26 --set contrast_start=0` draws them apart.[/]"
        )
