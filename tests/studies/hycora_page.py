"""The page of the HyCoRA study. Knows what was measured; runs no model, and its sentences take their numbers, and which
way they fall, from the results.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.studies import common
from tests.studies.bootstrap import DRAWS, Interval
from tests.studies.hycora_capacity import FACTS, SPACES, WORDS
from tests.studies.hycora_capacity import ROLES as CROWDS
from tests.studies.hycora_capacity import Cell as Crowd
from tests.studies.hycora_figures import ROLES, untrained_likeness
from tests.studies.hycora_newcomers import AMOUNTS, METHODS, TARGETS, TURNS, Newcomers
from tests.studies.hycora_plots import WRITTEN, draw, halves, numbers, ways
from tests.studies.hycora_results import Arrivals, Measure, Results, bleu, distinctness, likelihood, rouge
from tests.studies.hycora_ways import HYCORA, INDEPENDENT, NEEKO, SHARED, TABLE, TRIED, Way

if TYPE_CHECKING:
    from tests.studies.hycora import Study

PAGE = Path(__file__).parents[2] / "docs" / "studies" / "hycora.md"
BASE = "bare base"
MEASURES: dict[str, Measure] = {
    "likelihood": likelihood, "distinctness": distinctness, "ROUGE-L": rouge, "BLEU": bleu,
}  # fmt: skip
COLLAPSED = 0.95  # mean cosine of A from which `cohort show` warns


def write(cast: "Study", shipped: "Study") -> None:
    """docs/studies/hycora.md and its plots beside it, of what is whole so far."""
    six, four = (Results(list(study.cells.values()), [way.name for way in TABLE]) for study in (cast, shipped))
    came, crowds = Newcomers(cast).cells, common.stored(cast.path.with_name("capacity.jsonl"), Crowd)
    arrivals = Arrivals(list(came.values()), [cell for cell in cast.cells.values() if cell.way == BASE])
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(
        TEXT.format(
            date=f"{datetime.now(UTC):%Y-%m-%d}", exchanges=cast.exchanges, probes=cast.probes,
            questions=six.tokens.shape[1], seeds=_seeds(six), draws=DRAWS, gate=six.found_by_the_gate,
            findings=_listed(*_findings(six), _collapse(six, cast), *_reached(arrivals), *_held(crowds)),
            starter_findings=_listed(*_of_the_shipped(four, shipped)),
            table="\n".join(_table(six)), pairs="\n".join(_pairs(six)), shipped=_measured(four, shipped),
            starters="\n".join(_table(four)), starter_pairs="\n".join(_pairs(four)),
            tried="\n".join(_tried(cast)), characters="\n".join(_characters(six)),
            starter_characters="\n".join(_characters(four)), parameters="\n".join(_parameters(cast)),
            columns=" | ".join(map(str, ROLES)), came=len(arrivals.people), arrivals=len(arrivals.seeds), turns=TURNS,
            newcomers="\n".join(_newcomers(arrivals)), arrived="\n".join(_arrived(arrivals)),
            capacity="\n".join(_capacity(crowds)), facts=len(FACTS), words=WORDS,
        ),
        encoding="utf-8",
    )  # fmt: skip
    draw(PAGE.with_name("hycora.svg"), lambda figure: ways(figure, six, arrivals, cast))
    if all(cast.lies_here(way, six.seeds[0]) for way, _ in WRITTEN):
        draw(PAGE.with_name("hycora-halves.svg"), lambda figure: halves(figure, cast, six))


def _listed(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _seeds(results: Results) -> str:
    one = ", so no interval here holds what another seed would change"
    return f"{len(results.seeds)}{one if len(results.seeds) == 1 else ''}"


def _measured(results: Results, study: "Study") -> str:
    if not results.seeds:
        return "Not measured yet."
    questions = results.tokens.shape[1]
    return f"{study.exchanges} exchanges each at most, {questions} test questions, seeds measured: {_seeds(results)}."


# tables


def _table(results: Results) -> Iterator[str]:
    """A way a row: the paper's Tables 3 and 5."""
    for way in results.ways if results.seeds else ():
        perplexity = results.interval(likelihood, way).shown(lambda value: float(np.exp(-value)))
        rest = [results.interval(measure, way).shown(signs=".3f") for measure in (distinctness, rouge, bleu)]
        alike = "–" if way == NEEKO.name else f"{results.told_apart(way):.2f}"
        step = f"{results.took(way):.0f}" if results.took(way) else "each its own"
        yield f"| {way} | {perplexity} | {' | '.join(rest)} | {alike} | {step} |"


def _pairs(results: Results) -> Iterator[str]:
    """By how much HyCoRA is better than each of the others."""
    for other in results.ways if results.seeds else ():
        if other != HYCORA.name:
            told = [results.interval(measure, HYCORA.name, over=other).bold() for measure in MEASURES.values()]
            yield f"| {other} | {' | '.join(told)} |"


def _tried(cast: "Study") -> Iterator[str]:
    """What was tried on seed 0, and why; differences to the two that are to be beaten."""
    read = [way for way in (INDEPENDENT, SHARED, HYCORA, *TRIED) if _is_read(cast, way)]
    results = Results([cell for cell in cast.cells.values() if cell.seed == 0], [way.name for way in read])
    for way in read:
        told = [f"{float(np.exp(-results.interval(likelihood, way.name).mean)):.2f}"]
        told += [results.interval(likelihood, way.name, over=SHARED.name).bold()]
        told += [f"{results.interval(distinctness, way.name).mean:+.3f}"]
        told += [results.interval(distinctness, way.name, over=INDEPENDENT.name).bold()]
        told += [f"{results.told_apart(way.name):.2f}"]
        yield f"| {way.name} | {' '.join(f'`{each}`' for each in way.changes)} | {' | '.join(told)} | {way.why} |"


def _is_read(cast: "Study", way: Way) -> bool:
    return all((way.name, 0, person.name) in cast.cells for person in cast.people)


def _characters(results: Results) -> Iterator[str]:
    """Everybody's means over seeds, in two tables."""
    for title, told in (("perplexity (distinctness)", _likely), ("ROUGE-L (BLEU)", _alike)) if results.seeds else ():
        yield from ("", f"| {title} | {' | '.join(results.people)} |", "|---|" + "---|" * len(results.people))
        for way in results.ways:
            yield f"| {way} | {' | '.join(told(results, name, way) for name in results.people)} |"


def _likely(results: Results, name: str, way: str) -> str:
    perplexity, apart = np.exp(-results.of(name, likelihood, way)), results.of(name, distinctness, way)
    return f"{perplexity:.2f}" + ("" if np.isnan(apart) else f" ({apart:+.3f})")


def _alike(results: Results, name: str, way: str) -> str:
    """What is written with what was said."""
    return f"{results.of(name, rouge, way):.3f} ({results.of(name, bleu, way):.3f})"


def _parameters(cast: "Study") -> Iterator[str]:
    for name, counts in numbers(cast).items():
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
            every = [(arrivals.of(name, method, amount), method) for method, at in arrivals.keys if at == amount]
            told.append("{:.2f} ({})".format(*min(every)) if every else "")
        yield f"| {name} | {' | '.join(told)} |"


def _capacity(cells: Sequence[Crowd]) -> Iterator[str]:
    for cell in cells:
        yield (f"| {cell.roles} | {cell.embedding} | {cell.bottleneck} | {cell.learned / cell.asked:.0%} | "
               f"{cell.told / cell.asked:.0%} | {cell.steps} |")  # fmt: skip


# what the numbers say, in sentences that hold whichever way they fall


def _findings(results: Results) -> Iterator[str]:
    for other in (SHARED, INDEPENDENT):
        for name, measure in MEASURES.items():
            found = results.interval(measure, HYCORA.name, over=other.name)
            zero = ", which has none by definition" if (other, name) == (SHARED, "distinctness") else ""
            yield f"{name}: **HyCoRA {_stands(found)} {other.name}**{zero} ({found.shown(signs='+.3f')})."
    yield f"By likelihood: {_ranked(results)} (≈: not told apart from the next); the paper has HyCoRA first."


def _of_the_shipped(results: Results, shipped: "Study") -> Iterator[str]:
    if results.seeds:
        yield from (*_findings(results), _collapse(results, shipped))


def _collapse(results: Results, cast: "Study") -> str:
    alike, start = results.told_apart(HYCORA.name), untrained_likeness(cast.bank.base.shapes, HYCORA, len(cast.people))
    verdict = "collapsed: all A are one" if alike > COLLAPSED else "not collapsed"
    way = "closer" if alike > start else "further apart"
    return (f"The mean cosine of HyCoRA's A between characters is {alike:.2f}: {verdict}; the training brought them "
           f"{way} than the {start:.2f} of a network that has learned nothing.")  # fmt: skip


def _ranked(results: Results) -> str:
    order = sorted(results.ways, key=lambda way: -results.interval(likelihood, way).mean)
    signs = [" > " if results.interval(likelihood, one, over=two).low > 0 else " ≈ " for one, two in pairwise(order)]
    return "".join(part for pair in zip(order, [*signs, ""], strict=True) for part in pair)


def _stands(found: Interval) -> str:
    return "beats" if found.low > 0 else "is beaten by" if found.high < 0 else "is not told apart from"


def _reached(arrivals: Arrivals) -> Iterator[str]:
    for amount, target in TARGETS.items():
        if (found := arrivals.best(amount)) is None:
            continue
        best, alike = found
        share = arrivals.share(best, amount)
        met = "reached" if share.mean <= target else "missed"
        others = f"; not told apart: {', '.join(alike)}" if alike else ""
        yield (f"A newcomer with {amount} exchanges: {share.shown(signs='.3f')} of the base's perplexity by *{best}*, "
               f"mean of {len(arrivals.people)} newcomers (at most {target}: {met}){others}.")  # fmt: skip


def _held(cells: Sequence[Crowd]) -> Iterator[str]:
    """What the most roles that were tried in every space tell."""
    whole = [roles for roles in CROWDS if sum(cell.roles == roles for cell in cells) == len(SPACES)]
    if whole:
        told = [f"{cell.told / cell.asked:.0%} with d_c {cell.embedding} and k {cell.bottleneck}"
                for cell in cells if cell.roles == whole[-1]]  # fmt: skip
        yield (f"Of {whole[-1]} synthetic roles with nothing but e_c to tell them apart, so many facts are told in a "
               f"wording that was not trained: {', '.join(told)} (chance {1 / WORDS:.0%}).")  # fmt: skip


TEXT = """\
# Do characters that share one half of a block keep what is their own?

`make study-hycora DATA=FOLDER`, written {date}. HyCoRA ([arXiv 2511.08017](https://arxiv.org/abs/2511.08017)) on
Character-LLM's six characters, the default base, rank 8: at most {exchanges} exchanges each, {probes} of them kept
aside to stop a training by; what is reported is {questions} other questions a character, which nothing was trained or
stopped on. Some settings of the product were chosen with these questions in view ([decisions](../decisions.md)).
Seeds measured: {seeds}. *Distinctness* is how many nats a token a reply is less likely under the block of the nearest
other character, everything else as it was; where all have one block it is zero. Intervals hold 95 % of {draws} draws
of a bootstrap over characters, seeds and questions, and every way is read on the same draw. ROUGE-L and BLEU are of
greedy replies of 64 tokens at most. Four characters whose voices lie further apart follow further down. Every
reading that the figures are made of is a line of [hycora/*.jsonl](hycora).

{findings}

![ways, newcomers and numbers](hycora.svg)

## Every way of training several characters (Tables 3 and 5 of the paper)

| way | perplexity | distinctness | ROUGE-L | BLEU | cosine of A | best step |
|---|---|---|---|---|---|---|
{table}

*Neeko* is the first row's blocks with a gate before them, which is given the question and no name, and finds whom it
is put to for {gate:.0%} of them: what it mistakes costs likelihood, and naming the character (`--as`) brings it back
to the first row. In every way of HyCoRA, but one of those that were tried, half the weight of a block is the first
row's, a member's own part, unless its probes find that too dear ([cohorts](../cohorts.md)); cosine and best step are
those of the training together. What of the distinctness comes from that part: see what was tried. How long a step
takes: [benchmarks](../benchmarks.md).

## By how much HyCoRA is better (bold: the interval leaves out zero; likelihood and distinctness in nats a token)

| than | likelihood | distinctness | ROUGE-L | BLEU |
|---|---|---|---|---|
{pairs}

The contrastive loss of equation 6, a sum over a batch's eight replies, is added to a likelihood that is a sum over
their seven hundred tokens, and rises only after the first of two epochs. So with and without it are nearly one
training here. The authors' program takes the mean of either, which weighs it some ninety times as much: see what was
tried.

## Character by character
{characters}

## The same with the four characters that ship with the project

{shipped}
Most questions were put to all four of them, and everybody answers in words of one's own.

{starter_findings}

| way | perplexity | distinctness | ROUGE-L | BLEU | cosine of A | best step |
|---|---|---|---|---|---|---|
{starters}

| HyCoRA is better than | likelihood | distinctness | ROUGE-L | BLEU |
|---|---|---|---|---|
{starter_pairs}
{starter_characters}

## What was tried to make the half one's own, and to tune what it is compared with (seed 0)

| way | settings | perplexity | likelihood over shared | distinctness | over independent | cosine of A | why |
|---|---|---|---|---|---|---|---|
{tried}

More was tried on probes before this table, with figures, in [decisions](../decisions.md) ("The half that is one's
own"), where the reasons are, too: whoever is trained beside the others learns what they say, told who speaks by the
system message, so a shared half needs nothing of one's own to be as likely; and what tells characters apart in blocks
that were trained alone is that they never saw the others' replies, which is why they are less likely, too.

## What is written (Figure 4 of the paper)

![written halves](hycora-halves.svg)

Where one half is written, t-SNE puts the roles apart at nearly every layer, Caesar beside Cleopatra, and leaves some of
the last layers together; where both are, hardly anybody but Hermione Granger lies apart. The last panel is the cosine
of A over all layers.

## Millions of numbers trained, by the number of roles (Figure 3 of the paper)

| way | {columns} |
|---|---|---|---|---|---|
{parameters}

Neeko trains what independent LoRA does. A member's own part is an independent LoRA beside what is trained together:
with it HyCoRA trains more than anybody else, without it hardly more for many roles than for one. A block that is
stored has the same size in every way: what is written for a character is an ordinary block.

## Newcomers: each of the six after the other five, perplexity as a share of the bare base's

Measured so far: {came} newcomers, seeds: {arrivals}. *fuse* merges the nearest residents' own blocks; *hyper* takes
what a cohort of the five writes for somebody new, and learns e_c alone where there are exchanges (a shared block has
none, and stays what it is); *hyper, profile* takes what a cohort that reads personas writes for the newcomer's
(`--from-profile`; each step of its training leaves a fifth of the ids out); *expand* trains a block, from nothing or
from one of these. The cohorts have learned from the five's exchanges and from the first {turns} turns of their
conversations, once; the blocks that *fuse* merges, from the exchanges alone. As in the product, a training that starts
from a cohort's block takes the preset `gentle`, every other one `standard`, all averaged over the steps; an eighth of
the exchanges is kept aside, so that with 8 of them one probe may keep a `standard` training at its start. Beethoven has
57 exchanges where 64 are said.

| method | 0 exchanges | 1 | 4 | 8 | 16 | 64 |
|---|---|---|---|---|---|---|
{newcomers}

| newcomer | best with 0 exchanges | with 8 | with 64 |
|---|---|---|---|
{arrived}

## How many roles an embedding holds

Synthetic roles of {facts} facts each, a word out of {words} per fact, with nothing but e_c to tell them apart: one
system message for all. Told: the right word is the likeliest (chance 1/{words}), in a wording of the question that
was trained, and in one that was not. Every role is seen equally often.

| roles | d_c of the embedding | bottleneck k | told, trained wording | told, another wording | steps |
|---|---|---|---|---|---|
{capacity}
"""
