"""`neekoctl check`."""

from pathlib import Path
from typing import Annotated

import typer

from neekoctl.commands.options import Json

REGRESSED = 3


def check(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Check only this character; repeatable.", show_default=False),
    ] = None,
    changed_since: Annotated[
        int | None,
        typer.Option(metavar="REV", help="Check the characters that moved in after this revision.", show_default=False),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", help="Check N characters, drawn at random each time.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Tolerances; default: check.yaml in this folder, if any.", show_default=False)
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(metavar="MEASURE=VALUE", help="Override one tolerance; repeatable.", show_default=False),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report here.", show_default=False)] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots here.", show_default=False)] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Print annotations and write a step summary for GitHub Actions.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare every character with the day it moved in; exit 3 when one has changed."""
    from neekoctl import render
    from neekoctl.checks import screen
    from neekoctl.checks.checking import check as run
    from neekoctl.checks.reporting import Reports
    from neekoctl.checks.scope import Scope
    from neekoctl.checks.tolerances import tolerances
    from registry.layout import Layout
    from registry.store import Registry

    with Reports(junit, html, github).told() as reports:
        allowed, scope = tolerances(config, tolerance or []), Scope(only or [], changed_since, sample)
        registry = Registry(Layout.default())
        with render.counting("checking", len(scope.chosen(registry)[0])) as step:
            document = run(registry, scope, allowed, say=render.say, report=lambda row: step(row.name))
        reports.write(registry, document)
        render.document(document) if json else screen.show(document)
    if document["verdict"] == "regressed":
        raise typer.Exit(REGRESSED)
