"""The advisor: how high it climbs, when it stays, what it says. Strategies are stood in for where only choosing is
tried."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recipes import advisor, likelihood
from recipes.advisor import FEWEST_PROBES, LADDER, Rung, advise, ladder
from recipes.scores import Score, paired_bootstrap
from recipes.task import Lineage, Made, Task


def names(rungs: list[Rung]) -> list[str]:
    return [rung.name for rung in rungs]


def test_the_ladder_grows_with_the_data() -> None:
    heights = [len(ladder(exchanges, 9, ["neighbours"])) for exchanges in (0, 1, 4, 16, 64, 1000)]
    assert heights == sorted(heights)
    assert names(ladder(0, 9, ["neighbours"])) == ["fuse"]
    assert names(ladder(1000, 9, ["neighbours", "cohort"])) == names(list(LADDER))


def test_a_rung_needs_its_source() -> None:
    assert names(ladder(64, 9, ["neighbours"])) == ["fuse", "fuse --tune", "expand --warm-start fuse", "expand"]
    assert names(ladder(64, 9, ["cohort"])) == ["hyper", "expand --warm-start hyper", "expand"]
    assert names(ladder(1, 2, ["neighbours", "cohort"])) == ["hyper"]
    assert names(ladder(9, 2, ["neighbours", "cohort"])) == ["expand --warm-start hyper"]


def test_with_too_few_probes_only_the_best_for_so_many_exchanges_is_climbed() -> None:
    for exchanges in (0, 1, 4, 16, 64, 1000):
        (rung,) = ladder(exchanges, FEWEST_PROBES - 1, ["neighbours"])
        assert rung.needs <= exchanges
        assert rung.source == "neighbours"


def test_without_neighbours_only_training_is_left() -> None:
    assert names(ladder(5, 9, [])) == ["expand"]


# the paired bootstrap


def scores(*nlls: float) -> list[Score]:
    return [Score(each * 10, 10) for each in nlls]


def test_a_gain_on_every_row_is_significant() -> None:
    found = paired_bootstrap(scores(2, 3, 4, 5, 6), scores(1.5, 2.4, 3.6, 4.5, 5.4))
    assert found.mean == pytest.approx(0.52)
    assert 0 < found.low <= found.mean <= found.high


def test_few_rows_are_given_a_wider_interval() -> None:
    """Three gains and one loss among four rows: the plain percentiles would call that significant."""
    found = paired_bootstrap(scores(3, 3, 3, 3), scores(2.8, 2.7, 2.75, 3.05))
    assert found.low < 0 < found.mean


def test_three_rows_never_tell_at_a_level_of_one_in_thousands() -> None:
    """All went one way, so that every draw of them does."""
    found = paired_bootstrap(scores(3, 3, 3), scores(2.99, 2.97, 2.95), confidence=1 - 0.05 / 200)
    assert found.low < 0 < found.mean
    assert paired_bootstrap(scores(3, 3, 3), scores(2.99, 2.99, 2.99), confidence=1 - 0.05 / 200).low > 0


def test_equal_models_seldom_look_different() -> None:
    order, wins = np.random.default_rng(0), 0
    for _ in range(200):
        gains = order.normal(0, 0.1, FEWEST_PROBES)
        wins += paired_bootstrap(scores(*(3 + gains)), scores(*[3] * FEWEST_PROBES)).low > 0
    assert wins / 200 < 0.05


def test_a_gain_that_hangs_on_one_row_is_not() -> None:
    found = paired_bootstrap(scores(2, 3, 4, 5, 6), scores(2, 3, 4, 5, 1))
    assert found.mean == pytest.approx(1.0)
    assert found.low <= 0


def test_long_rows_weigh_by_their_tokens() -> None:
    found = paired_bootstrap([Score(10, 10), Score(300, 100)], [Score(20, 10), Score(200, 100)])
    assert found.mean == pytest.approx(90 / 110)


# climbing


class Stand:
    """A task of which only the amounts matter; every strategy 'makes' a block called by its rung."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nlls: dict[str, list[float]], exchanges: int = 60) -> None:
        self.nlls, self.made = nlls, []  # type: ignore[var-annotated]
        rungs = tuple(replace(rung, make=self.maker(rung.name)) for rung in LADDER)
        monkeypatch.setattr(advisor, "LADDER", rungs)
        monkeypatch.setattr(advisor, "_start", lambda task, source: {"neighbours": "fuse", "cohort": "hyper"}[source])
        for module in (advisor, likelihood):
            monkeypatch.setattr(module, "scored_under", lambda bank, block, rows: scores(*nlls[block or "base"]))
        probes = [[]] * len(nlls["base"])
        recipe: Any = type("R", (), {"epochs": 4})
        train = [[{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]] * exchanges
        self.task = _Task("Moth", None, None, recipe, train, probes, 0, neighbours=("somebody",))  # type: ignore[arg-type]

    def maker(self, name: str) -> Callable[[Task], Made]:
        def make(task: Task) -> Made:
            self.made.append(name)
            return Made(name, name.split()[0], None, None, 1.0, f"{name} was made.", parents=[Lineage("a", "b", 1.0)])  # type: ignore[arg-type]

        return make


class _Task(Task):
    def probes(self) -> list[Any]:
        return list(self.heldout)

    def rows(self) -> list[Any]:
        return list(self.train)


def test_a_source_is_judged_by_what_is_to_be_learned_and_not_by_probes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand(monkeypatch, {"base": [3.0] * 4, "fuse": [2.0] * 4}, exchanges=20)
    read: list[int] = []
    monkeypatch.setattr(likelihood, "scored_under", lambda bank, block, rows: read.append(len(rows)) or scores(3.0))
    advise(stand.task)
    assert set(read) == {24}


FLAT = [3.0, 3.1, 2.9, 3.2, 3.0, 3.1]
BETTER = [each - 0.3 for each in FLAT]
BEST = [each - 0.6 for each in FLAT]


def test_it_stays_on_the_cheapest_that_nothing_beats(monkeypatch) -> None:
    noisy = [3.4, 2.5, 3.3, 2.7, 3.1, 3.2]
    stand = Stand(monkeypatch, {"base": [4.0] * 6, "fuse": FLAT, "fuse --tune": FLAT, "expand --warm-start fuse": noisy,
                                "expand": noisy})  # fmt: skip
    made = advise(stand.task)
    assert stand.made == names(ladder(1000, 9, ["neighbours"]))
    assert (made.strategy, made.block) == ("fuse", "fuse")
    assert made.reason.startswith("auto took fuse on 6 held-out replies: fuse has perplexity")
    assert made.reason.count("does not beat fuse") == 3


def test_it_climbs_to_what_is_significantly_better_and_tells_the_numbers(monkeypatch) -> None:
    stand = Stand(monkeypatch, {"base": [4.0] * 6, "fuse": FLAT, "fuse --tune": BETTER,
                                "expand --warm-start fuse": BEST, "expand": BETTER})  # fmt: skip
    made = advise(stand.task)
    assert (made.strategy, made.block) == ("expand", "expand --warm-start fuse")
    assert "expand --warm-start fuse (11.59) beats fuse --tune: +0.300 nats a token [+0.300, +0.300]" in made.reason
    assert "expand (15.64) does not beat expand --warm-start fuse" in made.reason
    assert made.nll_before == pytest.approx(4.0)
    assert made.nll_after == pytest.approx(2.45)
    assert [each["rung"] for each in made.details["rungs"]] == names(ladder(1000, 9, ["neighbours"]))
    assert made.details["asked"] == "auto"


def test_few_exchanges_climb_less_high(monkeypatch) -> None:
    stand = Stand(monkeypatch, {"base": FLAT, "fuse": FLAT, "fuse --tune": BETTER}, exchanges=1)
    advise(stand.task)
    assert stand.made == names(ladder(1, 9, ["neighbours"]))


def test_too_few_probes_to_compare_leave_it_to_the_amount_of_data(monkeypatch) -> None:
    few = FLAT[: FEWEST_PROBES - 1]
    stand = Stand(monkeypatch, {"base": few, "fuse": [each - 0.1 for each in few]}, exchanges=5)
    made = advise(stand.task)
    assert stand.made == [ladder(5, 2, ["neighbours"])[-1].name]
    assert f"{FEWEST_PROBES - 1} held-out replies are too few to compare by" in made.reason


def test_a_start_that_is_worse_than_none_is_left_out(monkeypatch) -> None:
    few = FLAT[: FEWEST_PROBES - 1]
    worse, better = [each + 0.1 for each in few], [each - 0.1 for each in few]
    stand = Stand(monkeypatch, {"base": few, "fuse": worse}, exchanges=5)
    made = advise(stand.task)
    assert stand.made == ["expand"]
    assert "the bare base finds the newcomer's replies likelier" in made.reason
    stand = Stand(monkeypatch, {"base": few, "fuse": worse, "hyper": better}, exchanges=5)
    advise(replace(stand.task, entry="cohort"))  # type: ignore[arg-type]
    assert stand.made == ["expand --warm-start hyper"]


def test_with_nothing_to_learn_from_even_a_bad_source_is_taken(monkeypatch) -> None:
    stand = Stand(monkeypatch, {"base": FLAT[:1], "fuse": [9.0], "hyper": [9.0]}, exchanges=0)
    advise(stand.task)
    assert stand.made == ["fuse"]


def test_nobody_to_fuse_is_a_reason(monkeypatch) -> None:
    stand = Stand(monkeypatch, {"base": FLAT})
    made = advise(replace(stand.task, neighbours=()))
    assert stand.made == ["expand"]
    assert "nobody whose block could be used" in made.reason


def test_what_the_budget_cannot_hold_is_left_out_and_named(monkeypatch) -> None:
    stand = Stand(monkeypatch, {"base": [4.0] * 6, "fuse": FLAT, "fuse --tune": BETTER,
                                "expand --warm-start fuse": BEST, "expand": BEST})  # fmt: skip
    made = advise(replace(stand.task, until=time.monotonic()))
    assert stand.made == ["fuse"]
    assert made.reason.count("more than the budget has left") == 3
