"""`neekoctl add-character`."""

from pathlib import Path
from typing import Annotated

import typer

from neekoctl.commands.options import Base, Encoder, Json


def add_character(
    profile: Annotated[Path, typer.Argument(help="The character's profile.yaml.", show_default=False)],
    strategy: Annotated[str, typer.Option(help="How the block is made: expand.")] = "expand",
    rank: Annotated[int | None, typer.Option(min=1, help="Ranks to own, instead of the preset's.")] = None,
    preset: Annotated[str, typer.Option(help="Training settings: quick, standard or thorough.")] = "standard",
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting of the preset.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Makes the run repeatable on one machine.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was killed.")] = False,
    base: Base = None,
    encoder: Encoder = None,
    accept_gate: Annotated[
        bool, typer.Option("--accept-gate", help="Take a gate under which residents are found less often.")
    ] = False,
    json: Json = False,
) -> None:
    """Onboard a character into a rank range of its own."""
    from neekoctl import render
    from neekoctl.onboarding import Request, onboard
    from registry.layout import Layout
    from registry.store import Registry

    request = Request(profile, strategy, base, encoder, preset, tuple(change or ()), rank, seed, resume, accept_gate)
    with render.TrainingScreen().open() as screen:
        document = onboard(Registry(Layout.default()), request, screen)
    render.document(document) if json else render.onboarded(document)
