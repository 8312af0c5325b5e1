"""All that people see: words and progress on stderr, tables and the rank map on stdout. Computes nothing.

`--json` documents go through `document`, and nothing else writes to stdout then.
"""

from __future__ import annotations

import codecs
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from registry.names import counted
from registry.ranks import RankRange

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.tree import Tree

    from recipes.running import Progress
    from registry.tables import Bank, Character

MAP_WIDTH = 64  # cells of the rank map
WIDE = 400  # columns where there is no terminal
SHADES = " ░▒▓█"  # of a heat map
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")


def out() -> Console:
    """Made at each use: tests and pipes replace sys.stdout."""
    return _console(sys.stdout)


def err() -> Console:
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    """Words stay as they are, and what is no terminal has no edge at which a table would lose its figures."""
    terminal = stream.isatty()
    return Console(file=stream, highlight=False, emoji=False, soft_wrap=not terminal, width=None if terminal else WIDE)


def say(text: str) -> None:
    """What is going on, for whoever watches."""
    err().print(f"[dim]·[/dim] {escape(text)}")


def error(text: str) -> None:
    err().print(f"[bold red]Error:[/bold red] {escape(text)}")


def document(value: Any) -> None:
    """The one JSON document of a command."""
    plain = codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8"
    sys.stdout.write(json.dumps(value, ensure_ascii=plain, indent=2) + "\n")


class TrainingScreen:
    """Progress of an onboarding: a bar on a terminal, a line now and then elsewhere."""

    EVERY = 10  # steps between lines where there is no terminal

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def say(self, text: str) -> None:
        say(text)

    def progress(self, progress: Progress) -> None:
        if self._bar is None:
            if progress.step % self.EVERY == 0 or progress.step == progress.steps:
                say(f"step {progress.step}/{progress.steps}  {_figures(progress)}")
            return
        if not self._bar.task_ids:
            self._bar.add_task("training", figures="")
        task, figures = self._bar.task_ids[0], _figures(progress)
        self._bar.update(task, total=progress.steps, completed=progress.step, figures=figures)

    @contextmanager
    def open(self) -> Iterator[TrainingScreen]:
        console = err()
        if not console.is_terminal:
            yield self
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        figures = TextColumn("{task.fields[figures]}")
        columns = [BarColumn(), MofNCompleteColumn(), figures, TextColumn("ETA"), TimeRemainingColumn()]
        with Bar(*columns, console=console) as self._bar:
            yield self
        self._bar = None


def _figures(progress: Progress) -> str:
    heldout = "" if progress.heldout_nll is None else f"  held-out {progress.heldout_nll:.3f}"
    return f"loss {progress.loss:.3f}{heldout}  {progress.tokens_per_second:.0f} tok/s"


@contextmanager
def counting(what: str, total: int) -> Iterator[Any]:
    """A bar over `total` items on a terminal, their names elsewhere; yields `next(name)`."""
    console = err()
    if not console.is_terminal:
        yield lambda name: say(f"{what} {name}")
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    names = TextColumn("{task.description}", markup=False)
    with Bar(names, BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(what, total=total)

        def advance(name: str) -> None:
            bar.update(task, description=f"{what} {name}")
            bar.advance(task)

        yield advance


def onboarded(document: dict[str, Any]) -> None:
    """The outcome of add-character."""
    console, certificate = out(), document["certificate"]
    console.print(f"[bold green]{escape(document['character'])}[/] moved in: ranks "
                  f"{ranks_of(document)}, block {document['block'][:12]}.")  # fmt: skip
    if document["replaced"]:
        console.print(f"It replaces block {document['replaced'][:12]}, which `neekoctl rollback` can bring back.")
    console.print(escape(document["reason"]))
    others = certificate["others"]
    if others:
        colour = "green" if certificate["identical"] == others else "bold red"
        console.print(
            f"[{colour}]As before, bit for bit: {certificate['identical']} of {counted(others, 'resident')}.[/]"
        )
    if document["strategy"] == "fuse" and document["heldout_nll_before"] is not None:
        before, after = (math.exp(document[f"heldout_nll_{when}"]) for when in ("before", "after"))
        console.print(f"Held-out perplexity {before:.2f} -> {after:.2f}, with nothing of its own learned.")
    if (document["heldout_nll_before"] or 0) < (document["heldout_nll_after"] or 0):
        told = "The bare base finds the held-out replies likelier than this block does: --strategy auto weighs the ways"
        console.print(f"[yellow]{told}, and more dialogues help.[/]")
    for parent in document["parents"]:
        console.print(f"  {_bar(parent['weight'])} {parent['weight']:+.2f} {escape(parent['character'])}")
    speed = f", {document['tokens_per_second']:.0f} tokens/s in training" if document["tokens_per_second"] else ""
    console.print(f"[dim]{document['seconds']:.0f} s in all{speed}. "
                  f"Talk: neekoctl chat --as \"{escape(document['character'])}\"[/]")  # fmt: skip


def moment(stamp: str) -> str:
    """A stored time, which is UTC's, as the clock on the wall showed it, to the minute."""
    return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")


def characters(rows: list[dict[str, Any]]) -> None:
    if not rows:
        out().print("Nobody lives here yet: `neekoctl add-character profile.yaml` moves the first one in.")
        return
    lines = [("NAME", "ALIASES", "STRATEGY", "RANKS", "STATUS", "BLOCK", "SINCE")]
    for row in rows:
        since = moment(row["created_at"])
        block = (row["block"] or "")[:12]
        ranks, aliases = ranks_of(row), ", ".join(row["aliases"])
        lines.append((row["name"], aliases, row["strategy"], ranks, row["status"], block, since))
    # rich would lay out every cell: 0.6 s a thousand
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def ranks_of(document: dict[str, Any]) -> str:
    """Of a character, as ranges are written everywhere."""
    return str(RankRange(document["rank_start"], document["rank_stop"]))


def character(document: dict[str, Any]) -> None:
    """One character: what it is, where it came from, who it is."""
    console, aliases = out(), escape(", ".join(document["aliases"]))
    console.print(f"[bold]{escape(document['name'])}[/]" + (f"  ({aliases})" if aliases else ""))
    for key, value in _facts(document).items():
        if value not in (None, ""):
            console.print(f"  [dim]{key:12}[/] {escape(str(value))}")
    if document["parents"]:
        _lineage(console, document["name"], document["parents"])
    console.print(escape(str(document["description"].get("persona", "")).strip()), style="italic")


def _facts(document: dict[str, Any]) -> dict[str, Any]:
    """What a line tells of each."""
    metrics, certificate = document["metrics"], document["certificate"]
    facts = {
        **{key: document[key] for key in ("status", "strategy")},
        "ranks": ranks_of(document),
        **{key: document[key] for key in ("block", "seed")},
        "preset": document["recipe"].get("preset"),
        "since": moment(document["created_at"]),
        "reason": document["reason"],
    }
    if None not in (metrics.get("nll_before"), metrics.get("nll_after")):
        facts["held-out NLL"] = f"{metrics['nll_before']:.3f} -> {metrics['nll_after']:.3f}"
    if certificate:
        facts["certificate"] = f"{certificate['identical']} of {certificate['others']} others identical"
    if "merge" in metrics:
        facts["merge"] = _merge(metrics["merge"])
    return facts


def _merge(found: dict[str, Any]) -> str:
    """What a merge discarded, in all and where most."""
    worst, share = max(found["discarded_by_module"].items(), key=lambda item: item[1])
    return f"{found.get('method')}, {found['discarded']:.1%} of the energy discarded, most at {worst}: {share:.1%}"


def _lineage(console: Console, name: str, parents: list[dict[str, Any]]) -> None:
    """Who was made from whom, with weights; those who are gone or somebody else now are marked."""
    from rich.tree import Tree

    parentless = all(each["state"] == "gone" for each in parents)
    tree = Tree(f"{escape(name)}[yellow]{'  parentless: nobody it was made from lives here any more' * parentless}[/]")
    _grow(tree, parents)
    console.print(tree)


def _grow(tree: Tree, parents: list[dict[str, Any]]) -> None:
    marks = {"here": "", "gone": "  [yellow]gone[/]", "replaced": "  [yellow]replaced since[/]"}
    for each in parents:
        weight, name = each["weight"], escape(each["character"])
        line = f"{_bar(weight)} {weight:+.2f} {name}  [dim]{each['block'][:12]}[/]{marks[each['state']]}"
        _grow(tree.add(line), each["parents"])


def rank_map(bank: Bank, owners: list[Character], free: Sequence[RankRange]) -> None:
    """The bank as a strip: a colour an owner, dots for what is free, drawn up to a little past the last owner."""
    console = out()
    end = max((row.stop for row in owners), default=0)
    shown = min(bank.capacity, max(MAP_WIDTH, -(-end * 9 // 8)))
    console.print(
        f"[bold]{escape(bank.base)}[/]  {sum(row.ranks.rank for row in owners)} of {bank.capacity} ranks used"
    )
    console.print("  " + "".join(_cell(cell, shown, owners) for cell in range(MAP_WIDTH)), soft_wrap=True)
    console.print(f"  [dim]0{str(shown):>{MAP_WIDTH - 1}}[/]")
    for place, row in enumerate(owners):
        colour = COLOURS[place % len(COLOURS)]
        name = row.name if row.status == "ready" else f"{row.name} ({row.status})"
        console.print(f"  [{colour}]█[/] {escape(str(row.ranks)):14} {escape(name)}")
    for gap in free:
        console.print(f"  [dim]· {escape(str(gap)):14} free[/]")


def _cell(cell: int, shown: int, owners: list[Character]) -> str:
    at = cell * shown // MAP_WIDTH
    for place, row in enumerate(owners):
        if row.start <= at < row.stop:
            return f"[{COLOURS[place % len(COLOURS)]}]█[/]"
    return "[dim]·[/dim]"


def models(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("ALIAS", "KIND", "LICENCE", "MB", "HERE"):
        table.add_column(title)
    for row in rows:
        table.add_row(
            row["alias"], row["kind"], row["licence"], str(row["megabytes"]), "yes" if row["installed"] else "no"
        )
    out().print(table)


def findings(rows: list[dict[str, Any]]) -> None:
    if not rows:
        out().print("[green]Everything is in order.[/]")
    for row in rows:
        mark = "[green]cleared[/]" if row["fixed"] else "[yellow]left[/]"
        out().print(f"{mark}  {escape(row['what'])}" + (f"  [dim]{escape(row['advice'])}[/]" if row["advice"] else ""))


def validated(document: dict[str, Any]) -> None:
    counts = (
        f"{counted(document['exchanges'], 'exchange')} in {counted(document['conversations'], 'conversation')}, "
        f"{document['training_conversations']} to train on, {counted(len(document['probes']), 'probe')} kept aside"
    )
    out().print(f"[green]{escape(document['name'])} is a good profile[/]: {counts}.")
    for advice in document["advice"]:
        out().print(f"[yellow]but[/] {escape(advice)}")


def routed(document: dict[str, Any]) -> None:
    """The gate's decision, and who else was near."""
    who = document["character"] or {"ambiguous": "one of several", "unknown": "nobody here"}[document["decision"]]
    out().print(f"[bold]{escape(who)}[/] ({document['decision']}: {escape(document['reason'])})")
    for row in document["candidates"]:
        bar = "█" * round(20 * row["probability"])
        out().print(f"  {row['probability']:4.0%} {bar:20} {escape(row['character'])}")


def gate_version(document: dict[str, Any]) -> None:
    """What a rebuilding of the gate came to."""
    now, before = document["accuracy_now"], document["accuracy_before"]
    found = "" if now is None else f"; {now:.0%} of {document['questions']} probes reach their owners"
    was = "" if before is None else f" ({before:.0%} before)"
    out().print(f"Gate {document['version']} is in use{found}{was}.")


def planned(document: dict[str, Any]) -> None:
    """What an onboarding would do."""
    console, how = out(), f"by {document['strategy']}, rank {document['rank']}"
    console.print(f"[bold]{escape(document['character'])}[/] would move onto {escape(document['base'])} {how}.")
    console.print(
        f"{counted(document['exchanges'], 'exchange')} to learn from, {counted(document['probes'], 'probe')} kept aside"
    )
    if document["cohort"]:
        console.print(f"  with the network of {escape(document['cohort'])}")
    for row in document["neighbours"]:
        near = "" if row["similarity"] is None else f"  [dim]similarity {row['similarity']:.2f}[/]"
        near += "  [dim](a merge itself)[/]" * (row["strategy"] == "fuse")
        console.print(f"  {_bar(row['weight'])} {row['weight']:+.2f} {escape(row['character'])}{near}")
    for place, rung in enumerate(document["rungs"], start=1):
        console.print(f"  {place}. {escape(rung)}")
    if document["note"]:
        console.print(f"This alone: {escape(document['note'])}.")


def stale(rows: list[dict[str, Any]]) -> None:
    """Children whose parents are somebody else now."""
    if not rows:
        out().print("Nobody's parents were replaced.")
    for row in rows:
        child, parent = escape(row["character"]), escape(row["parent"])
        out().print(f"{child} was made from block {row['block'][:12]} of {parent}, who has {row['now'][:12]} now. "
                    "To follow, add it again with --replace.")  # fmt: skip


def _bar(share: float) -> str:
    return f"[{'red' if share < 0 else 'cyan'}]{'█' * min(20, round(20 * abs(share))):20}[/]"


def removed(document: dict[str, Any]) -> None:
    """Who left, and who was made from them."""
    out().print(f"{document['removed']} moved out; ranks {ranks_of(document)} are free.", markup=False)
    if document["children"]:
        out().print(f"Made from it, and staying as they are: {', '.join(document['children'])}.", markup=False)


def history(rows: list[dict[str, Any]]) -> None:
    """Who moved in and out, the newest first."""
    if not rows:
        out().print("Nothing has happened here yet.")
    for row in rows:
        when = moment(row["created_at"])
        who = f"to revision {row['back_to']}" if row["character"] is None else row["character"]
        sign = {"moved in": "[green]+[/]", "moved out": "[red]-[/]", "rolled back": "[yellow]<[/]"}[row["kind"]]
        block = f"{row['strategy']} {(row['block'] or '')[:12]}"
        how = f"  [dim]{escape(block)}[/]" if row["kind"] == "moved in" else ""
        out().print(f"{row['revision']:>4}  [dim]{when}[/]  {sign} {row['kind']} {escape(who)}{how}")


def went_back(document: dict[str, Any]) -> None:
    """What a rollback did, and whether everybody is whole."""
    console, proof = out(), document["certificate"]
    console.print(f"Back at revision {document['back_to']} (this is revision {document['revision']}).")
    for sign, names in (("[green]+[/]", document["moved_in"]), ("[red]-[/]", document["moved_out"])):
        for name in names:
            console.print(f"  {sign} {escape(name)}")
    colour = "bold red" if proof["changed"] else "green"
    console.print(
        f"[{colour}]Byte for byte as then: {proof['identical']} of {counted(proof['residents'], 'resident')}.[/]"
    )
