"""The gate over a registry, opened and asked: whom do these words mean? Knows no terminal, and not how it is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neekoctl.stage import canonical
from recipes.gate import SCORED, SIGNALS, Decision, Gate, Scorer, Settings, nobodys_requests
from recipes.mentions import Names
from recipes.sources import DEFAULT_ENCODER, Say, fingerprint, local_folder
from registry.caches import keep
from registry.errors import BlockDamaged, NeekoError, UsageError
from registry.gates import active_gate, encoder_in_use, follow_encoder, name_of
from registry.roles import load_roles
from registry.store import Registry
from registry.tables import Character

if TYPE_CHECKING:
    from recipes.encoder import Encoder


@dataclass
class Texts:
    """The encoder behind the vectors, loaded when the first text has to be embedded."""

    registry: Registry
    name: str
    say: Say
    place: str | None = None  # where it lies, if not under its name
    _model: Encoder | None = None

    @property
    def folder(self) -> Path:
        return local_folder(self.registry.layout, self.place or self.name, say=self.say)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.registry.layout, self.folder)

    @property
    def provenance(self) -> str:
        return f"{self.name}@{self.fingerprint}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d) of unit length."""
        if self._model is None:
            from recipes.encoder import load_encoder

            self._model = load_encoder(self.folder, name=self.name, fingerprint=self.fingerprint)
        return self._model.encode(texts)


def texts_of(registry: Registry, name: str | None, say: Say) -> Texts:
    """The encoder called `name`, else the one everybody was embedded by. Named at a new place it is followed there; and
    under another name than theirs it goes by theirs."""
    if name is None:
        kept = encoder_in_use(registry)
        return Texts(registry, canonical(registry, name_of(kept) if kept else DEFAULT_ENCODER), say)
    named = Texts(registry, canonical(registry, name), say)
    if Path(named.name).is_absolute():
        follow_encoder(registry, named.provenance)
    kept = encoder_in_use(registry)
    if kept is not None and kept.endswith(f"@{named.fingerprint}"):
        return Texts(registry, name_of(kept), say, place=named.name)
    return named


def nobody_yet() -> NeekoError:
    return NeekoError("Nobody lives here yet: `neekoctl add-character profile.yaml` moves the first one in.")


class Router:
    """Asks the gate, and knows everybody by name."""

    def __init__(self, registry: Registry, texts: Texts, signal: str = "all", gate: Gate | None = None) -> None:
        if signal not in SIGNALS:
            raise UsageError(f"There is no signal {signal!r}: choose {', '.join(SIGNALS)}.")
        self.registry, self.texts = registry, texts
        self.people = {row.id: row for row in registry.residents(brief=True)}
        if not self.people:
            raise nobody_yet()
        self.gate = gate or self._opened(signal)

    def _opened(self, signal: str) -> Gate:
        """The version in use, with the prototypes of today."""
        scored = signal if signal in SCORED else "prototypes"
        kept = active_gate(self.registry)
        settings = Settings.read((kept.settings if kept else {}).get(scored, {}))
        head = read_head(self.registry, kept.version) if kept and kept.version and signal == "head" else None
        roles, nobody = load_roles(self.registry, self.texts.provenance), nobodys_vectors(self.registry, self.texts)
        names = everybodys_names(self.registry, list(self.people))
        return Gate(names, Scorer(roles, nobody, scored, head), settings, signal)

    def route(self, turns: Sequence[str], speaker: Character | None = None) -> Decision:
        """Whom the newest of the user's turns means."""
        return self.gate.route(turns, self.texts.encode, speaker.id if speaker else None)

    def character(self, owner: int) -> Character:
        """The whole row of somebody the gate knows."""
        return self.registry.resident(self.people[owner].name)

    def document(self, decision: Decision) -> dict[str, Any]:
        """What `route --json` prints."""
        return {
            "decision": decision.outcome,
            "character": self.people[decision.owner].name if decision.owner is not None else None,
            "candidates": [
                {"character": self.people[each.owner].name, "score": round(each.score, 4),
                 "probability": round(each.probability, 4)}
                for each in decision.candidates
            ],
            "reason": decision.reason,
        }  # fmt: skip


def everybodys_names(registry: Registry, owners: Sequence[int]) -> Names:
    """The names and aliases of these characters, ready to be found in a text."""
    handles = registry.handles()
    return Names({owner: handles.get(owner, []) for owner in owners})


def nobodys_vectors(registry: Registry, texts: Texts) -> np.ndarray:
    """(n, d) of nobody's requests, embedded once an encoder and kept beside the gate."""
    from safetensors.numpy import load_file, save_file

    path = registry.layout.gates / f"nobody-{texts.fingerprint[:16]}.safetensors"
    try:
        kept: np.ndarray = load_file(path)["vectors"]
        if len(kept) == len(nobodys_requests()):
            return kept
    except Exception:  # noqa: BLE001  a cache: whatever is wrong with it, it is made anew
        pass
    vectors = texts.encode(nobodys_requests())
    keep(path, lambda made: save_file({"vectors": vectors}, made))
    return vectors


def read_head(registry: Registry, version: int) -> np.ndarray | None:
    """The learned map of a version, None when it has none.

    Raises:
        BlockDamaged: its file is not readable.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = registry.layout.head(version)
    if not path.is_file():
        return None
    try:
        head: np.ndarray = load_file(path)["head"]
    except (SafetensorError, KeyError, OSError) as error:
        raise BlockDamaged(f"The gate's head {path} cannot be read: `neekoctl gate rebuild` trains it anew.") from error
    return head
