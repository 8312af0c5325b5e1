"""`neekoctl stale`."""

from neekoctl.commands.options import Json


def stale(json: Json = False) -> None:
    """List characters whose parents were replaced since."""
    from dataclasses import asdict

    from neekoctl import render
    from registry.layout import Layout
    from registry.lineage import stale
    from registry.store import Registry

    rows = [asdict(row) for row in stale(Registry(Layout.default()))]
    render.document(rows) if json else render.stale(rows)
