"""`neekoctl show`."""

from neekoctl.commands.options import Json, Name


def show(name: Name, json: Json = False) -> None:
    """Show one character: ranks, block, recipe, probes, lineage, certificate."""
    from neekoctl import render
    from neekoctl.describing import details
    from registry.layout import Layout
    from registry.lineage import ancestry
    from registry.store import Registry

    registry = Registry(Layout.default())
    row = registry.find(name)
    if json:
        render.document(details(registry, row))
        return
    aliases = registry.handles().get(row.id or 0, [row.name])[1:]
    render.character(row, aliases, ancestry(registry, row), registry.certificate(row))
