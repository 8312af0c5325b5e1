"""What a character adds to the gate, and the gate's versions: fitted, judged by everybody's probes, put in use or not.
Knows no terminal.

An onboarding adds the newcomer's own prototypes and touches nobody else's. The fitted numbers are a version of their
own; one under which the residents' probes are found less often is not put in use unless it is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neekoctl.routing import Router, Texts, everybodys_names, nobody_yet, nobodys_vectors
from recipes.gate import SCORED, Decision, Gate, Scorer, Settings
from registry.gates import (
    Vectors,
    active_gate,
    embed_anew,
    fitting,
    note_routes,
    probes_of_everybody,
    prototypes_of,
    put_gate,
)
from registry.profile import Profile
from registry.roles import Roles, load_roles
from registry.store import Registry
from registry.tables import Character, Probe, Prototype
from registry.vectors import from_bytes, to_bytes

MOST_PROBES = 512  # that a new version is judged by, evenly over everybody's
TOLERANCE = 0.05  # of the residents' probes that may be lost under a new version: one or two of thirty
PASSAGE = 400  # characters of the persona that make one prototype: what an encoder reads well at once
AMBIGUOUS = "ambiguous"


def prototypes(profile: Profile, prompts: Sequence[str], texts: Texts) -> list[Prototype]:
    """The persona whole (the role embedding) and in passages, the facts, and the prompts of the training dialogues."""
    parts = [("persona", profile.persona), *(("persona", each) for each in passages(profile.persona))]
    parts += [("fact", fact) for fact in profile.facts]
    parts += [("prompt", prompt) for prompt in dict.fromkeys(prompts)]
    vectors = texts.encode([text for _, text in parts])
    return [Prototype(character_id=0, kind=kind, text=text, vector=to_bytes(vector))
            for (kind, text), vector in zip(parts, vectors, strict=True)]  # fmt: skip


def passages(text: str) -> list[str]:
    """Paragraphs, long ones cut between sentences; nothing when the text is one passage."""
    found: list[str] = []
    for paragraph in filter(None, (part.strip() for part in re.split(r"\n\s*\n", text))):
        found.append("")
        for sentence in re.split(r"(?<=[.!?。！？])\s*", paragraph):
            if found[-1] and len(found[-1]) + len(sentence) > PASSAGE:
                found.append("")
            found[-1] = f"{found[-1]} {sentence}".strip()
    return found if len(found) > 1 else []


@dataclass(frozen=True)
class Routed:
    """Where the gate sent each probe: a name, "ambiguous" or "unknown"."""

    owners: dict[int, str]  # probe -> whose it is
    routed: dict[int, str]

    @property
    def questions(self) -> int:
        return len(self.routed)

    @property
    def accuracy(self) -> float | None:
        """The share that still reaches its owner: given to it, or asked back about."""
        return share([reaches(where, self.owners[probe]) for probe, where in self.routed.items()])


def share(hits: Sequence[bool]) -> float | None:
    """How many of them; none of nothing."""
    return sum(hits) / len(hits) if hits else None


def reaches(where: str, owner: str) -> bool:
    """Somebody else's answer is a loss, and so is nobody's; a question back is not."""
    return where in (owner, AMBIGUOUS)


def judge(router: Router, probes: Sequence[tuple[Probe, str]]) -> Routed:
    """Route stored probes by their stored vectors."""
    routed: dict[int, str] = {}
    for probe, _ in probes:
        if probe.vector is not None:
            decision = route_probe(router, probe)
            match = decision.owner
            routed[probe.id] = decision.outcome if match is None else router.people[match].name
    return Routed({probe.id: owner for probe, owner in probes}, routed)


def route_probe(router: Router, probe: Probe) -> Decision:
    """The decision on a probe's last turn alone."""
    vector = from_bytes(probe.vector or b"")[None]
    return router.gate.route([probe.prompt[-1]["content"]], lambda _: vector)


def sampled(probes: list[tuple[Probe, str]]) -> list[tuple[Probe, str]]:
    """At most `MOST_PROBES`, spread evenly."""
    return probes[:: max(1, -(-len(probes) // MOST_PROBES))]


@contextmanager
def gate_stays_on_failure(newcomers: Collection[str], say: Callable[[str], None]) -> Iterator[None]:
    """They have moved in by now: whatever happens to the gate is told, and ends nothing."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  whatever it is
        why = str(error) or type(error).__name__
        say(f"{', '.join(newcomers)} moved in, and the gate stays as it was ({why}): run `neekoctl gate rebuild`")


def refit(registry: Registry, texts: Texts, *, newcomers: Collection[str] = (), accept: bool = False,
          head: bool = False) -> dict[str, Any]:  # fmt: skip
    """Fit a new version on everybody's prototypes, judge it by the residents' probes, and put it in use.

    The version in use stays when the residents are found less often than when they moved in (or than was accepted
    since), by more than `TOLERANCE`, and nobody accepts that now. One fitting at a time: whoever comes later fits with
    everybody who moved in meanwhile, so that the last version knows them all.
    """
    with fitting(registry):
        return _refit(registry, texts, newcomers, accept, head)


def _refit(registry: Registry, texts: Texts, newcomers: Collection[str], accept: bool, head: bool) -> dict[str, Any]:
    roles, nobody = load_roles(registry, texts.provenance), nobodys_vectors(registry, texts)
    settings, learned = _fitted(roles, nobody, head=head)
    probes = probes_of_everybody(registry)
    names, scorer = everybodys_names(registry, roles.everybody), Scorer(roles, nobody, "prototypes")
    router = Router(registry, texts, gate=Gate(names, scorer, Settings.read(settings["prototypes"])))
    residents = [each for each in probes if each[1] not in newcomers]
    known = sampled([each for each in residents if each[0].routed is not None] or residents)
    before, now = _first_routed(known), judge(router, known)
    evidence = {"questions": now.questions, "accuracy_before": before, "accuracy_now": now.accuracy}
    fitted_on = {"fitted_on": sorted(roles.everybody)}
    kept = active_gate(registry)
    new = probes if accept else [each for each in probes if each[0].routed is None]
    if kept is not None and (before or 0.0) - (now.accuracy or 0.0) > TOLERANCE and not accept:
        note_routes(registry, judge(Router(registry, texts), new).routed, kept.version, anew=False)
        return {"version": kept.version, "kept": True, **evidence}
    row = put_gate(registry, texts.provenance, settings, evidence | fitted_on)
    _write_head(registry, row.version, learned)
    note_routes(registry, judge(router, new).routed, row.version, anew=accept)
    return {"version": row.version, "kept": False, **evidence}


def _fitted(roles: Roles, nobody: np.ndarray, *, head: bool) -> tuple[dict[str, Any], np.ndarray | None]:
    """Settings by signal, and the learned head when it is asked for."""
    from recipes.gate_fitting import fit, train_head

    learned = train_head(roles) if head else None
    settings: dict[str, Any] = {}
    for signal in SCORED:
        if signal != "head" or learned is not None:
            found, evidence = fit(Scorer(roles, nobody, signal, learned))
            settings[signal] = {**asdict(found), "evidence": evidence}
    return settings, learned


def _first_routed(residents: Sequence[tuple[Probe, str]]) -> float | None:
    """The share of the probes that reached their owners on the day they moved in, or when that was last accepted."""
    return share([reaches(probe.routed, owner) for probe, owner in residents if probe.routed is not None])


def _write_head(registry: Registry, version: int, head: np.ndarray | None) -> None:
    """What a version has learned; where it has learned nothing, what a version of its number left there is gone."""
    from safetensors.numpy import save

    path = registry.layout.head(version)
    path.unlink(missing_ok=True)
    if head is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({"head": np.ascontiguousarray(head)}))


def rebuild(registry: Registry, texts: Texts) -> dict[str, Any]:
    """Embed everybody by the encoder of `texts`, from the texts that are kept, then fit all signals and the head."""
    people = registry.residents()
    if not people:
        raise nobody_yet()
    others = [row for row in people if row.encoder != texts.provenance]
    if others:
        embed_anew(registry, texts.provenance, [_embedded(registry, row, texts) for row in others])
    return refit(registry, texts, accept=True, head=True)


def _embedded(registry: Registry, row: Character, texts: Texts) -> Vectors:
    kept, probes = prototypes_of(registry, row), registry.probes(row)
    said = [str(row.description.get("persona", row.name)), *(each.text for each in kept),
            *(probe.prompt[-1]["content"] for probe in probes)]  # fmt: skip
    role, *vectors = map(to_bytes, texts.encode(said))
    by_prototype = {each.id: vector for each, vector in zip(kept, vectors, strict=False)}
    by_probe = {each.id: vector for each, vector in zip(probes, vectors[len(kept) :], strict=True)}
    return Vectors(row.id, role, by_prototype, by_probe)
