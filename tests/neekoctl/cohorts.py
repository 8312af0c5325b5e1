"""Cohorts for tests: small, and trained in a moment."""

from typing import Any

FAST = tuple(word for each in ("epochs=2", "batch=4", "hidden_width=16", "bottleneck=4", "learning_rate=0.01", "rank=4")
             for word in ("--set", each))  # fmt: skip
WORSE = ("--set", "learning_rate=0.000001", "--set", "own_epochs=0")
TWO = ("--character", "Ant", "--character", "Bee")


def trained(neekoctl: Any, *options: object, name: str = "founders") -> dict[str, Any]:
    done = neekoctl("cohort", "train", name, *options, *FAST, "--json")
    assert done.code == 0, done.err
    document: dict[str, Any] = done.document
    return document
