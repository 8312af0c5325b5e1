"""The opposite of the fault kit: twenty people move in, by every strategy there is, and nobody is alarmed."""

from pathlib import Path

import pytest

from tests.neekoctl.conftest import QUICK
from tests.picos import write_profile

pytestmark = pytest.mark.usefixtures("pico_environment")
WAYS: list[tuple[object, ...]] = [
    ("--strategy", "expand", *QUICK),
    ("--strategy", "fuse"),
    ("--strategy", "fuse", "--tune"),
    ("--strategy", "expand", "--warm-start", "fuse", *QUICK),
    ("--strategy", "auto", *QUICK),
]
NAMES = ("Ash", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gorse", "Hazel", "Ivy", "Juniper",
         "Kauri", "Larch", "Maple", "Nutmeg", "Oak", "Pine", "Quince", "Rowan", "Sloe", "Teak")  # fmt: skip


def test_twenty_onboardings_by_every_strategy_raise_no_alarm(neekoctl, tmp_path: Path) -> None:
    for place, name in enumerate(NAMES):
        way = WAYS[place % len(WAYS)] if place else WAYS[0]
        done = neekoctl("add-character", write_profile(tmp_path, name), *way)
        assert done.code == 0, done.err
        if place % 5 == 4:
            checked = neekoctl("check", "--json")
            assert (checked.code, checked.document["checked"]) == (0, place + 1), checked.document["sections"]
    sections = checked.document["sections"]
    assert {section["verdict"] for section in sections.values()} == {"pass"}  # style too, from the second check on
    history = neekoctl("history", "--json").document
    assert history["forgetting"] == pytest.approx(0, abs=1e-6)
    assert len(history["revisions"]) == 20
