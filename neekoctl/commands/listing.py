"""`neekoctl list`."""

from neekoctl.commands.options import Json


def list_characters(json: Json = False) -> None:
    """Show who lives here."""
    from neekoctl import render
    from neekoctl.describing import listed
    from registry.layout import Layout
    from registry.store import Registry

    rows = listed(Registry(Layout.default()))
    render.document(rows) if json else render.characters(rows)
