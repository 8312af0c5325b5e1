"""A check on a terminal: the five sections, everybody's figures, and what has flipped. Computes nothing."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neekoctl.render import out
from registry.names import some_of

MARKS = {"pass": "[green]pass[/]", "regressed": "[bold red]regressed[/]", "not checked": "[yellow]not checked[/]"}
FLIPS = 10  # that are shown; all are in the documents


def show(document: dict[str, Any]) -> None:
    """The whole report."""
    console = out()
    _characters(console, document["characters"])
    _sections(console, document["sections"])
    _flips(console, document)
    _elsewhere(console, document["characters"])
    left_out = document["left_out"]
    if left_out:
        console.print(f"[yellow]Left out:[/] {escape(some_of(left_out))}")
    console.print(f"{MARKS[document['verdict']]}: {document['checked']} checked at revision {document['revision']}")


def _characters(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("CHARACTER", "WEIGHTS", "THEN", "NOW", "LOST", "REPLIES", "FOUND", "STYLE"):
        table.add_column(title, justify="left" if title in ("CHARACTER", "WEIGHTS") else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"[red]{escape(row['name'])}[/]" if row["regressed"] else escape(row["name"]),
            "same" if row["weights_identical"] else f"[red]{escape(row['weights'])}[/]",
            *(number(row[key]) for key in ("nll_baseline", "nll_now")),
            number(row["forgetting"], "+.4f"),
            f"{row['replies_identical']}/{row['replies']}",
            found(row),
            number(row["distinctness"], "+.3f"),
        )
    console.print(table)


def number(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(round(value, 6) + 0.0, form)  # no -0.0000


def found(row: dict[str, Any]) -> str:
    """How many of a character's questions reach it now."""
    return f"{row['found']}/{row['questions']}" if row["questions"] else "-"


def _sections(console: Console, sections: dict[str, dict[str, Any]]) -> None:
    console.print()
    for name, section in sections.items():
        console.print(f"{name:<11} {MARKS[section['verdict']]}  {escape(headline(name, section))}")
        for words in section["complaints"]:
            console.print(f"            [red]{escape(words)}[/]")


def headline(name: str, section: dict[str, Any]) -> str:
    """The figures of a section in one line, and of how many it says nothing."""
    if section["verdict"] == "not checked":
        return str(section["why"])
    left = len(section["unjudged"])
    return _figures(name, section) + (f"; {left} {'is' if left == 1 else 'are'} not judged" if left else "")


def unjudged(name: str, section: dict[str, Any]) -> list[str]:
    """Of whom a section says nothing, a sentence a reason."""
    reasons = section["unjudged"]
    owners = {why: ", ".join(each for each in reasons if reasons[each] == why) for why in reasons.values()}
    return [f"{name} of {who} was not judged: {why}" for why, who in owners.items()]


def _figures(name: str, section: dict[str, Any]) -> str:
    if name == "weights":
        return f"{section['identical']} of {section['characters']} as they were stored"
    if name == "likelihood":
        lost, transfer = number(section["forgetting"], "+.4f"), number(section["backward_transfer"], "+.4f")
        return f"forgetting {lost} nats a token{_interval(section)}, backward transfer {transfer}"
    if name == "replies":
        return f"{section['identical']} of {section['replies']} token for token"
    if name == "gate":
        now, then = _share(section["accuracy_now"]), _share(section["accuracy_baseline"])
        test = f"exact McNemar p = {section['p']:.3f}; version {section['version']}"
        left = f"; {section['unrouted']} were never routed" if section["unrouted"] else ""
        return f"{now} of {section['questions']} questions reach their owners, {then} then ({test}){left}"
    return f"distinctness {number(section['now'], '+.3f')} nats a token, {number(section['baseline'], '+.3f')} at first"


def _interval(section: dict[str, Any]) -> str:
    found = section["interval"]
    return f" [{number(found[0], '+.4f')}, {number(found[1], '+.4f')}]" if found else ""


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _flips(console: Console, document: dict[str, Any]) -> None:
    """Replies that differ and questions that are lost; of other questions, how many go elsewhere."""
    routes = document["sections"]["gate"]["flips"]
    told = [(row["name"], flip) for row in document["characters"] for flip in row["flips"]]
    told += [(f"gate, {each['owner']}", each) for each in routes if each["lost"]]
    if told or routes:
        console.print()
    for who, flip in told[:FLIPS]:
        console.print(f"  {who}, {flip['question']!r}: {flip['then']!r} is now {flip['now']!r}", markup=False)
    if len(told) > FLIPS:
        console.print(f"  and {len(told) - FLIPS} more: --json and --html have them all")
    if harmless := sum(not each["lost"] for each in routes):
        console.print(f"  [dim]gate: {harmless} more are routed otherwise than then, and not lost by it[/]")


def _elsewhere(console: Console, rows: list[dict[str, Any]]) -> None:
    differences = {tuple(row["elsewhere"]) for row in rows if row["elsewhere"]}
    for each in sorted(differences):
        console.print(f"[yellow]Other hardware or versions, judged by likelihood:[/] {escape('; '.join(each))}")
