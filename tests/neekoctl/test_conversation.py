"""A conversation that outlasts the window: what no longer fits is forgotten once, not looked at again each turn."""

import pytest

from neekoctl.conversation import Conversation
from neekoctl.stage import set_stage
from neekoctl.talking import TalkOptions, talk
from recipes.engine import Sampling
from registry.errors import Terminated
from registry.store import Registry

pytestmark = pytest.mark.usefixtures("pico_environment")


def test_turns_that_no_longer_fit_are_forgotten_for_good(inhabited: Registry) -> None:
    row = inhabited.find("Bee")
    stage = set_stage(inhabited, inhabited.banks()[0], say=lambda _: None)
    said_to = Conversation(stage, row)
    said = [{"role": role, "content": f"{role} {number}"} for number in range(300) for role in ("user", "assistant")]
    said_to.history = list(said)
    "".join(said_to.say("And now?", max_new_tokens=4, sampling=Sampling()))
    kept = said_to.history[:-2]
    assert 0 < len(kept) < len(said)
    assert kept == said[-len(kept) :]
    assert kept[0]["role"] == "user"
    assert said_to.history[-2] == {"role": "user", "content": "And now?"}


def test_a_thought_is_shown_and_not_remembered(inhabited: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    said_to = Conversation(set_stage(inhabited, inhabited.banks()[0], say=lambda _: None), inhabited.find("Bee"))
    monkeypatch.setattr(said_to, "_pieces", lambda *_: iter(["<think>Hm.", "</think>\n\nYes."]))
    assert "".join(said_to.say("Well?", max_new_tokens=4, sampling=Sampling())) == "<think>Hm.</think>\n\nYes."
    assert said_to.history[-1] == {"role": "assistant", "content": "Yes."}


def test_a_temperature_that_is_no_number_is_refused_before_a_base_is_loaded(neekoctl) -> None:
    done = neekoctl("chat", "--bare", "--once", "Hi", "--temperature", "nan")
    assert (done.code, "--temperature" in done.err, "loading" in done.err) == (2, True, False)


def test_a_termination_ends_a_chat_that_ctrl_c_would_not(inhabited: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter([KeyboardInterrupt, Terminated])
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(next(asked)))
    options = TalkOptions(speaker="Bee", once=None, temperature=0.0, max_new_tokens=8, persona=False, seed=None,
                          base=None, json=False)  # fmt: skip
    with pytest.raises(Terminated):
        talk(inhabited, options)
    assert next(asked, None) is None
