"""`neekoctl log`."""

from neekoctl.commands.options import Json


def log(json: Json = False) -> None:
    """List every revision: who moved in or out, and every rollback."""
    from neekoctl import render
    from registry.layout import Layout
    from registry.revisions import history
    from registry.store import Registry

    rows = history(Registry(Layout.default()))
    render.document(rows) if json else render.history(rows)
