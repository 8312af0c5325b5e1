"""`neekoctl history`."""

from pathlib import Path
from typing import Annotated

import typer

from neekoctl.commands.options import Json


def history(
    html: Annotated[Path | None, typer.Option(help="Write a page with the heat map here.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Show which onboarding changed which character: forgetting by character and revision."""
    from neekoctl import render
    from neekoctl.checks import history as measures
    from neekoctl.checks import history_page, history_screen
    from neekoctl.outlet import refuse_unwritable
    from registry.layout import Layout
    from registry.readings import matrix
    from registry.store import Registry

    if html is not None:
        refuse_unwritable(html)
    found = matrix(Registry(Layout.default()))
    document = measures.document(found)
    if html is not None:
        history_page.write(found, html)
    render.document(document) if json else history_screen.show(document)
