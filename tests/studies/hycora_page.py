"""The page and the plots of the HyCoRA study. Knows what was measured; runs no model, and its sentences take their
numbers, and which way they fall, from the results.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.hyper_half import likeness
from tests.studies.bootstrap import DRAWS
from tests.studies.hycora_capacity import FACTS, WORDS
from tests.studies.hycora_figures import ROLES, scattered, trained
from tests.studies.hycora_newcomers import AMOUNTS, METHODS, TARGETS, TURNS, Newcomers
from tests.studies.hycora_results import Arrivals, Measure, Results, bleu, distinctness, likelihood, rouge
from tests.studies.hycora_ways import B_WRITTEN, BOTH_WRITTEN, HYCORA, INDEPENDENT, SHARED, TABLE, TRIED, Way

if TYPE_CHECKING:
    from tests.studies.hycora import Study

PAGE = Path(__file__).parents[2] / "docs" / "studies" / "hycora.md"
BASE = "bare base"
MEASURES: dict[str, Measure] = {
    "likelihood": likelihood, "distinctness": distinctness, "ROUGE-L": rouge, "BLEU": bleu,
}  # fmt: skip
WRITTEN = ((BOTH_WRITTEN, "a"), (B_WRITTEN, "b"), (HYCORA, "a"))  # of which t-SNE draws the written half
COLOURS = ("#1b9e77", "#66a61e", "#d95f02", "#7570b3", "#a6761d", "#e7298a", "#666666", "#1f78b4")
COLLAPSED = 0.95  # mean cosine of A from which `cohort show` warns


def write(cast: "Study", shipped: "Study") -> None:
    """docs/studies/hycora.md and its plots beside it, of what is whole so far."""
    six, four = (Results(list(study.cells.values()), [way.name for way in TABLE]) for study in (cast, shipped))
    came = Newcomers(cast).cells
    arrivals = Arrivals(list(came.values()), [cell for cell in cast.cells.values() if cell.way == BASE])
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(
        TEXT.format(
            date=f"{datetime.now(UTC):%Y-%m-%d}", exchanges=cast.exchanges, probes=cast.probes,
            questions=six.tokens.shape[1], seeds=len(six.seeds), draws=DRAWS,
            findings="\n".join(f"- {line}" for line in (*_findings(six), *_reached(arrivals))),
            table="\n".join(_table(six)), pairs="\n".join(_pairs(six)),
            starters="\n".join(_table(four)), starter_pairs="\n".join(_pairs(four)),
            tried="\n".join(_tried(cast)), names=" | ".join(six.people), rule="---|" * (len(six.people) + 2),
            characters="\n".join(_characters(six)), parameters="\n".join(_parameters(cast)),
            columns=" | ".join(map(str, ROLES)), came=len(arrivals.people), arrivals=len(arrivals.seeds), turns=TURNS,
            newcomers="\n".join(_newcomers(arrivals)), arrived="\n".join(_arrived(arrivals)),
            capacity="\n".join(_capacity(cast.path.with_name("capacity.jsonl"))), facts=len(FACTS), words=WORDS,
        ),
        encoding="utf-8",
    )  # fmt: skip
    _draw(PAGE.with_name("hycora.svg"), lambda figure: _ways(figure, six, arrivals, cast))
    if all(cast.lies_here(way, six.seeds[0]) for way, _ in WRITTEN):
        _draw(PAGE.with_name("hycora-halves.svg"), lambda figure: _halves(figure, cast, six))


# tables


def _table(results: Results) -> Iterator[str]:
    """A way a row: the paper's Tables 3 and 5."""
    for way in results.ways if results.seeds else ():
        perplexity = results.interval(likelihood, way).shown(lambda value: float(np.exp(-value)))
        rest = [results.interval(measure, way).shown(signs=".3f") for measure in (distinctness, rouge, bleu)]
        if not any(results.found[way, seed, results.people[0]].other for seed in results.seeds):
            rest[0] = "one block" if way == SHARED.name else "the gate's pick"
        step = f"{results.took(way):.0f}" if results.took(way) else "each its own"
        yield f"| {way} | {perplexity} | {' | '.join(rest)} | {results.told_apart(way):.2f} | {step} |"


def _pairs(results: Results) -> Iterator[str]:
    """By how much HyCoRA is better than each of the others."""
    for other in results.ways if results.seeds else ():
        if other != HYCORA.name:
            told = [results.interval(measure, HYCORA.name, over=other).bold() for measure in MEASURES.values()]
            yield f"| {other} | {' | '.join(told)} |"


def _tried(cast: "Study") -> Iterator[str]:
    """What was tried on seed 0, and why; differences to the two that are to be beaten."""
    ways = [way for way in (INDEPENDENT, SHARED, HYCORA, *TRIED) if _is_read(cast, way)]
    results = Results(list(cast.cells.values()), [way.name for way in ways])
    for way in ways:
        told = [f"{float(np.exp(-results.interval(likelihood, way.name).mean)):.2f}"]
        told += [results.interval(likelihood, way.name, over=SHARED.name).bold()]
        told += [f"{results.interval(distinctness, way.name).mean:+.3f}"]
        told += [results.interval(distinctness, way.name, over=INDEPENDENT.name).bold()]
        told += [f"{results.told_apart(way.name):.2f}"]
        yield f"| {way.name} | {' '.join(f'`{each}`' for each in way.changes)} | {' | '.join(told)} | {way.why} |"


def _is_read(cast: "Study", way: Way) -> bool:
    return all((way.name, 0, person.name) in cast.cells for person in cast.people)


def _characters(results: Results) -> Iterator[str]:
    """Perplexity and distinctness of everybody, means over seeds."""
    for way in results.ways:
        nll = [-results.of(name, likelihood, way) for name in results.people]
        apart = [results.of(name, distinctness, way) for name in results.people]
        told = [f"{np.exp(one):.2f} ({two:+.3f})" for one, two in zip(nll, apart, strict=True)]
        yield f"| {way} | {' | '.join(told)} |"


def _parameters(cast: "Study") -> Iterator[str]:
    for name, counts in trained(cast.bank.base.shapes, (INDEPENDENT, SHARED, *(way for way, _ in WRITTEN))).items():
        yield f"| {name} | {' | '.join(f'{count / 1e6:.2f}' for count in counts)} |"


def _newcomers(arrivals: Arrivals) -> Iterator[str]:
    for method in METHODS:
        told = [arrivals.share(method, each).shown() if (method, each) in arrivals.keys else "" for each in AMOUNTS]
        yield f"| {method} | {' | '.join(told)} |"


def _arrived(arrivals: Arrivals) -> Iterator[str]:
    """Everybody's best way at every amount that has a target."""
    for name in arrivals.people:
        told = []
        for amount in TARGETS:
            every = {method: arrivals.of(name, method, amount) for method, at in arrivals.keys if at == amount}
            best = min(every, key=lambda method: every[method])  # noqa: B023  used at once
            told.append(f"{every[best]:.2f} ({best})")
        yield f"| {name} | {' | '.join(told)} |"


def _capacity(path: Path) -> Iterator[str]:
    for line in path.read_text().splitlines() if path.exists() else []:
        cell = json.loads(line)
        share = cell["right"] / cell["asked"]
        yield f"| {cell['roles']} | {cell['width']} | {share:.0%} | {cell['steps']} |"


# what the numbers say, in sentences that hold whichever way they fall


def _findings(results: Results) -> Iterator[str]:
    for other in (SHARED, INDEPENDENT):
        for name, measure in MEASURES.items():
            found = results.interval(measure, HYCORA.name, over=other.name)
            yield f"{name}: **HyCoRA {_stands(found.low, found.high)} {other.name}** ({found.shown(signs='+.3f')})."
    order = sorted(results.ways, key=lambda way: -results.interval(likelihood, way).mean)
    yield f"By likelihood the order is {', '.join(order)}; the paper has HyCoRA first."
    alike = results.told_apart(HYCORA.name)
    verdict = "the roles have collapsed: all A are one" if alike > COLLAPSED else "the roles are told apart"
    yield f"The mean cosine of HyCoRA's A between characters is {alike:.2f}: {verdict}."


def _stands(low: float, high: float) -> str:
    return "beats" if low > 0 else "is beaten by" if high < 0 else "is not told apart from"


def _reached(arrivals: Arrivals) -> Iterator[str]:
    for amount, target in TARGETS.items():
        every = {method: arrivals.share(method, at) for method, at in arrivals.keys if at == amount}
        if not every:
            return
        best = min(every, key=lambda method: every[method].mean)  # noqa: B023  used at once
        met = "reached" if every[best].mean <= target else "missed"
        yield (f"A newcomer with {amount} exchanges: {every[best].shown(signs='.3f')} of the base's perplexity by "
               f"*{best}*, mean of {len(arrivals.people)} newcomers (at most {target}: {met}).")  # fmt: skip


# plots


def _draw(path: Path, paint: Callable[[Any], None]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "hycora"  # the same numbers draw the same file
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(13, 4.4), layout="constrained")
    paint(figure)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _ways(figure: Any, results: Results, arrivals: Arrivals, cast: "Study") -> None:
    """Likelihood against distinctness, newcomers over exchanges, numbers trained over roles (Figure 3)."""
    left, middle, right = figure.subplots(1, 3)
    for colour, way in zip(COLOURS, results.ways, strict=False):
        x, y = (results.interval(measure, way) for measure in (distinctness, likelihood))
        bars = {"xerr": [[x.mean - x.low], [x.high - x.mean]], "yerr": [[y.mean - y.low], [y.high - y.mean]]}
        left.errorbar(x.mean, y.mean, **bars, color=colour, marker="o", label=way, linewidth=0.8)
    left.set(xlabel="distinctness, nats a token", ylabel="log-likelihood, nats a token", title="up and right is better")
    for colour, method in zip(COLOURS, METHODS, strict=False):
        amounts = [each for each in AMOUNTS if (method, each) in arrivals.keys]
        shares = [arrivals.share(method, each).mean for each in amounts]
        middle.plot([AMOUNTS.index(each) for each in amounts], shares, color=colour, marker="o", label=method)
    middle.plot([AMOUNTS.index(each) for each in TARGETS], list(TARGETS.values()), "k_", markersize=14, label="target")
    middle.set_xticks(range(len(AMOUNTS)), [str(each) for each in AMOUNTS])
    middle.set(xlabel="exchanges of the newcomer", title="perplexity as a share of the base's")
    for colour, (name, counts) in zip(COLOURS, trained(cast.bank.base.shapes, (INDEPENDENT, SHARED, HYCORA)).items(),
                                      strict=False):  # fmt: skip
        right.plot(ROLES, [count / 1e6 for count in counts], color=colour, marker="o", label=name)
    right.set(xscale="log", yscale="log", xlabel="roles", title="numbers trained, millions")
    for axes in (left, middle, right):
        axes.legend(fontsize=6)


def _halves(figure: Any, cast: "Study", results: Results) -> None:
    """Where t-SNE puts what is written for each role at every layer, and how alike the A of HyCoRA are (Figure 4)."""
    every = figure.subplots(1, len(WRITTEN) + 1)
    for axes, (way, half) in zip(every, WRITTEN, strict=False):
        blocks = cast.written(way, results.seeds[0])
        for colour, (name, points) in zip(COLOURS, zip(blocks, scattered(list(blocks.values()), half), strict=True),
                                          strict=False):  # fmt: skip
            axes.scatter(*points.T, s=8, color=colour, label=name)
        axes.set(title=f"{way.name}: {half.upper()} at every layer", xticks=[], yticks=[])
    every[0].legend(fontsize=6)
    blocks = cast.written(HYCORA, results.seeds[0])
    values = likeness(list(blocks.values())).numpy()
    every[-1].imshow(values, cmap="viridis", vmin=0, vmax=1)
    for place in np.ndindex(values.shape):
        every[-1].text(place[1], place[0], f"{values[place]:.2f}", ha="center", va="center", fontsize=6, color="white")
    every[-1].set_xticks(range(len(blocks)), [name.split()[-1] for name in blocks], rotation=60, fontsize=6)
    every[-1].set_yticks(range(len(blocks)), [name.split()[-1] for name in blocks], fontsize=6)
    every[-1].set_title("cosine of A, HyCoRA")


TEXT = """\
# Do characters that share one half of a block keep what is their own?

`make study-hycora DATA=FOLDER`, written {date}. HyCoRA ([arXiv 2511.08017](https://arxiv.org/abs/2511.08017)) on
Character-LLM's six characters, the default base, rank 8: at most {exchanges} exchanges each, {probes} of them kept
aside to stop a training by; what is reported is {questions} other questions a character, which nothing was trained,
stopped or chosen on. Seeds measured: {seeds}. *Distinctness* is how many nats a token a reply is less likely under
the block of the nearest other character, everything else as it was; where all have one block there is none.
Intervals hold 95 % of {draws} draws of a bootstrap over characters, seeds and questions, and every way is read on
the same draw. Every reading that the figures are made of is a line of [hycora/*.jsonl](hycora).

{findings}

![ways, newcomers and numbers](hycora.svg)

## Every way of training several characters (Tables 3 and 5 of the paper)

| way | perplexity | distinctness | ROUGE-L | BLEU | cosine of A | best step |
|---|---|---|---|---|---|---|
{table}

*Neeko* is the first row's blocks with a gate before them, which is given the question and no name: what it mistakes
costs likelihood, and naming the character (`--as`) brings it back to the first row. In every way of HyCoRA but one of
those that were tried, half the weight is the first row's block, a member's own part ([cohorts](../cohorts.md)); cosine
and best step are those of the training together. How long a step takes: [benchmarks](../benchmarks.md).

## By how much HyCoRA is better (bold: the interval leaves out zero; likelihood and distinctness in nats a token)

| than | likelihood | distinctness | ROUGE-L | BLEU |
|---|---|---|---|---|
{pairs}

## Perplexity (distinctness), character by character

| way | {names} |
|{rule}
{characters}

## The same with the four characters that ship with the project

| way | perplexity | distinctness | ROUGE-L | BLEU | cosine of A | best step |
|---|---|---|---|---|---|---|
{starters}

| HyCoRA is better than | likelihood | distinctness | ROUGE-L | BLEU |
|---|---|---|---|---|
{starter_pairs}

## What was tried to make the half one's own (seed 0)

| way | settings | perplexity | likelihood over shared | distinctness | over independent | cosine of A | why |
|---|---|---|---|---|---|---|---|
{tried}

## What is written (Figure 4 of the paper)

![written halves](hycora-halves.svg)

## Millions of numbers trained together, by the number of roles (Figure 3 of the paper)

| way | {columns} |
|---|---|---|---|---|---|
{parameters}

A member's own part is an independent LoRA beside. A block that is stored has the same size in every way: what is
written for a character is an ordinary block.

## Newcomers: each of the six after the other five, perplexity as a share of the bare base's

Measured so far: {came} newcomers, seeds: {arrivals}. The five have learned from their exchanges and from the first
{turns} turns of their conversations, once. A training that starts from a cohort's block takes the preset `gentle`,
every other one `standard`, all averaged over the steps; an eighth of the exchanges is kept aside. Beethoven has 57
exchanges where 64 are said.

| method | 0 exchanges | 1 | 4 | 8 | 16 | 64 |
|---|---|---|---|---|---|---|
{newcomers}

| newcomer | best with 0 exchanges | with 8 | with 64 |
|---|---|---|---|
{arrived}

## How many roles an embedding holds

Synthetic roles of {facts} facts each, a word out of {words} per fact, with nothing but e_c to tell them apart: one
system message for all. Told: the right word is the likeliest in a wording of the question that was not trained (chance
1/{words}). Every role is seen equally often.

| roles | bottleneck k | told | steps |
|---|---|---|---|
{capacity}
"""
