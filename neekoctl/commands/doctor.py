"""`neekoctl doctor`."""

from typing import Annotated

import typer

from neekoctl.commands.options import Json


def doctor(
    prune: Annotated[bool, typer.Option("--prune", help="Also delete blocks and checkpoints nobody needs.")] = False,
    json: Json = False,
) -> None:
    """Clear what crashes left behind, and name what needs you."""
    from neekoctl import render
    from neekoctl.mending import examine
    from registry.layout import Layout
    from registry.store import Registry

    found = examine(Registry(Layout.default()), prune=prune)
    render.document({"findings": found}) if json else render.findings(found)
    if any(finding["harm"] for finding in found):
        raise typer.Exit(1)
