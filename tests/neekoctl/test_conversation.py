"""A conversation that outlasts the window: what no longer fits is forgotten once, not looked at again each turn."""

import pytest

from neekoctl.conversation import Conversation
from neekoctl.stage import set_stage
from recipes.engine import Sampling
from registry.store import Registry

pytestmark = pytest.mark.usefixtures("pico_environment")


def test_turns_that_no_longer_fit_are_forgotten_for_good(inhabited: Registry) -> None:
    row = inhabited.find("Bee")
    stage = set_stage(inhabited, inhabited.banks()[0], say=lambda _: None)
    talk = Conversation(stage, row)
    said = [{"role": role, "content": f"{role} {number}"} for number in range(300) for role in ("user", "assistant")]
    talk.history = list(said)
    "".join(talk.say("And now?", max_new_tokens=4, sampling=Sampling()))
    kept = talk.history[:-2]
    assert 0 < len(kept) < len(said)
    assert kept == said[-len(kept) :]
    assert kept[0]["role"] == "user"
    assert talk.history[-2] == {"role": "user", "content": "And now?"}
