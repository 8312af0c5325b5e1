"""A check where other programs read it: JUnit, GitHub's annotations and step summary, and a page with plots.
Computes nothing of the check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from registry.store import Registry


def write_reports(registry: Registry, document: dict[str, Any], *, junit: Path | None, html: Path | None,
                  github: bool) -> None:  # fmt: skip
    """Write whatever is asked for; folders are made where they are missing."""
    if junit:
        from neekoctl.checks import junit as junit_report

        junit_report.write(document, _ready(junit))
    if html:
        from neekoctl.checks import page
        from registry.readings import matrix

        page.write(document, matrix(registry), _ready(html))
    if github:
        from neekoctl.checks import github as github_report

        github_report.tell(document)


def _ready(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
