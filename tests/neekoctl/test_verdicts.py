"""What measurements mean, on measurements made up: the statistics of each section by hand."""

import pytest

from neekoctl.checks.findings import Checked, Flip, Route
from neekoctl.checks.summary import sections
from neekoctl.checks.tolerances import Tolerances
from neekoctl.checks.verdicts import Judged, is_loss, mcnemar
from recipes.scores import Score
from registry.tables import Character

ALLOWED = Tolerances()


def found(then: list[float], now: list[float], **more: object) -> Checked:
    row = Character(id=1, name="Ant", bank_id=1, start=0, stop=8, status="ready", strategy="expand")
    return Checked(row, then=[Score(each, 10) for each in then], now=[Score(each, 10) for each in now], **more)


def complaints(checked: Checked, allowed: Tolerances = ALLOWED) -> dict[str, list[str]]:
    return {name: words for name, words in Judged(checked, allowed).complaints.items() if words}


def test_on_the_same_machine_any_loss_beyond_rounding_is_forgetting() -> None:
    assert complaints(found([20.0, 30.0], [20.0, 30.0])) == {}
    assert complaints(found([20.0, 30.0], [20.001, 30.0])) == {}  # 0.00005 nats a token
    assert complaints(found([20.0, 30.0], [20.01, 30.0])) == {
        "likelihood": ["the held-out likelihood fell by 0.0005 nats a token"]
    }
    assert complaints(found([20.0, 30.0], [19.0, 29.0])) == {}  # likelier is no loss


def test_elsewhere_a_loss_must_be_more_than_tolerated_and_no_chance() -> None:
    away = {"elsewhere": ["torch 1 then, 2 now"], "flips": [Flip("?", "a", "b")]}
    assert complaints(found([20.0] * 8, [20.1] * 8, **away)) == {}  # 0.01, and flips are not counted there
    assert "likelihood" in complaints(found([20.0] * 8, [20.3] * 8, **away))
    lucky = [19.5, 19.6, 22.0, 19.5, 19.4, 22.5, 19.8, 20.2]
    assert sum(lucky) / 8 > 20.3
    assert complaints(found([20.0] * 8, lucky, **away)) == {}
    assert "likelihood" in complaints(found([20.0], [21.0], **away))  # one probe has no interval


def test_elsewhere_a_very_large_loss_needs_no_test() -> None:
    away = {"elsewhere": ["torch 1 then, 2 now"]}
    assert complaints(found([20.0] * 3, [20.0, 20.0, 21.0], **away)) == {}  # by one of three
    assert "likelihood" in complaints(found([20.0] * 3, [20.0, 20.0, 120.0], **away))


def test_the_more_are_asked_the_rarer_each_may_be_wrong() -> None:
    routes = [Route("Ant", "?", "Ant", "Bee")] * 5 + [Route("Ant", "?", "Ant", "Ant")]
    assert is_loss(routes, ALLOWED)
    assert not is_loss(routes, ALLOWED, among=2)
    drift = found([20.0] * 8, [20.0] * 8, distinct=([Score(5.0 + each, 10) for each in range(8)],
                                                    [Score(3.0 + 1.4 * each, 10) for each in range(8)]))  # fmt: skip
    alone, among = Judged(drift, ALLOWED).drift, Judged(drift, ALLOWED, among=20).drift
    assert alone is not None
    assert among is not None
    assert among.low < alone.low


def test_no_number_is_a_loss() -> None:
    assert complaints(found([20.0, 30.0], [float("nan"), 30.0])) == {
        "likelihood": ["the held-out likelihood fell by nan nats a token"]
    }


def test_replies_may_differ_as_far_as_tolerated() -> None:
    changed = found([20.0] * 4, [20.0] * 4, flips=[Flip("?", "a", "b")])
    assert complaints(changed) == {"replies": ["1 of 4 greedy replies differ"]}
    assert complaints(changed, Tolerances(replies=0.25)) == {}


def test_mcnemar_is_the_binomial_tail() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 0) == pytest.approx(1 / 32)
    assert mcnemar(3, 1) == pytest.approx((4 + 1) / 16)  # three or four of four


def test_the_gate_loses_somebody_when_it_is_no_chance_and_more_than_tolerated() -> None:
    def lost(lost: int, gained: int, questions: int) -> bool:
        kept = [Route("Ant", "?", "Ant", "Ant")] * (questions - lost - gained)
        fell, rose = Route("Ant", "?", "Ant", "Bee"), Route("Ant", "?", "Bee", "Ant")
        return is_loss([*kept, *[fell] * lost, *[rose] * gained], ALLOWED)

    assert lost(5, 0, 8)
    assert not lost(4, 1, 8)
    assert lost(3, 0, 3)  # every one that was found
    assert not lost(2, 0, 2)
    assert not lost(5, 0, 200)  # 2.5 % is tolerated
    assert not lost(6, 3, 20)
    assert lost(12, 2, 20)


def test_a_question_back_is_no_loss_and_anothers_answer_is() -> None:
    def route(then: str, now: str) -> Route:
        return Route("Ant", "?", then, now)

    assert not route("Ant", "ambiguous").lost
    assert route("Ant", "Bee").lost
    assert route("ambiguous", "unknown").lost
    assert route("unknown", "Ant").gained
    routes = [route("Ant", "Bee")] * 5
    assert complaints(found([20.0], [20.0], routes=routes)) == {
        "gate": ["the gate no longer finds it for 5 of 5 questions"]
    }


def test_style_drifts_when_distinctness_falls_significantly() -> None:
    def margins(*nats: float) -> list[Score]:
        return [Score(each, 10) for each in nats]

    fell = found([20.0] * 3, [20.0] * 3, distinct=(margins(5.0, 6.0, 5.5), margins(1.0, 2.1, 1.4)))
    assert complaints(fell) == {"style": ["its replies lost 0.4000 nats a token of distinctness"]}
    grew = found([20.0] * 3, [20.0] * 3, distinct=(margins(1.0, 2.1, 1.4), margins(5.0, 6.0, 5.5)))
    assert complaints(grew) == {}


def test_backward_transfer_leaves_the_newest_out() -> None:
    def one(name: str, day: str, lost: float) -> Judged:
        checked = found([20.0, 20.0], [20.0 + 10 * lost] * 2)
        checked.row = Character(id=int(day), name=name, bank_id=1, start=0, stop=8, status="ready", strategy="expand",
                                created_at=day)  # fmt: skip
        return Judged(checked, ALLOWED)

    told = sections(
        [one("Cub", "3", 0.3), one("Ant", "1", 0.1), one("Bee", "2", 0.2)], {"measured": 0, "why": "no gate"}, ALLOWED
    )
    assert told["likelihood"]["forgetting"] == pytest.approx(0.2)
    assert told["likelihood"]["backward_transfer"] == pytest.approx(-0.15)
    assert told["gate"]["verdict"] == "not checked"


def test_the_interval_of_the_mean_is_over_characters() -> None:
    judged = [Judged(found([20.0] * 30, [20.0 + lost] * 30), ALLOWED) for lost in (0.0, 0.0, 5.0)]
    told = sections(judged, {"measured": 0, "why": "no gate"}, ALLOWED)["likelihood"]
    assert told["forgetting"] == pytest.approx(0.5 / 3)
    assert told["interval"][0] <= 0 < told["forgetting"] < told["interval"][1]


def test_tolerated_weights_pass_and_are_told() -> None:
    judged = [Judged(found([], [], faults={"files": "a file of its block changed"}), Tolerances(weights=1))]
    told = sections(judged, {"measured": 0, "why": "no gate"}, Tolerances(weights=1))
    assert (told["weights"]["verdict"], told["weights"]["identical"]) == ("pass", 0)
    assert told["weights"]["complaints"] == ["Ant: a file of its block changed"]
