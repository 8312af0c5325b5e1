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
from tests.studies.hycora_capacity import FACTS, WORDS
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
    one = ", so the intervals do not cover what another seed would change"
    return f"{len(results.seeds)}{one if len(results.seeds) == 1 else ''}"


def _measured(results: Results, study: "Study") -> str:
    if not results.seeds:
        return "Not measured yet."
    questions = results.tokens.shape[1]
    return f"At most {study.exchanges} exchanges each, {questions} test questions, seeds measured: {_seeds(results)}."


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
    yield f"Ranked by likelihood: {_ranked(results)} (≈: no significant difference). The paper ranks HyCoRA first."


def _of_the_shipped(results: Results, shipped: "Study") -> Iterator[str]:
    if results.seeds:
        yield from (*_findings(results), _collapse(results, shipped))


def _collapse(results: Results, cast: "Study") -> str:
    alike, start = results.told_apart(HYCORA.name), untrained_likeness(cast.bank.base.shapes, HYCORA, len(cast.people))
    verdict = "collapsed, all A are one" if alike > COLLAPSED else "not collapsed"
    way = "closer together" if alike > start else "further apart"
    return (f"The mean cosine of HyCoRA's A between characters is {alike:.2f} ({verdict}); an untrained network has "
            f"{start:.2f}, so training brought them {way}.")  # fmt: skip


def _ranked(results: Results) -> str:
    order = sorted(results.ways, key=lambda way: -results.interval(likelihood, way).mean)
    signs = [" > " if results.interval(likelihood, one, over=two).low > 0 else " ≈ " for one, two in pairwise(order)]
    return "".join(part for pair in zip(order, [*signs, ""], strict=True) for part in pair)


def _stands(found: Interval) -> str:
    return "beats" if found.low > 0 else "is beaten by" if found.high < 0 else "does not differ significantly from"


def _reached(arrivals: Arrivals) -> Iterator[str]:
    for amount, target in TARGETS.items():
        if (found := arrivals.best(amount)) is None:
            continue
        best, alike = found
        share = arrivals.share(best, amount)
        met = "reached" if share.mean <= target else "missed"
        others = f"; no significant difference: {', '.join(alike)}" if alike else ""
        yield (f"A newcomer with {amount} exchanges: {share.shown(signs='.3f')} of the base's perplexity by *{best}*, "
               f"mean of {len(arrivals.people)} newcomers (target {target}: {met}){others}.")  # fmt: skip


def _held(cells: Sequence[Crowd]) -> Iterator[str]:
    """What the most roles that were tried in each space recall."""
    most = {(cell.embedding, cell.bottleneck): cell for cell in sorted(cells, key=lambda cell: cell.roles)}
    told = [f"{cell.told / cell.asked:.0%} by {cell.roles} roles with d_c {cell.embedding} and k {cell.bottleneck}"
            for cell in most.values()]  # fmt: skip
    if told:
        yield (f"Facts recalled in an untrained wording, where only e_c tells roles apart: {', '.join(told)} "
               f"(chance {1 / WORDS:.0%}).")  # fmt: skip


TEXT = """\
# Do characters that share one half of a block keep what is their own?

`make study-hycora DATA=FOLDER`, written {date}. HyCoRA ([arXiv 2511.08017](https://arxiv.org/abs/2511.08017)) on
Character-LLM's six characters, with the default base and rank 8. Each character has at most {exchanges} exchanges;
{probes} of them are probes, which only decide when a training stops. The figures are of {questions} further questions
per character, on which nothing was trained or stopped. Some defaults of the product were chosen with these questions
in view ([decisions](../decisions.md)). Seeds measured: {seeds}.

*Distinctness*: how many nats a token less likely a reply is under the block of the nearest other character, with
everything else unchanged. Where all share one block it is zero. Intervals hold 95 % of {draws} draws of a bootstrap
over characters, seeds and questions; all ways are compared on the same draws. ROUGE-L and BLEU are of greedy replies
of at most 64 tokens. A second set of four characters, whose voices differ more, follows below. Every reading behind
the figures is a line of [hycora/*.jsonl](hycora).

{findings}

![ways, newcomers and numbers](hycora.svg)

## Every way of training several characters (Tables 3 and 5 of the paper)

| way | perplexity | distinctness | ROUGE-L | BLEU | cosine of A | best step |
|---|---|---|---|---|---|---|
{table}

*Neeko* is the first row's blocks behind a gate, which gets the question without a name. The gate finds the right
character for {gate:.0%} of the questions. Its mistakes cost likelihood; naming the character (`--as`) gives the first
row again. In every HyCoRA row, except one in the table of what was tried, half the weight of a member's block is a
part that it learned alone, as in the first row, unless its probes find that too expensive
([cohorts](../cohorts.md)). Cosine and best step are those of the joint training. The table of what was tried shows how
much of the distinctness comes from that part. [Benchmarks](../benchmarks.md) has the time of a step.

## How much better HyCoRA is (bold: the interval excludes zero; likelihood and distinctness in nats a token)

| than | likelihood | distinctness | ROUGE-L | BLEU |
|---|---|---|---|---|
{pairs}

The contrastive loss of equation 6 is a sum over the eight replies of a batch; it is added to a likelihood that is a
sum over their seven hundred tokens, and it rises only after the first of two epochs. So training with it and without
it is nearly the same here. The authors' program takes the mean of both, which weighs the contrastive loss about ninety
times as much; that was tried, too.

## Character by character
{characters}

## The four characters that ship with the project

{shipped}
Most questions were put to all four characters, and each answers in its own words.

{starter_findings}

| way | perplexity | distinctness | ROUGE-L | BLEU | cosine of A | best step |
|---|---|---|---|---|---|---|
{starters}

| HyCoRA is better than | likelihood | distinctness | ROUGE-L | BLEU |
|---|---|---|---|---|
{starter_pairs}
{starter_characters}

## What was tried to make one half a character's own, and to tune the rivals (seed 0)

| way | settings | perplexity | likelihood over shared | distinctness | over independent | cosine of A | why |
|---|---|---|---|---|---|---|---|
{tried}

More was tried on probes before this table; [decisions](../decisions.md) has the figures ("The half that is one's
own"), and the reasons. In short: a character that is trained beside others also learns what they say, told who speaks
by the system message, so a shared block is as likely without anything of its own. Blocks trained alone are distinct
because they never saw the others' replies, which also makes them less likely.

## What is written (Figure 4 of the paper)

![written halves](hycora-halves.svg)

With one written half, t-SNE separates the roles at nearly every layer (Caesar lies beside Cleopatra) and leaves some
of the last layers together. With both halves written, hardly anybody but Hermione Granger is separate. The last panel
is the cosine of A over all layers.

## Millions of numbers trained, by the number of roles (Figure 3 of the paper)

| way | {columns} |
|---|---|---|---|---|---|
{parameters}

Neeko trains as many as independent LoRA. A member's own part is an independent LoRA beside the joint training: with it
HyCoRA trains more numbers than any other way, without it hardly more for many roles than for one. Every way stores
blocks of the same size, since what is written for a character is an ordinary block.

## Newcomers: each of the six after the other five, perplexity as a share of the bare base's

Measured so far: {came} newcomers, seeds: {arrivals}.

- *fuse* merges the blocks of the nearest residents.
- *hyper* takes the block that a cohort of the five writes for a newcomer, and learns e_c alone where there are
  exchanges. A shared block has no e_c and stays as it is.
- *hyper, profile* takes the block that a persona-reading cohort writes from the newcomer's profile (`--from-profile`);
  each step of that cohort's training leaves a fifth of the ids out.
- *expand* trains a block, from scratch or from one of these.

The cohorts learned from the five's exchanges and the first {turns} turns of their conversations, once; the blocks that
*fuse* merges learned from the exchanges alone. As in the product, a training that starts from a cohort's block takes
the preset `gentle`, every other one `standard`; all keep a mean over the steps. An eighth of the exchanges become
probes, so with 8 exchanges a single probe may keep a `standard` training at its start. Beethoven has 57 exchanges
instead of 64.

| method | 0 exchanges | 1 | 4 | 8 | 16 | 64 |
|---|---|---|---|---|---|---|
{newcomers}

| newcomer | best with 0 exchanges | with 8 | with 64 |
|---|---|---|---|
{arrived}

## How many roles an embedding holds

Each synthetic role has {facts} facts, each one word out of {words}. Only e_c tells the roles apart: all have the same
system message. A fact is recalled if its word is the likeliest (chance 1/{words}), asked in a wording of the question
that was trained, or in another one. Every role is seen equally often.

| roles | d_c of the embedding | bottleneck k | recalled, trained wording | recalled, another wording | steps |
|---|---|---|---|---|---|
{capacity}
"""
