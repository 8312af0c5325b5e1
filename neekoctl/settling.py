"""What an onboarding reads of a newcomer, and what a made block leaves behind: its folder in the store, its probes'
baselines, what speaks for it at the gate, and the rows of all that. Knows a candidate and a stage; reserves and commits
nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neekoctl.candidate import Candidate
from neekoctl.gating import gate_stays_on_failure, prototypes, refit
from neekoctl.measuring import environment, measure
from neekoctl.routing import Texts
from neekoctl.stage import Stage
from neekoctl.underway import Screen
from registry.blocks import folder_digest
from registry.names import counted
from registry.roles import refuse_another_encoder
from registry.store import Onboarded, Registry, Reservation
from registry.tables import Dialogue, Parent, Probe, Prototype, Reading
from registry.vectors import from_bytes, to_bytes

if TYPE_CHECKING:
    import torch

    from neekoctl.certifying import Finding
    from recipes.task import Made


@dataclass(frozen=True)
class Spoken:
    """The newcomer's words as the encoder sees them; the first is the role embedding."""

    texts: Texts
    words: list[Prototype]

    @property
    def persona(self) -> torch.Tensor:
        """(d,) the role embedding, as a network reads it."""
        import torch

        return torch.from_numpy(from_bytes(self.words[0].vector).copy())


def words_of(registry: Registry, candidate: Candidate, texts: Texts, screen: Screen) -> list[Prototype]:
    """What will speak for the newcomer at the gate; the first is the role embedding."""
    refuse_another_encoder(registry, texts.provenance)
    screen.say(f"embedding the persona of {candidate.profile.name} and what is known of it")
    prompts = [turn.content for talk in candidate.split.train for turn in talk.messages[::2]]
    return prototypes(candidate.profile, prompts, texts)


def store_block(stage: Stage, candidate: Candidate, made: Made, reservation: Reservation) -> str:
    """Write the block folder, claim its digest, move it into the store, and return the digest."""
    from recipes.block import save_block

    card = {
        "name": candidate.profile.name,
        "system_message": candidate.system_message,
        "base_fingerprint": candidate.bank.fingerprint,
        "recipe": {"strategy": made.strategy, **candidate.kept(made)},
        "seed": candidate.seed,
        "lineage": [vars(parent) for parent in made.parents],
        "data_digests": candidate.profile.digests(),
    }
    with stage.registry.blocks.making() as folder:
        save_block(made.block, folder, base=candidate.bank.base, card=card, transposed=stage.base.transposed)
        stage.registry.claim(reservation, folder_digest(folder))
        return stage.registry.blocks.put(folder)


def measure_probes(stage: Stage, candidate: Candidate, digest: str, reservation: Reservation, spoken: Spoken,
                   screen: Screen) -> list[Probe]:  # fmt: skip
    """Baselines, taken from the stored block: what check will read is what was measured; and their vectors."""
    asked = candidate.heldout()
    screen.say(f"recording {counted(len(asked), 'probe')}")
    mix = stage.mount(reservation.ranks, digest, candidate.profile.name)
    measured = measure(stage, mix, asked)
    stage.registry.renew(reservation)
    vectors = spoken.texts.encode([messages[-2]["content"] for messages in asked])
    return [
        Probe(character_id=reservation.character_id, position=place, prompt=messages[1:-1],
              reference=messages[-1]["content"], nll=each.score.nll, tokens=each.score.tokens, reply=each.reply,
              reply_text=each.text, vector=to_bytes(vector))
        for place, (messages, each, vector) in enumerate(zip(asked, measured, vectors, strict=True))
    ]  # fmt: skip


def onboarded(stage: Stage, candidate: Candidate, made: Made, digest: str, probes: list[Probe], finding: Finding,
               spoken: Spoken, readings: list[Reading]) -> Onboarded:  # fmt: skip
    measured = ("nll_before", "nll_after", "seconds", "tokens_per_second", "steps", "best_step")
    return Onboarded(
        block=digest,
        description=candidate.profile.description(),
        recipe=candidate.kept(made),
        metrics={**{key: getattr(made, key) for key in measured}, **made.details},
        environment=environment(stage, candidate.heldout()),
        data_digests=candidate.profile.digests(),
        system_message=candidate.system_message,
        seed=candidate.seed,
        reason=made.reason,
        role_embedding=spoken.words[0].vector,
        encoder=spoken.texts.provenance,
        probes=probes,
        prototypes=spoken.words,
        dialogues=[
            Dialogue(character_id=0, position=place, messages=talk.model_dump()["messages"])
            for place, talk in enumerate(candidate.profile.dialogues)
        ],
        readings=readings,
        parents=[Parent(character_id=0, **vars(parent)) for parent in made.parents],
        others=finding.others,
        identical=finding.identical,
        evidence=finding.evidence,
        strategy=made.strategy,
    )


def refit_gate(registry: Registry, newcomers: Collection[str], texts: Texts, screen: Screen, *,
               accept: bool) -> dict[str, Any] | None:  # fmt: skip
    """A new version of the gate. The newcomers have moved in by now, so a failure here is told and undoes nothing."""
    found = None
    with gate_stays_on_failure(newcomers, screen.say):
        found = refit(registry, texts, newcomers=newcomers, accept=accept)
    if found and found["kept"]:
        screen.say(
            f"the gate keeps its version {found['version']}: under a new one {found['accuracy_now']:.0%} of the "
            f"residents' probes would still reach their owners, after {found['accuracy_before']:.0%}; --accept-gate "
            f"takes it"
        )
    return found
