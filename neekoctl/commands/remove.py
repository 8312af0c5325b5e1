"""`neekoctl remove`."""

from neekoctl.commands.asking import ask
from neekoctl.commands.options import Json, Name, Yes


def remove(
    name: Name,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Free a character's ranks and names; its block stays until `doctor --prune`."""
    from neekoctl import render
    from registry.errors import NeekoError
    from registry.layout import Layout
    from registry.lineage import children
    from registry.store import Registry

    registry = Registry(Layout.default())
    row = registry.resident(name)
    ask(yes, f"remove {row.name} and free ranks {row.ranks}")
    left = children(registry, row)
    if not registry.remove(row):
        raise NeekoError(f"{row.name} has moved out or was replaced meanwhile: `neekoctl list` shows who is here.")
    document = {
        "removed": row.name,
        "rank_start": row.start,
        "rank_stop": row.stop,
        "block": row.block,
        "children": left,
    }
    render.document(document) if json else render.removed(document)
