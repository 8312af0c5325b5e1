"""`neekoctl cohort train | upgrade | list | show | remove`."""

from pathlib import Path
from typing import Annotated

import typer

from neekoctl.commands.asking import ask
from neekoctl.commands.options import AcceptGate, Base, Changes, Encoder, Json, Resume, Seed, Yes

app = typer.Typer(help="Characters trained together: a network writes each one's block.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The cohort.", show_default=False)]


@app.command("train")
def train(
    name: Name,
    character: Annotated[
        list[str], typer.Option(metavar="NAME|PROFILE", help="A resident or a profile file; name two at least.")
    ],
    kind: Annotated[
        str, typer.Option(help="hycora (each member has a half of its own) or shared (one block for all).")
    ] = "hycora",
    change: Changes = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Ranks of each block, instead of the preset's.")] = None,
    seed: Seed = 0,
    resume: Resume = False,
    base: Base = None,
    encoder: Encoder = None,
    accept_gate: AcceptGate = False,
    json: Json = False,
) -> None:
    """Train several characters together and give each a block in its own range."""
    from neekoctl import cohort_screen, render
    from neekoctl.cohorting import train as run
    from neekoctl.gathering import Wanted, gather
    from registry.layout import Layout
    from registry.store import Registry

    wanted = Wanted(name, tuple(character), kind, tuple(change or ()), rank, seed, resume, base, encoder, accept_gate)
    registry = Registry(Layout.default())
    with render.TrainingScreen().open() as screen:
        document = run(registry, gather(registry, wanted, screen), screen)
    render.document(document) if json else cohort_screen.trained(document)


@app.command("upgrade")
def upgrade(
    name: Name,
    character: Annotated[
        list[str] | None, typer.Option(metavar="NAME|PROFILE", help="A further character to train; repeatable.")
    ] = None,
    change: Changes = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**63 - 1, help="Default: the seed of the version before.", show_default=False),
    ] = None,
    resume: Resume = False,
    accept_gate: AcceptGate = False,
    config: Annotated[
        Path | None, typer.Option(help="Tolerances, as for check; default: check.yaml in this folder, if any.")
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEASURE=VALUE", help="Override likelihood_elsewhere or significance.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train a new version, and switch the members whose likelihood would pass a check."""
    from neekoctl import cohort_screen, render
    from neekoctl.checks.tolerances import OF_TWO_BLOCKS, tolerances
    from neekoctl.cohorting import train as run
    from neekoctl.gathering import Wanted, again
    from registry.layout import Layout
    from registry.store import Registry

    wanted = Wanted(name, tuple(character or ()), changes=tuple(change or ()), resume=resume,
                    accept_gate=accept_gate, allowed=tolerances(config, tolerance or [], OF_TWO_BLOCKS))  # fmt: skip
    registry = Registry(Layout.default())
    with render.TrainingScreen().open() as screen:
        document = run(registry, again(registry, wanted, screen, seed), screen)
    render.document(document) if json else cohort_screen.trained(document)


@app.command("list")
def listing(json: Json = False) -> None:
    """List every version of every cohort."""
    from neekoctl import cohort_screen, render
    from neekoctl.cohort_report import described
    from registry.cohorts import cohorts
    from registry.layout import Layout
    from registry.store import Registry

    registry = Registry(Layout.default())
    rows = [described(registry, row) for row in cohorts(registry)]
    render.document(rows) if json else cohort_screen.listed(rows)


@app.command("show")
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(min=1, help="The version to show.", show_default="the newest")] = None,
    json: Json = False,
) -> None:
    """Show a version: its members, how it was trained, and how alike the written halves are."""
    from neekoctl import cohort_screen, render
    from neekoctl.cohort_report import described
    from registry.cohorts import versions
    from registry.layout import Layout
    from registry.store import Registry

    registry = Registry(Layout.default())
    document = described(registry, versions(registry, name, version)[-1])
    render.document(document) if json else cohort_screen.shown(document)


@app.command("remove")
def remove(
    name: Name,
    version: Annotated[int | None, typer.Option(min=1, help="Remove this version alone.", show_default="all")] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Forget a cohort's network; its members keep their blocks, and it takes no newcomers any more."""
    from neekoctl import cohort_screen, render
    from registry.cohorts import remove as forget
    from registry.cohorts import versions
    from registry.layout import Layout
    from registry.store import Registry

    registry = Registry(Layout.default())
    rows = versions(registry, name, version)
    ask(yes, f"remove version {', '.join(str(row.version) for row in rows)} of the cohort {name}")
    for row in rows:
        forget(registry, row)
    document = {"removed": name, "versions": [row.version for row in rows]}
    render.document(document) if json else cohort_screen.removed(document)
