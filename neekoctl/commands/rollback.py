"""`neekoctl rollback`."""

from typing import Annotated

import typer

from neekoctl.commands.asking import ask
from neekoctl.commands.options import Json, Yes


def rollback(
    revision: Annotated[int, typer.Argument(min=0, help="A number from `neekoctl log`; 0 is the empty registry.")],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Restore the residents right after a revision, with their ranges, names, blocks and gate."""
    from neekoctl import render
    from neekoctl.returning import go_back
    from registry.layout import Layout
    from registry.store import Registry

    ask(yes, f"go back to revision {revision}")
    document = go_back(Registry(Layout.default()), revision)
    render.document(document) if json else render.went_back(document)
    if damaged := document["certificate"]["changed"]:
        render.error(f"The blocks of {', '.join(damaged)} are damaged: `neekoctl check` tells how.")
        raise typer.Exit(1)
