"""`neekoctl check`."""

from typing import Annotated

import typer

from neekoctl.commands.options import Json

REGRESSED = 3


def check(
    only: Annotated[str | None, typer.Option(help="Check this character alone.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Compare everybody with the day they moved in; exit 3 when anybody has changed."""
    from neekoctl import render
    from neekoctl.checking import check as run
    from registry.layout import Layout
    from registry.store import Registry

    registry = Registry(Layout.default())
    with render.counting("checking", 1 if only else len(registry.characters(status=("ready",)))) as step:
        document = run(registry, only=only, say=render.say, report=lambda row: step(row.name))
    render.document(document) if json else render.checked(document)
    if document["verdict"] == "regressed":
        raise typer.Exit(REGRESSED)
