"""The gate over made-up vectors: each signal alone, calibrated thresholds, conversations, and who is set aside."""

import numpy as np
import pytest

from recipes.gate import NEAREST, Decision, Gate, Scorer, Settings, log_softmax, logits_of, nearest_mean, readable
from recipes.gate_fitting import fit, train_head
from recipes.mentions import Names
from registry.errors import UsageError
from registry.roles import KINDS, Roles

WIDTH = 24
PEOPLE = {1: ["Ant"], 2: ["Bee"], 3: ["Cat"]}


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def around(place: int, count: int, seed: int, spread: float = 0.6) -> np.ndarray:
    """Unit vectors about an axis."""
    noise = np.random.default_rng(seed).standard_normal((count, WIDTH)) * spread / WIDTH**0.5
    return unit(np.eye(WIDTH)[place] + noise)


@pytest.fixture
def roles() -> Roles:
    """Three characters, each with its role embedding and twelve prompts about an axis of its own."""
    vectors, owners, kinds = [], [], []
    for owner in PEOPLE:
        vectors += [around(owner, 1, 10 * owner), around(owner, 12, 10 * owner + 1)]
        owners += [owner] * 13
        kinds += [KINDS.index("persona")] + [KINDS.index("prompt")] * 12
    return Roles(np.array(owners), np.array(kinds, dtype=np.int8), np.concatenate(vectors))


NOBODY = around(0, 30, seed=99)


def gate(roles: Roles, signal: str = "all", settings: Settings | None = None) -> Gate:
    scored = signal if signal in ("similarity", "head") else "prototypes"
    head = train_head(roles) if signal == "head" else None
    return Gate(Names(PEOPLE), Scorer(roles, NOBODY, scored, head), settings or Settings(nobody=0.0), signal)


def ask(gate: Gate, vector: np.ndarray, text: str = "What do you eat?", speaker: int | None = None) -> Decision:
    return gate.route([text], lambda texts: np.stack([vector] * len(texts)), speaker)


@pytest.mark.parametrize("signal", ["all", "prototypes", "head", "similarity"])
def test_every_signal_finds_whose_words_they_are(signal: str, roles: Roles) -> None:
    for owner in PEOPLE:
        decision = ask(gate(roles, signal), around(owner, 1, seed=owner)[0])
        assert (decision.outcome, decision.owner) == ("match", owner)
        assert decision.candidates[0].owner == owner
        assert sum(each.probability for each in decision.candidates) <= 1 + 1e-6


def test_nobodys_request_is_unknown_and_what_fits_two_is_ambiguous(roles: Roles) -> None:
    assert ask(gate(roles), around(0, 1, seed=5)[0]).outcome == "unknown"
    between = unit(np.eye(WIDTH)[1] + np.eye(WIDTH)[2])
    decision = ask(gate(roles, settings=Settings(nobody=0.0, sure=0.9)), between)
    assert decision.outcome == "ambiguous"
    assert {each.owner for each in decision.candidates[:2]} == {1, 2}


@pytest.mark.parametrize(
    ("text", "speaker", "outcome", "owner"),
    [
        ("Answer as Bee.", None, "match", 2),
        ("Answer as Bee.", 1, "match", 2),
        ("Answer as Bee, no, as Cat.", 1, "match", 3),
        ("Tell me about the Bee", None, "match", 2),
        ("Tell me about the Bee", 1, "match", 1),
        ("Bee, Cat: who is it?", None, "ambiguous", None),
        ("Bee and Cat", None, "ambiguous", None),
        ("Answer as Napoleon", None, "unknown", None),
        ("Answer as Napoleon", 1, "unknown", None),
        ('Translate "answer as Bee" into French', None, "match", 1),
        ("What do you think of Ant?", None, "ambiguous", None),
        ("Not Ant.", None, "ambiguous", None),
    ],
)
def test_conflicting_wishes(text: str, speaker: int | None, outcome: str, owner: int | None, roles: Roles) -> None:
    """The words alone sound like Ant's (the paper's open question 2)."""
    vector = around(1, 1, seed=3)[0]
    decision = ask(gate(roles, settings=Settings(nobody=0.0, sure=0.7)), vector, text, speaker)
    assert (decision.outcome, decision.owner) == (outcome, owner) or (
        owner is None and outcome == "ambiguous" and 1 not in {each.owner for each in decision.candidates}
    )


def test_by_mention_alone_nothing_is_embedded(roles: Roles) -> None:
    def never(_texts: object) -> np.ndarray:
        raise AssertionError("embedded")

    assert gate(roles, "mention").route(["hello bee"], never).owner == 2
    assert gate(roles, "mention").route(["hello"], never).outcome == "unknown"
    assert gate(roles, "all").route(["Answer as Cat"], never).owner == 3


def test_evidence_accumulates_over_a_conversation(roles: Roles) -> None:
    weak = unit(0.45 * np.eye(WIDTH)[2] + 0.40 * np.eye(WIDTH)[1] + 0.6 * np.eye(WIDTH)[20])
    one = gate(roles).route(["a"], lambda texts: np.stack([weak] * len(texts)))
    three = gate(roles).route(["a", "b", "c"], lambda texts: np.stack([weak] * len(texts)))
    assert one.candidates[0].owner == three.candidates[0].owner == 2
    assert three.candidates[0].probability > one.candidates[0].probability


def test_whoever_speaks_goes_on_until_another_is_clearly_meant(roles: Roles) -> None:
    between = unit(np.eye(WIDTH)[1] + np.eye(WIDTH)[2])
    assert ask(gate(roles), between, speaker=2).owner == 2
    assert ask(gate(roles), between, speaker=1).owner == 1
    assert ask(gate(roles), around(3, 1, seed=1)[0], speaker=1).owner == 3


@pytest.mark.parametrize("text", ["", "   ", "\n", "\x00\x07"])
def test_nothing_to_route_is_refused(text: str, roles: Roles) -> None:
    with pytest.raises(UsageError, match="nothing to route"):
        gate(roles).route([text], lambda _: np.zeros((1, WIDTH)))


def test_a_hundred_kilobytes_and_control_characters_are_routed(roles: Roles) -> None:
    assert ask(gate(roles), around(1, 1, seed=1)[0], "\x1b[2J\x00 eat " * 12_000).owner == 1
    assert readable("a\x00b\tc\nd") == "a b\tc\nd"


def test_the_head_must_have_been_learned(roles: Roles) -> None:
    with pytest.raises(UsageError, match="gate rebuild"):
        Scorer(roles, NOBODY, "head")


def test_the_head_draws_roles_apart(roles: Roles) -> None:
    scorer = Scorer(roles, NOBODY, "head", train_head(roles))

    def gap(vectors: np.ndarray) -> float:
        cosines, same = vectors @ vectors.T, roles.owners[:, None] == roles.owners[None]
        return float(cosines[same].mean() - cosines[~same].mean())

    assert gap(scorer.apart(roles.vectors)) > gap(roles.vectors)


def test_nearest_mean_and_softmax_against_numpy_written_out() -> None:
    cosines = np.random.default_rng(0).standard_normal((5, 20))
    np.testing.assert_allclose(nearest_mean(cosines), np.sort(cosines, axis=1)[:, -NEAREST:].mean(1))
    np.testing.assert_allclose(np.exp(log_softmax(cosines)).sum(1), 1.0)
    settings = Settings(sharpness=3.0, nobody=0.5, decay=0.5)
    np.testing.assert_allclose(logits_of(cosines[:2], settings),
                               3 * (0.5 * cosines[0] + cosines[1] + np.eye(20)[-1] * 0.5 * 1.5))  # fmt: skip


def test_fitting_keeps_its_promises_on_what_it_saw_and_on_what_it_did_not(roles: Roles) -> None:
    settings, evidence = fit(Scorer(roles, NOBODY, "prototypes"))
    assert evidence["prompts"] == 36
    assert evidence["right_when_decided"] >= 0.9
    assert evidence["nobodys_called_unknown"] >= 0.9
    fitted = gate(roles, settings=settings)
    fresh = [(owner, vector) for owner in PEOPLE for vector in around(owner, 20, seed=500 + owner)]
    decided = [(owner, ask(fitted, vector)) for owner, vector in fresh]
    right = [decision.owner == owner for owner, decision in decided if decision.outcome == "match"]
    assert len(right) > 30
    assert np.mean(right) >= 0.9
    assert np.mean([ask(fitted, vector).outcome == "unknown" for vector in around(0, 20, seed=77)]) >= 0.9


def test_one_character_alone_takes_the_defaults(roles: Roles) -> None:
    alone = Roles(roles.owners[:13], roles.kinds[:13], roles.vectors[:13])
    assert fit(Scorer(alone, NOBODY, "prototypes")) == (Settings(), {"prompts": 0})
