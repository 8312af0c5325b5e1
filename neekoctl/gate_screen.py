"""What people see of a gate report. Computes nothing."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from neekoctl.render import SHADES, out

DRAWN = 24  # characters in a drawn confusion matrix; more are told by their commonest confusions


def show(document: dict[str, Any]) -> None:
    """The report on a terminal."""
    console = out()
    accuracy = document["accuracy_when_decided"]
    console.print(
        f"[bold]Gate {document['version'] or 'unfitted'}[/]: {document['questions']} probes, the owner is likeliest in "
        f"{document['top_1']:.0%}; decides {document['decided']:.0%} by itself"
        + (f", right in {accuracy:.0%} of them" if accuracy is not None else "")
    )
    _draw_confusion(document["confusion"])
    table = Table(box=None, pad_edge=False)
    for title in ("CHARACTER", "PROBES", "PRECISION", "RECALL"):
        table.add_column(title, justify="left" if title == "CHARACTER" else "right")
    for row in document["characters"]:
        precision = "-" if row["precision"] is None else f"{row['precision']:.2f}"
        table.add_row(escape(row["name"]), str(row["questions"]), precision, f"{row['recall']:.2f}")
    console.print(table)
    for title, rows in (("COVERAGE  ACCURACY", _steps(document["coverage"])), ("SAID  WAS", document["calibration"])):
        console.print(f"[bold]{title}[/]")
        for row in rows:
            console.print(f"  {row['said']:5.0%}  {row['was']:5.0%}  {'█' * round(30 * row['was'])}")


def _steps(points: list[list[float]]) -> list[dict[str, float]]:
    """Ten points of the curve, in the form of the calibration's rows: the share that is decided, and its accuracy."""
    places = sorted({max(0, round(len(points) * tenth / 10) - 1) for tenth in range(1, 11)})
    return [{"said": points[place][0], "was": points[place][1]} for place in places]


def _draw_confusion(confusion: dict[str, Any]) -> None:
    """Rows are owners, columns where their questions went; ? is ambiguous, - is unknown."""
    names = confusion["owners"]
    if len(names) > DRAWN:
        _name_confusions(confusion)
        return
    heads = [*(chr(ord("a") + place) for place in range(len(names))), "?", "-"]
    out().print("  " + " ".join(f"{head:>3}" for head in heads), markup=False)
    for head, name, row in zip(heads, names, confusion["counts"], strict=False):
        most = max(1, *row)
        cells = " ".join(f"{SHADES[-(-4 * count // most)]}{count or '·':>2}" for count in row)
        out().print(f"{head} {cells}  {name}", markup=False)


def _name_confusions(confusion: dict[str, Any]) -> None:
    pairs = [(count, owner, other) for owner, row in zip(confusion["owners"], confusion["counts"], strict=True)
             for other, count in zip(confusion["given_to"], row, strict=True) if count and other != owner]  # fmt: skip
    for count, owner, other in sorted(pairs, reverse=True)[:DRAWN]:
        out().print(f"  {count:3} of {owner}'s questions went to {other}", markup=False)
