"""What people see of bundles: what was saved, who moved in, and what differs. Computes nothing."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from neekoctl.render import out
from registry.ranks import RankRange


def saved(document: dict[str, Any]) -> None:
    """What is in a new bundle."""
    who = ", ".join(document["residents"]) or "nobody"
    history = f"{document['revisions']} revisions" if document["whole"] else "no history"
    size = f"{document['bytes'] / 2**20:.1f} MiB"
    cohorts = "".join(f", cohort {each['name']} {each['version']}" for each in document["cohorts"])
    out().print(f"[green]Wrote {escape(document['file'])}[/] ({size}): {escape(who)}; {document['blocks']} blocks"
                f"{escape(cohorts)}, {history}.")  # fmt: skip


def loaded(document: dict[str, Any]) -> None:
    """Who moved in, where to, and who was here already."""
    would = "would be" if document["dry_run"] else "was"
    what = "The registry" if document["how"] == "restored" else "What is not here yet"
    out().print(f"{what} {would} {document['how']} from {document['file']}.", markup=False)
    for row in document["moved_in"]:
        out().print(f"  [green]+[/] {escape(row['name'])}  [dim]ranks {_ranks(row['to'])}{_moved(row)}[/]")
    for name in document["skipped"]:
        out().print(f"  [dim]= {escape(name)}  here already, with the same block[/]")
    if document["gate"] is not None:
        out().print(f"[dim]Gate {document['gate']} is in use.[/]")


def differs(document: dict[str, Any]) -> None:
    """Who came, went, changed or lies elsewhere."""
    console, gate = out(), document["gate"]
    for sign, colour, names in (("+", "green", document["added"]), ("-", "red", document["removed"])):
        for name in names:
            console.print(f"[{colour}]{sign}[/] {escape(name)}")
    for row in document["changed"]:
        console.print(f"[yellow]![/] {escape(row['name'])}  other {', '.join(row['what'])}")
    for row in document["moved"]:
        console.print(f"[cyan]>[/] {escape(row['name'])}  ranks {_ranks(row['from'])} became {_ranks(row['to'])}")
    if gate["a"] != gate["b"]:
        console.print(f"gate {gate['a'] or 'none'} became {gate['b'] or 'none'}")
    if not any(document[key] for key in ("added", "removed", "changed", "moved")) and gate["a"] == gate["b"]:
        console.print("[green]No difference.[/]")


def _ranks(ranks: list[int]) -> str:
    return escape(str(RankRange(*ranks)))


def _moved(row: dict[str, Any]) -> str:
    return f", there {_ranks(row['from'])}" if row["from"] != row["to"] else ""
