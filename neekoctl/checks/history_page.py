"""The matrix of characters by onboardings as a heat map on one HTML page that needs no network. Computes nothing."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from neekoctl.checks.history import changes, titles
from neekoctl.outlet import ready
from registry.readings import Matrix


def write(matrix: Matrix, path: Path) -> None:
    """Write the page; its folder is made when it is missing."""
    drawn = heat_map(matrix).to_html(full_html=False, include_plotlyjs=True)
    ready(path).write_text(
        f"<!doctype html><meta charset=utf-8><title>neekoctl history</title>{drawn}"
        "<p style='font:16px system-ui'>Forgetting: the NLL of a character's probes at a revision less that of its own "
        "onboarding, in nats a token. A blank cell was not measured.</p>",
        encoding="utf-8",
    )


def heat_map(matrix: Matrix) -> Any:
    """Rows are characters, columns revisions."""
    from plotly import graph_objects

    heat = graph_objects.Heatmap(
        z=changes(matrix), x=[escape(title) for title in titles(matrix)],
        y=[escape(row.name) for row in matrix.characters], colorscale="RdBu_r", zmid=0, hoverongaps=False,
    )  # fmt: skip
    figure = graph_objects.Figure(heat)
    titled = {"title": "Which onboarding changed whom: forgetting, nats a token", "yaxis": {"autorange": "reversed"}}
    return figure.update_layout(**titled, xaxis={"type": "category"})
