"""The page and the plot of the boundary study, from its cells. Knows numbers; runs no model.

Intervals are of a hierarchical bootstrap: newcomers are drawn anew, then seeds, then questions, and every method is
read on the same draw, so that differences are paired.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recipes.advisor import LADDER as RUNGS
from tests.studies.bootstrap import Interval

if TYPE_CHECKING:
    from tests.studies.boundary import Cell

PAGE = Path(__file__).parents[2] / "docs" / "studies" / "boundary.md"
DRAWS = 2000
AMOUNTS = (1, 4, 16, 64)
TUNE_READS = 16  # conversations, so a larger amount is the same as this one
COLOURS = {"fuse": "#888888", "fuse --tune": "#d95f02", "expand": "#1b9e77", "expand --warm-start fuse": "#7570b3"}
LADDER = ("fuse", "fuse --tune", "expand --warm-start fuse", "expand")

Draw = list[tuple[str, np.ndarray, np.ndarray]]  # newcomer, seeds as numbers in [0, 1), places of questions
Statistic = Callable[[str, np.ndarray, np.ndarray], float]  # of one newcomer, on drawn seeds and questions


class Results:
    """The cells as arrays: totals and ROUGE-L (seeds, questions) by newcomer, method and exchanges."""

    def __init__(self, cells: "Sequence[Cell]") -> None:
        by_seed: dict[tuple[str, str, int], dict[int, Cell]] = {}
        for cell in cells:
            by_seed.setdefault((cell.newcomer, cell.method, cell.exchanges), {})[cell.seed] = cell
        self.people = sorted({cell.newcomer for cell in cells})
        self.seeds = {exchanges: _whole_seeds(by_seed, self.people, exchanges) for exchanges in (0, *AMOUNTS)}
        self.tokens = {cell.newcomer: np.array(cell.tokens) for cell in cells}
        self.totals = {key: self._stacked(key, found, "totals") for key, found in by_seed.items()}
        self.rouge = {key: self._stacked(key, found, "rouge") for key, found in by_seed.items()}
        self.seconds = {key: [cell.seconds for cell in found.values()] for key, found in by_seed.items()}

    def _stacked(self, key: tuple[str, str, int], found: "dict[int, Cell]", what: str) -> np.ndarray:
        """(seeds, questions)."""
        return np.array([getattr(found[seed], what) for seed in self.seeds[key[2]]])

    def nll(self, method: str, exchanges: int) -> Statistic:
        """Nats a token of a newcomer's questions."""

        def of(person: str, seeds: np.ndarray, questions: np.ndarray) -> float:
            totals = _drawn(self.totals[person, method, exchanges], seeds)[:, questions]
            return float(totals.mean(axis=0).sum() / self.tokens[person][questions].sum())

        return of

    def overlap(self, method: str, exchanges: int) -> Statistic:
        """ROUGE-L."""
        return lambda person, seeds, questions: float(
            _drawn(self.rouge[person, method, exchanges], seeds)[:, questions].mean()
        )

    def took(self, method: str, exchanges: int) -> float:
        """Seconds to make a block: the median, since a study may be held up for other work."""
        return float(np.median([each for person in self.people for each in self.seconds[person, method, exchanges]]))

    def others(self, person: str, seeds: np.ndarray, questions: np.ndarray) -> float:
        """The mean NLL under the other characters' blocks."""
        names = [f"resident {name}" for name in self.people if name != person]
        return float(np.mean([self.nll(name, 0)(person, seeds, questions) for name in names]))

    def distinct(self, method: str, exchanges: int) -> Statistic:
        """How much likelier a newcomer's replies are under its own block than under the others', in nats a token."""
        own = self.nll(method, exchanges)
        return lambda person, seeds, questions: self.others(person, seeds, questions) - own(person, seeds, questions)

    @cached_property
    def draws(self) -> list[Draw]:
        order, most = np.random.default_rng(0), max(map(len, self.seeds.values()))
        return [[(person, order.random(most), order.integers(0, len(self.tokens[person]), len(self.tokens[person])))
                 for person in order.choice(self.people, len(self.people))] for _ in range(DRAWS)]  # fmt: skip

    def interval(self, statistic: Statistic) -> Interval:
        every = np.array([])
        whole = [(person, every, np.arange(len(self.tokens[person]))) for person in self.people]
        means = [float(np.mean([statistic(*each) for each in draw])) for draw in self.draws]
        whole_mean = float(np.mean([statistic(*each) for each in whole]))
        return Interval.of(np.array([whole_mean, *means]))

    def less(self, first: Statistic, second: Statistic) -> Interval:
        """By how much the second is below the first, paired."""
        return self.interval(lambda *draw: first(*draw) - second(*draw))


def _drawn(values: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The rows of (seeds, questions) that `seeds`, numbers in [0, 1), fall on; all of them where none are given."""
    return values[(seeds[: len(values)] * len(values)).astype(int)] if len(seeds) else values


def _whole_seeds(
    cells: "dict[tuple[str, str, int], dict[int, Cell]]", people: Sequence[str], exchanges: int
) -> list[int]:
    """The seeds of which every cell of this amount is there."""
    found = [seeds for (_, _, amount), seeds in cells.items() if amount == exchanges]
    methods = {method for _, method, amount in cells if amount == exchanges}
    every = len(people) * len(methods) if exchanges else len(found)
    return sorted(seed for seed in set().union(*found) if sum(seed in each for each in found) == every)


def amount(method: str, exchanges: int) -> int:
    """The cell that holds a method at an amount: a fusion reads none, tuning sixteen at most."""
    return 0 if method == "fuse" else min(exchanges, TUNE_READS) if method == "fuse --tune" else exchanges


def write(cells: "Sequence[Cell]") -> None:
    """docs/studies/boundary.md and boundary.svg beside it."""
    results = Results(cells)
    _draw(results, PAGE.with_suffix(".svg"))
    base, others = results.nll("base", 0), results.others
    shares = {
        "base": results.interval(base),
        "others": results.interval(others),
        "common": results.less(base, others),
        "left": results.less(others, results.nll("expand", 64)),
        "fused": results.less(others, results.nll("fuse", 0)),
        "warm": results.less(others, results.nll("expand --warm-start fuse", 64)),
    }
    PAGE.write_text(
        TEXT.format(
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            seeds=", ".join(f"{len(results.seeds[each])} at {each}" for each in AMOUNTS),
            perplexities=_table(results, results.nll, np.exp),
            rouges=_table(results, results.overlap, lambda value: value, ".3f"),
            distinct=_table(results, results.distinct, lambda value: value, "+.3f"),
            gains=_gains(results),
            best=_best(results),
            ladder=", ".join(f"`{rung.name}` {rung.needs}" for rung in RUNGS),
            kin=shares["fused"].mean / shares["left"].mean,
            share=shares["common"].mean / (shares["common"].mean + shares["left"].mean),
            seconds=_seconds(results),
            **{name: each.shown(np.exp) for name, each in shares.items() if name in ("base", "others")},
            **{name: each.shown(signs="+.3f") for name, each in shares.items() if name not in ("base", "others")},
        ),
        encoding="utf-8",
    )


def _table(results: Results, of: Callable[[str, int], Statistic], change: Callable[[float], float], signs: str = ".2f",
           ) -> str:  # fmt: skip
    rows = []
    for method in LADDER:
        cells = [results.interval(of(method, amount(method, exchanges))).shown(change, signs) for exchanges in AMOUNTS]
        rows.append(f"| `{method}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _gains(results: Results) -> str:
    """At every amount: how much a rung is likelier than each cheaper one."""
    rows = []
    for place, method in enumerate(LADDER):
        for cheaper in LADDER[:place]:
            cells = []
            for exchanges in AMOUNTS:
                dearer, less = (results.nll(each, amount(each, exchanges)) for each in (method, cheaper))
                gain = results.less(less, dearer)
                text = gain.shown(signs="+.3f")
                cells.append(f"**{text}**" if gain.low > 0 else text)
            rows.append(f"| `{method}` over `{cheaper}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _best(results: Results) -> str:
    """At every amount: the likeliest rung, those that are not told apart from it, and the quickest of all these."""
    rows = []
    for exchanges in AMOUNTS:
        nlls = {method: results.nll(method, amount(method, exchanges)) for method in LADDER}
        best = min(LADDER, key=lambda method: results.interval(nlls[method]).mean)  # noqa: B023  used at once
        near = [method for method in LADDER if method != best and results.less(nlls[method], nlls[best]).low <= 0]
        quickest = min([best, *near], key=lambda method: results.took(method, amount(method, exchanges)))  # noqa: B023
        others = ", ".join(f"`{method}`" for method in near) or "none"
        rows.append(f"| {exchanges} | `{best}` | {others} | `{quickest}` |")
    return "\n".join(rows)


def _seconds(results: Results) -> str:
    rows = []
    for method in LADDER:
        cells = [results.took(method, amount(method, each)) for each in AMOUNTS]
        rows.append(f"| `{method}` | {' | '.join(f'{value:.0f}' for value in cells)} |")
    return "\n".join(rows)


def _draw(results: Results, path: Path) -> None:
    """Perplexity and distinctness against the number of exchanges, with intervals."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "boundary"  # the same numbers draw the same file
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for place, method in enumerate(LADDER):
        at = np.array(AMOUNTS) * (1 + 0.06 * (place - 1.5))
        for axes, of, change in ((left, results.nll, np.exp), (right, results.distinct, np.asarray)):
            found = [results.interval(of(method, amount(method, each))) for each in AMOUNTS]
            means = change([each.mean for each in found])
            bounds = np.abs(change([[each.low for each in found], [each.high for each in found]]) - means)
            axes.errorbar(at, means, yerr=bounds, color=COLOURS[method], label=method, marker="o", capsize=3)
    for name, statistic in (("bare base", results.nll("base", 0)), ("another's block", results.others)):
        level = np.exp(results.interval(statistic).mean)
        left.axhline(level, color="black", linewidth=0.8, linestyle="--" if "base" in name else ":", label=name)
    right.axhline(0, color="black", linewidth=0.8, linestyle=":")
    for axes, title in ((left, "perplexity of held-out replies"), (right, "distinctness, nats a token")):
        axes.set(xscale="log", xlabel="exchanges of the newcomer", title=title)
        axes.set_xticks(AMOUNTS, [str(each) for each in AMOUNTS])
        axes.minorticks_off()
    left.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


TEXT = """\
# From how many exchanges on is a character better trained than fused?

`make study-boundary DATA=FOLDER`, written {date}. Each of Character-LLM's six characters moves in once beside the five
others, on the default base, rank 8, standard preset. Its exchanges are drawn, and its block is trained, anew by seed
(seeds: {seeds}; 64 are nearly all there are, so there a seed draws the training alone). One of a newcomer's
exchanges is kept aside to stop a training by: the product keeps those in the lowest eighth of prompt hashes, and at
least one, but the lowest hashes are the test questions here. What is reported is these, 25 a character, which nothing
was trained, tuned or stopped on. Fusion takes the three nearest by role embedding. 95 % intervals are of a
bootstrap over newcomers, seeds and questions.

![perplexity and distinctness](boundary.svg)

## Perplexity of held-out replies (the bare base: {base})

| strategy | 1 exchange | 4 | 16 | 64 |
|---|---|---|---|---|
{perplexities}

## How much likelier a rung of the ladder is than each cheaper one, nats a token (bold: the interval is above zero)

| | 1 exchange | 4 | 16 | 64 |
|---|---|---|---|---|
{gains}

## Which rung, then

| exchanges | likeliest | not told apart from it | the quickest of these |
|---|---|---|---|
{best}

One exchange teaches nothing that a merge does not know, and a training of a few steps on it, with no probe to stop by,
does harm. From a handful on, a block started from the merge is as likely as tuned weights or likelier, quicker to make,
and its replies overlap more with the references; started from scratch it needs all the exchanges there are to catch up.
`auto` therefore tries a rung from so many exchanges to learn from on, one in eight being kept aside as a probe:
{ladder}.

## ROUGE-L of greedy replies

| strategy | 1 exchange | 4 | 16 | 64 |
|---|---|---|---|---|
{rouges}

## Distinctness: what is left for the character itself

A newcomer's held-out replies have perplexity {others} under the *other* characters' blocks, none of which was made for
it: of the gain over the bare base, {common} nats a token is the common way of answering, and says nothing of anybody.
Distinctness is what a newcomer's own block adds to that, in nats a token: {left} with 64 exchanges from scratch,
{warm} from the merge, {fused} by fusion alone, which weighs the nearest.
So {share:.0%} of the way from the bare base to a character's own block is common to all, and likelihood alone flatters
fusion; of what is the character's own, {kin:.0%} is in its neighbours already, and the rest has to be learned.

| strategy | 1 exchange | 4 | 16 | 64 |
|---|---|---|---|---|
{distinct}

## Seconds to make the block (median, two cores)

| strategy | 1 exchange | 4 | 16 | 64 |
|---|---|---|---|---|
{seconds}
"""
