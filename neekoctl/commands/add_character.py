"""`neekoctl add-character`."""

from pathlib import Path
from typing import Annotated

import typer

from neekoctl.commands.options import AcceptGate, Base, Changes, Encoder, Json, Resume, Seed

MERGES = "svd, elementwise, cat, ties or dare_ties"


def add_character(
    profile: Annotated[Path, typer.Argument(help="The character's profile.yaml.", show_default=False)],
    strategy: Annotated[str, typer.Option(help="How the block is made: expand, fuse, hyper or auto.")] = "expand",
    rank: Annotated[int | None, typer.Option(min=1, help="Ranks to own, instead of the preset's.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Training settings: quick, standard, thorough or gentle.  [default: standard; gentle where it "
            "starts from a cohort's block]"
        ),
    ] = None,
    change: Changes = None,
    seed: Seed = 0,
    resume: Resume = False,
    base: Base = None,
    encoder: Encoder = None,
    accept_gate: AcceptGate = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the character of this name, if there is one.")
    ] = False,
    neighbours: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="How many of the nearest residents to fuse.  [default: up to 3]"),
    ] = None,
    parents: Annotated[
        list[str] | None, typer.Option("--from", metavar="NAME[=WEIGHT]", help="Fuse this resident; repeatable.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the softmax over similarities; lower favours the nearest.  [default: 0.1]")
    ] = None,
    merge: Annotated[str | None, typer.Option(help=f"How blocks are fused: {MERGES}.  [default: svd]")] = None,
    energy: Annotated[
        float | None, typer.Option(help="Choose the rank that keeps this share of the fused blocks' energy.")
    ] = None,
    density: Annotated[
        float | None, typer.Option(help="Share of the entries that ties and dare_ties keep.  [default: 0.5]")
    ] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Fit the weights of the fusion on the dialogues.")] = False,
    warm_start: Annotated[
        str, typer.Option(metavar="fuse|hyper|NAME|none", help="What an expansion starts from.")
    ] = "none",
    cohort: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@VERSION]", help="The cohort whose network writes the block.  [default: the newest]"
        ),
    ] = None,
    from_profile: Annotated[
        bool, typer.Option("--from-profile", help="Let the cohort's network read the persona.")
    ] = False,
    budget: Annotated[str | None, typer.Option(metavar="TIME", help="Time limit of auto, such as 60s or 5m.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and make nothing.")] = False,
    json: Json = False,
) -> None:
    """Onboard a character into its own range of ranks."""
    from neekoctl import render
    from neekoctl.kinship import Choice
    from neekoctl.onboarding import onboard, rehearse
    from neekoctl.request import Request, seconds
    from recipes.recipe import load_merging
    from registry.layout import Layout
    from registry.store import Registry

    merging = load_merging(method=merge, energy=energy, density=density, temperature=temperature)
    request = Request(profile, strategy, base, encoder, preset, tuple(change or ()), rank,
                      seed, resume, accept_gate, replace, Choice(neighbours, tuple(parents or ())), merging, tune,
                      warm_start, cohort, from_profile, None if budget is None else seconds(budget))  # fmt: skip
    with render.TrainingScreen().open() as screen:
        document = (rehearse if dry_run else onboard)(Registry(Layout.default()), request, screen)
    if json:
        render.document(document)
    else:
        (render.planned if dry_run else render.onboarded)(document)
