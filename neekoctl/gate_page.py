"""The gate report as one HTML page with plots that needs no network. Computes nothing."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from neekoctl.outlet import ready


def write(document: dict[str, Any], path: Path) -> None:
    """Write the page; its folder is made when it is missing."""
    ready(path).write_text(_page(document), encoding="utf-8")


def _page(document: dict[str, Any]) -> str:
    figures = [
        _confusion(document["confusion"]),
        _coverage(document["coverage"]),
        _calibration(document["calibration"]),
    ]
    drawn = [figure.to_html(full_html=False, include_plotlyjs=place == 0) for place, figure in enumerate(figures)]
    rows = "".join(
        f"<tr><td>{escape(row['name'])}<td>{row['questions']}<td>{_share(row['precision'])}<td>{_share(row['recall'])}"
        for row in document["characters"]
    )
    top, decided, right = (_share(document[key]) for key in ("top_1", "decided", "accuracy_when_decided"))
    return (
        "<!doctype html><meta charset=utf-8><title>neekoctl gate report</title>"
        "<style>body{font:16px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}td,th{padding:.2rem .8rem;"
        "text-align:left}</style>"
        f"<h1>Gate {document['version'] or 'unfitted'}</h1><p>{document['questions']} probes; the owner is the "
        f"likeliest in {top}; {decided} decided by itself, of these {right} right.</p>{''.join(drawn)}"
        f"<table><tr><th>Character<th>Probes<th>Precision<th>Recall{rows}</table>"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _confusion(confusion: dict[str, Any]) -> Any:
    from plotly import graph_objects

    columns, rows = ([escape(name) for name in confusion[key]] for key in ("given_to", "owners"))
    heat = graph_objects.Heatmap(z=confusion["counts"], x=columns, y=rows, colorscale="Blues")
    figure = graph_objects.Figure(heat)
    return figure.update_layout(title="Whose questions went to whom", yaxis={"autorange": "reversed"})


def _coverage(points: list[list[float]]) -> Any:
    from plotly import graph_objects

    line = graph_objects.Scatter(x=[point[0] for point in points], y=[point[1] for point in points], mode="lines")
    figure = graph_objects.Figure(line)
    titles = {"title": "Accuracy on the share that is decided", "xaxis_title": "share decided, surest first"}
    return figure.update_layout(**titles, yaxis_title="accuracy", yaxis_range=[0, 1.02])


def _calibration(rows: list[dict[str, float]]) -> Any:
    from plotly import graph_objects

    said, was, notes = zip(*((row["said"], row["was"], f"{row['questions']} probes") for row in rows), strict=True)
    seen = graph_objects.Scatter(x=said, y=was, text=notes, mode="lines+markers", name="was")
    even = graph_objects.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot"}, name="as said")
    figure = graph_objects.Figure([seen, even])
    return figure.update_layout(
        title="Calibration", xaxis_title="probability that was said", yaxis_title="how often right"
    )
