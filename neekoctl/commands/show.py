"""`neekoctl show`."""

from neekoctl.commands.options import Json, Name


def show(name: Name, json: Json = False) -> None:
    """Show one character: ranks, block, recipe, probes, lineage, certificate."""
    from neekoctl import render
    from neekoctl.describing import details
    from registry.layout import Layout
    from registry.store import Registry

    registry = Registry(Layout.default())
    document = details(registry, registry.find(name))
    render.document(document) if json else render.character(document)
