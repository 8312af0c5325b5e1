"""`neekoctl gate report | rebuild`."""

from pathlib import Path
from typing import Annotated

import typer

from neekoctl.commands.options import Encoder, Json, Signal

app = typer.Typer(help="Judge and rebuild the gate, which finds whom you mean.", no_args_is_help=True)


@app.command("report")
def report(
    signal: Signal = "all",
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots.", show_default=False)] = None,
    encoder: Encoder = None,
    json: Json = False,
) -> None:
    """Judge the gate by everybody's probes: confusion, coverage, calibration, precision and recall."""
    from neekoctl import gate_page, gate_report, gate_screen, render
    from neekoctl.outlet import refuse_unwritable
    from neekoctl.routing import Router, texts_of
    from registry.layout import Layout
    from registry.store import Registry

    if html is not None:
        refuse_unwritable(html)
    registry = Registry(Layout.default())
    router = Router(registry, texts_of(registry, encoder, render.say), signal)
    document = gate_report.report(registry, router)
    if html is not None:
        gate_page.write(document, html)
        render.say(f"wrote {html}")
    render.document(document) if json else gate_screen.show(document)


@app.command("rebuild")
def rebuild(encoder: Encoder = None, json: Json = False) -> None:
    """Fit a new version with its learned head; embed everybody again if the encoder has changed."""
    from neekoctl import render
    from neekoctl.gating import rebuild as run
    from neekoctl.routing import texts_of
    from registry.layout import Layout
    from registry.store import Registry

    registry = Registry(Layout.default())
    document = run(registry, texts_of(registry, encoder, render.say))
    render.document(document) if json else render.gate_version(document)
