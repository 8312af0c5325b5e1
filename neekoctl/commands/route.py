"""`neekoctl route`."""

from typing import Annotated

import typer

from neekoctl.commands.options import Encoder, Json, Signal


def route(
    text: Annotated[str, typer.Argument(help="What somebody says.", show_default=False)],
    signal: Signal = "all",
    encoder: Encoder = None,
    json: Json = False,
) -> None:
    """Find whom a text means: one character, one of several, or nobody here."""
    from neekoctl import render
    from neekoctl.routing import Router, texts_of
    from registry.layout import Layout
    from registry.store import Registry

    registry = Registry(Layout.default())
    router = Router(registry, texts_of(registry, encoder, render.say), signal)
    document = router.document(router.route([text]))
    render.document(document) if json else render.routed(document)
