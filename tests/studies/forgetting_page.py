"""The page and the plot of the forgetting study. Knows what was measured; runs no model, and its sentences take their
numbers, and which way they fall, from the results.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.studies.bootstrap import Interval
from tests.studies.forgetting_results import (
    BASE,
    DRAWS,
    LADDER,
    OVERLAPPING,
    OWN,
    SHARED,
    WARM,
    WIDE,
    Results,
    backward_transfer,
    final,
    forgetting,
    from_best,
    learned,
)

if TYPE_CHECKING:
    from tests.studies.forgetting import Cell

PAGE = Path(__file__).parents[2] / "docs" / "studies" / "forgetting.md"
COLOURS = dict(zip(LADDER, ("#1b9e77", "#66c2a5", "#d95f02", "#a6761d", "#7570b3"), strict=True))


def write(cells: "Sequence[Cell]") -> None:
    """docs/studies/forgetting.md and forgetting.svg beside it."""
    amounts = [Results(cells, exchanges) for exchanges in sorted({cell.exchanges for cell in cells if cell.exchanges})]
    *fewer, results = [each for each in amounts if each.seeds]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    _draw(results, PAGE.with_suffix(".svg"))
    text = TEXT.format(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        people=len(results.people),
        questions=results.tokens.shape[1],
        seeds=len(results.seeds),
        exchanges=results.exchanges,
        rank=results.ranks[OWN],
        wide=results.ranks[WIDE],
        draws=DRAWS,
        findings="\n".join(f"- {finding}" for finding in _findings(results)),
        kept="\n".join(_kept(results, way) for way in LADDER),
        likely="\n".join(_likely(results, way) for way in (BASE, *LADDER)),
        pairs="\n".join(_pairs(results)),
        header=" | ".join(LADDER),
        rule="---|" * (len(LADDER) + 2),
        characters="\n".join(_characters(results)),
        seconds="; ".join(f"{label(results, way)}: {np.median(results.seconds[way]):.0f}" for way in LADDER),
        amounts=_amounts([*fewer, results]) if fewer else "",
    )
    PAGE.write_text(text, encoding="utf-8")


def label(results: Results, way: str) -> str:
    return way if way == BASE else f"{way.removesuffix(', wide')}, rank {results.ranks[way]}"


def _kept(results: Results, way: str) -> str:
    told = [results.interval(each, way).shown(signs="+.3f") for each in (forgetting, from_best, backward_transfer)]
    same, readings = results.unchanged(way)
    return (
        f"| {label(results, way)} | {' | '.join(told)} | {results.moved_by_the_end(way):.0%} | {same} of {readings} |"
    )


def _likely(results: Results, way: str) -> str:
    first, last = (results.interval(each, way) for each in (learned, final))
    return f"| {label(results, way)} | {first.shown(signs='.3f')} | {last.shown(signs='.3f')} | {last.shown(np.exp)} |"


def _pairs(results: Results) -> list[str]:
    """How much likelier replies are with own blocks than in each other way; bold where the interval leaves out zero."""
    rows = []
    for mine in (OWN, WARM):
        for other in (SHARED, WIDE, OVERLAPPING):
            told = [results.interval(each, mine, over=other).bold() for each in (learned, final)]
            rows.append(f"| {label(results, mine)} over {label(results, other)} | {' | '.join(told)} |")
    return rows


def _characters(results: Results) -> list[str]:
    """Everybody's perplexity at the end, the mean over seeds taken in nats."""
    ends = [np.exp(final(results.nll(way)[0]).mean(axis=1)) for way in (BASE, *LADDER)]
    return [f"| {name} | {' | '.join(f'{end[place]:.2f}' for end in ends)} |"
            for place, name in enumerate(results.people)]  # fmt: skip


def _amounts(every: list[Results]) -> str:
    """The same of every amount of exchanges, where there are several."""
    rows = []
    for results in every:
        lost = [results.interval(forgetting, way) for way in (SHARED, WIDE, OVERLAPPING)]
        gains = [results.interval(final, mine, over=SHARED) for mine in (OWN, WARM)]
        told = " | ".join(each.shown(signs="+.3f") for each in (*lost, *gains))
        rows.append(f"| {results.exchanges} | {len(results.seeds)} | {told} |")
    return AMOUNTS.format(rows="\n".join(rows))


# what the numbers say, in sentences that hold whichever way they fall


def _findings(results: Results) -> list[str]:
    return [
        *(_forgets(results, way) for way in LADDER),
        *(_against(results, mine, other) for mine in (OWN, WARM) for other in (SHARED, WIDE)),
        _isolation(results),
    ]


def _forgets(results: Results, way: str) -> str:
    """What a way does to those who are there."""
    name, (same, readings) = label(results, way), results.unchanged(way)
    if same == readings:
        return f"**{name}**: nobody changed. All {readings} later readings are the first to the last bit."
    found, best = results.interval(forgetting, way), results.interval(from_best, way)
    gain = results.interval(learned, way, over=BASE).mean
    share = f", {found.mean / gain:.0%} of what own training had brought over the bare base" if found.low > 0 else ""
    return (f"**{name}**: earlier characters' replies {_turned(found)} (forgetting {found.shown(signs='+.3f')} nats a "
            f"token{share}; from their best {best.shown(signs='+.3f')}).")  # fmt: skip


def _turned(found: Interval) -> str:
    if found.low > 0:
        return "became less likely"
    return "became likelier" if found.high < 0 else "became neither clearly likelier nor less likely"


def _against(results: Results, mine: str, other: str) -> str:
    """Where two ways stand in the end, and how much of it was there right after each character's own training."""
    start, end = (results.interval(each, mine, over=other) for each in (learned, final))
    names = f"**{label(results, mine)}** than with {label(results, other)}"
    return (f"In the end replies are {_likelier(end)} with {names} ({end.shown(signs='+.3f')} nats a token; right "
            f"after each one's own training {start.shown(signs='+.3f')}).")  # fmt: skip


def _likelier(found: Interval) -> str:
    if found.low > 0:
        return "likelier"
    return "less likely" if found.high < 0 else "neither clearly likelier nor less likely"


def _isolation(results: Results) -> str:
    """The ablation: the same ranks a character, overlapping or not."""
    lost = results.interval(forgetting, OWN, over=OVERLAPPING)
    moved = [results.moved_by_the_end(way) for way in (OVERLAPPING, OWN)]
    verdict = "more" if lost.low > 0 else "less" if lost.high < 0 else "neither clearly more nor less"
    return (f"Isolation: where half of its ranks are its successor's too, {verdict} is forgotten of an earlier "
            f"character than where ranges are disjoint ({lost.shown(signs='+.3f')} nats a token), and its delta_W "
            f"moves by {moved[0]:.0%} of its norm ({moved[1]:.0%} where they are disjoint).")  # fmt: skip


# the plot


def _draw(results: Results, path: Path) -> None:
    """Two lines of time above, and a map of what changed for each way below."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "forgetting"  # the same numbers draw the same file
    from matplotlib import pyplot as plt

    figure: Any = plt.figure(figsize=(13, 7.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    left, right = above.subplots(1, 2)
    _lines(results, left, results.first, "NLL of the first character, nats a token")
    _lines(results, right, results.present, "mean NLL of all who are there, nats a token")
    left.legend(fontsize=8)
    _maps(results, below)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _lines(results: Results, axes: Any, of: Callable[[str], np.ndarray], title: str) -> None:
    steps = np.arange(1, results.steps + 1)
    for way in LADDER:
        axes.plot(steps, of(way), color=COLOURS[way], label=label(results, way), marker="o", markersize=4)
    axes.plot(steps, of(BASE), color="black", linewidth=0.8, linestyle="--", label=BASE)
    axes.set(xlabel="characters there", title=title)
    axes.set_xticks(steps)


def _maps(results: Results, figure: Any) -> None:
    """Rows are steps, columns whoever came at step i; red is less likely than right after its own training."""
    changes = {way: results.change(way) for way in LADDER}
    most = max(0.01, *(float(np.nanmax(np.abs(each))) for each in changes.values()))
    every = figure.subplots(1, len(LADDER), sharey=True)
    for axes, (way, values) in zip(every, changes.items(), strict=True):
        image = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most)
        for step, place in zip(*np.nonzero(np.isfinite(values)), strict=True):
            colour = "white" if abs(values[step, place]) > 0.6 * most else "black"
            axes.text(place, step, f"{values[step, place]:+.2f}", ha="center", va="center", fontsize=6, color=colour)
        ticks = range(results.steps)
        axes.set_xticks(ticks, [str(each + 1) for each in ticks])
        axes.set_yticks(ticks, [str(each + 1) for each in ticks])
        axes.set_title(label(results, way), fontsize=9)
        axes.set_xlabel("came as number", fontsize=8)
    every[0].set_ylabel("read after step", fontsize=8)
    figure.colorbar(image, ax=list(every), label="NLL since own training", shrink=0.8)


TEXT = """\
# What happens to those who are there when another character is added?

`make study-forgetting DATA=FOLDER`, written {date}. Character-LLM's {people} characters are added one after another, on
the default base, standard preset, at most {exchanges} exchanges each (one in eight is kept aside to stop a training
by), in an order of each seed ({seeds} seeds; each lets another one come first). After every step everybody who is there
is read anew: {questions} questions a character that nothing was trained or stopped on (those whose prompt hashes
lowest). Every way uses the same exchanges, the same prompt form ("You are NAME."), the same recipe and a fresh
optimizer a character.

| way | what a newcomer's training starts from and writes to |
|---|---|
| own blocks, rank {rank} | a fresh block in a range of its own, nobody else's (this project, `expand`) |
| own blocks, warm start, rank {rank} | the same, from the merge of the nearest there (`expand --warm-start fuse`) |
| one shared block, rank {rank} | the one LoRA adapter there is, which serves everybody (the usual way) |
| one shared block, rank {wide} | the same with the ranks of all characters together |
| overlapping blocks, rank {rank} | half a block is fresh, half is its predecessor's last ranks, which both then use |

{findings}

![likelihood over the steps](forgetting.svg)

## What was lost of earlier characters (nats a token; above zero: less likely than before)

| way | forgetting | from the best | backward transfer | delta_W moved | readings unchanged to the last bit |
|---|---|---|---|---|---|
{kept}

Forgetting is the NLL after the last step less that right after a character's own training (first minus last accuracy
in Avalanche); *from the best* is less the lowest NLL of any step before the last (Chaudhry et al., 2018); backward
transfer is forgetting with its sign turned (Lopez-Paz and Ranzato, 2017). Whoever came last is left out, having had no
time to be forgotten. *delta_W moved* is the norm of the change of what serves a character since its own training, as a
share of the norm it had.

## How likely replies are (NLL in nats a token)

| way | right after own training | at the end | perplexity at the end |
|---|---|---|---|
{likely}

The first column is not the same in every way: a shared block's training starts from what earlier ones left, a warm
start from a merge of them, a fresh block from nothing.

## By how much replies are likelier with own blocks (nats a token; bold: the interval leaves out zero)

| | right after own training | at the end |
|---|---|---|
{pairs}

## Perplexity at the end, character by character

| character | bare base | {header} |
|{rule}
{characters}
{amounts}
Intervals hold 95 % of {draws} draws of a bootstrap over characters, seeds (orders) and questions; every way is read on
the same draw. Seconds to train a character (median): {seconds}.
"""

AMOUNTS = """
## By the number of exchanges each character has (nats a token)

| exchanges | seeds | forgetting, shared | shared, wide | overlapping | own over shared, at the end | warm over shared |
|---|---|---|---|---|---|---|
{rows}
"""
