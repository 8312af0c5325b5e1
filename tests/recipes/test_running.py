"""A run over one number, by hand: what is kept is the mean over its last steps."""

import pytest
import torch

from recipes.recipe import load_recipe
from recipes.running import Run


class Walker:
    """Its number is pushed up and down; it remembers where every step led."""

    device = torch.device("cpu")

    def __init__(self, probed: int) -> None:  # by so many probes
        self.place = torch.nn.Parameter(torch.zeros(1))
        self.walked: list[float] = []
        self.read: list[float] = []
        self.probes = [0.0] * probed
        self.better = True

    def groups(self) -> list[tuple[list[torch.nn.Parameter], float]]:
        return [([self.place], 1.0)]

    def epoch(self, number: int) -> list[float]:
        return [1.0, -3.0, 2.0, -1.0]

    def loss(self, batch: float, epoch: float) -> torch.Tensor:
        return (batch * self.place).sum()

    def tokens(self, batch: float) -> int:
        self.walked.append(self.place.item())
        return 1

    def evaluate(self) -> float:
        self.read.append(self.place.item())
        return float(len(self.read)) * (-1 if self.better else 1)  # than ever before, or worse


def by_hand(walked: list[float], averaging: float) -> list[float]:
    means, mean = [], 0.0
    for step, place in enumerate(walked, start=1):
        decay = min(averaging, (step - 1) / (step + 1))
        mean = decay * mean + (1 - decay) * place
        means.append(mean)
    return means


@pytest.mark.parametrize("averaging", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("probed", [1, 0])
def test_the_mean_over_the_steps_is_evaluated_and_kept(averaging: float, probed: int) -> None:
    walker = Walker(probed)
    run = Run(walker, load_recipe("quick", [f"averaging={averaging}", "learning_rate=0.1", "evaluations=2"]))
    run.go()
    means = by_hand(walker.walked, averaging)
    assert len(means) == 8
    assert walker.place.item() == pytest.approx(means[-1], abs=1e-6)
    assert walker.read == pytest.approx([0.0, *means[1::2]] if probed else [], abs=1e-6)


def test_every_step_of_a_short_run_weighs_as_its_number() -> None:
    walker = Walker(probed=False)
    Run(walker, load_recipe("quick", ["averaging=0.98", "learning_rate=0.1"])).go()
    weighed = sum(number * place for number, place in enumerate(walker.walked, start=1))
    assert walker.place.item() == pytest.approx(weighed / sum(range(1, len(walker.walked) + 1)), abs=1e-6)


def test_without_averaging_the_last_state_is_kept_to_the_bit() -> None:
    walker = Walker(probed=False)
    Run(walker, load_recipe("quick", ["learning_rate=0.1"])).go()
    assert walker.place.item() == walker.walked[-1]


@pytest.mark.parametrize(("probed", "judged"), [(2, False), (3, True)])
def test_probes_choose_the_state_only_where_there_are_as_many_as_wanted(probed: int, judged: bool) -> None:
    walker = Walker(probed)
    settings = ["averaging=0.9", "learning_rate=0.1", "evaluations=2", "patience=1", "fewest_probes=3"]
    run = Run(walker, load_recipe("quick", settings))
    walker.better = False
    state = run.go()
    means = by_hand(walker.walked, 0.9)
    assert len(walker.read) == (2 if judged else 0)
    assert (state.step, state.best_step) == ((2, 0) if judged else (8, 8))
    assert walker.place.item() == pytest.approx(0.0 if judged else means[-1], abs=1e-6)


def test_the_steps_go_on_from_where_they_were_and_not_from_the_mean() -> None:
    probed, unprobed = Walker(True), Walker(False)
    for walker in (probed, unprobed):
        Run(walker, load_recipe("quick", ["averaging=0.9", "learning_rate=0.1", "evaluations=4"])).go()
    assert probed.walked == unprobed.walked
