"""`neekoctl chat`."""

from typing import Annotated

import typer

from neekoctl.commands.options import Base, Encoder, Json, Signal


def chat(
    speaker: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Who answers; default: whomever your words mean.")
    ] = None,
    bare: Annotated[bool, typer.Option("--bare", help="Let the base model answer, without any block.")] = False,
    once: Annotated[str | None, typer.Option(metavar="TEXT", help="Ask this, print the reply, and leave.")] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=5.0, help="Of the sampling; 0 always takes the likeliest token.")
    ] = 0.7,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest reply, in tokens.")] = 160,
    persona: Annotated[bool, typer.Option("--persona", help="Add the persona to the system message.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Makes sampled replies repeatable.")] = None,
    signal: Signal = "all",
    base: Base = None,
    encoder: Encoder = None,
    json: Json = False,
) -> None:
    """Talk to a character, or to whomever your words mean. Piped lines are the turns of one conversation."""
    from neekoctl.talking import TalkOptions, talk
    from registry.layout import Layout
    from registry.store import Registry

    options = TalkOptions(speaker=speaker, once=once, temperature=temperature, max_new_tokens=max_new_tokens,
                          persona=persona, seed=seed, base=base, json=json, encoder=encoder, signal=signal,
                          bare=bare)  # fmt: skip
    talk(Registry(Layout.default()), options)
