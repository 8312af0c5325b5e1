"""A check as one HTML page with plots that needs no network. Computes nothing."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from neekoctl.checks.history_page import heat_map
from neekoctl.checks.screen import headline, number
from neekoctl.outlet import ready
from registry.readings import Matrix

STYLE = (
    "body{font:16px system-ui;max-width:70rem;margin:2rem auto;padding:0 1rem}td,th{padding:.2rem .8rem;"
    "text-align:left;vertical-align:top}.regressed{color:#b00020;font-weight:600}.pass{color:#1b7f3b}"
)


def write(document: dict[str, Any], matrix: Matrix, path: Path) -> None:
    """Write the page; its folder is made when it is missing."""
    ready(path).write_text(_page(document, matrix), encoding="utf-8")


def _page(document: dict[str, Any], matrix: Matrix) -> str:
    figures = [_likelihoods(document["characters"]), _distinctness(document["characters"]), heat_map(matrix)]
    drawn = [figure.to_html(full_html=False, include_plotlyjs=place == 0) for place, figure in enumerate(figures)]
    left_out = f"<p>Left out: {escape(', '.join(document['left_out']))}</p>" if document["left_out"] else ""
    return (
        f"<!doctype html><meta charset=utf-8><title>neekoctl check</title><style>{STYLE}</style>"
        f"<h1 class={document['verdict']}>neekoctl check: {document['verdict']}</h1>"
        f"<p>{document['checked']} checked at revision {document['revision']}</p>{left_out}"
        f"{_sections(document['sections'])}{_characters(document['characters'])}{''.join(drawn)}{_flips(document)}"
    )


def _sections(sections: dict[str, dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{name}<td class='{section['verdict']}'>{section['verdict']}<td>{escape(headline(name, section))}"
        for name, section in sections.items()
    )
    return f"<h2>Sections</h2><table>{rows}</table>"


def _characters(rows: list[dict[str, Any]]) -> str:
    body = "".join(
        f"<tr><td>{escape(row['name'])}<td>{number(row['nll_baseline'])}<td>{number(row['nll_now'])}"
        f"<td>{number(row['forgetting'], '+.4f')}<td>{row['replies_identical']}/{row['replies']}"
        f"<td class={'regressed' if row['regressed'] else 'pass'}>{escape(row['complaint'] or 'as before')}"
        for row in rows
    )
    head = "<tr><th>Character<th>NLL then<th>NLL now<th>Forgetting<th>Replies<th>"
    return f"<h2>Characters</h2><table>{head}{body}</table>"


def _likelihoods(rows: list[dict[str, Any]]) -> Any:
    """Every probe, then against now: who has not changed lies on the line."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    for row in rows:
        then, now = ([probe[key] for probe in row["probes"]] for key in ("nll_baseline", "nll_now"))
        figure.add_scatter(x=then, y=now, mode="markers", name=escape(row["name"]))
    most = max([probe["nll_baseline"] for row in rows for probe in row["probes"]], default=1.0)
    figure.add_scatter(x=[0, most], y=[0, most], mode="lines", line={"dash": "dot"}, name="unchanged")
    return figure.update_layout(title="NLL of every probe, nats a token", xaxis_title="then", yaxis_title="now")


def _distinctness(rows: list[dict[str, Any]]) -> Any:
    from plotly import graph_objects

    names, known = [escape(row["name"]) for row in rows], [row["distinctness"] for row in rows]
    bars = graph_objects.Bar(x=names, y=known)
    title = "Distinctness: nats a token that the own block adds to the nearest resident's"
    return graph_objects.Figure(bars).update_layout(title=title)


def _flips(document: dict[str, Any]) -> str:
    replies = [(row["name"], flip["question"], flip["then"], flip["now"])
               for row in document["characters"] for flip in row["flips"]]  # fmt: skip
    routes = [(each["owner"], each["question"], each["then"], each["now"])
              for each in document["sections"]["gate"]["flips"]]  # fmt: skip
    return _told("Replies that differ", replies) + _told("Questions the gate takes elsewhere", routes)


def _told(title: str, rows: list[tuple[str, str, str, str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(each)}" for each in row) for row in rows)
    head = "<tr><th>Character<th>Question<th>Then<th>Now"
    return f"<h2>{title}</h2><table>{head}{body}</table>" if rows else ""
