"""`neekoctl remove`."""

import sys
from typing import Annotated

import typer

from neekoctl.commands.options import Json, Name


def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Free a character's ranks and names; its block stays until `doctor --prune`."""
    from neekoctl import render
    from registry.errors import UsageError
    from registry.layout import Layout
    from registry.lineage import children
    from registry.store import Registry

    registry = Registry(Layout.default())
    row = registry.ready(name)
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"Without a terminal nobody can be asked: repeat with --yes to remove {row.name}.")
    if not yes and not typer.confirm(f"Remove {row.name} and free ranks [{row.start}, {row.stop})?", err=True):
        raise typer.Exit(1)
    left = children(registry, row)
    registry.remove(row)
    document = {
        "removed": row.name,
        "rank_start": row.start,
        "rank_stop": row.stop,
        "block": row.block,
        "children": left,
    }
    render.document(document) if json else render.removed(document)
