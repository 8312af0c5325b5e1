"""`neekoctl ranks`."""

from typing import Annotated

import typer

from neekoctl.commands.options import Base, Json


def ranks(
    grow: Annotated[int | None, typer.Option(min=1, help="Grow the bank to this many ranks.")] = None,
    base: Base = None,
    json: Json = False,
) -> None:
    """Draw who owns which ranks of the bank, and what is free."""
    from neekoctl import render
    from neekoctl.describing import ranked
    from neekoctl.stage import existing_bank
    from registry.layout import Layout
    from registry.store import Registry

    registry = Registry(Layout.default())
    bank = existing_bank(registry, base)
    if grow is not None:
        bank = registry.grow(bank, grow)
    if json:
        render.document(ranked(registry, bank))
    else:
        render.rank_map(bank, *registry.ranges(bank))
