"""`neekoctl ranks`."""

from typing import Annotated

import typer

from neekoctl.commands.options import Base, Json


def ranks(
    grow: Annotated[int | None, typer.Option(min=1, max=2**48, help="Grow the bank to this many ranks.")] = None,
    base: Base = None,
    json: Json = False,
) -> None:
    """Draw who owns which ranks of the bank, and what is free."""
    from neekoctl import render
    from neekoctl.describing import ranked
    from neekoctl.stage import existing_banks, the_one
    from registry.layout import Layout
    from registry.store import Registry

    registry = Registry(Layout.default())
    banks = existing_banks(registry, base)
    if grow is not None:
        banks = [registry.grow(the_one(banks), grow)]
    if json:
        render.document(ranked(registry, the_one(banks)))
        return
    for bank in banks:
        render.rank_map(bank, *registry.ranges(bank))
