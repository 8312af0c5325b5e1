"""What must hold between rows that are to become a registry, or part of one: every number points somewhere, names
belong to those who live there, the history leads to them, vectors can be compared. Knows rows; nothing of files.

SQLite refuses much of this by itself when the rows are written; here it is told in words, before anything is.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from registry.names import COHORT_NAME, fold, is_a_name
from registry.ranks import LARGEST_RANK
from registry.revisions import states
from registry.shapes import KEYS, OWN, TABLES, Rows
from registry.tables import Character, Revision
from registry.vectors import stacked

POINTERS = [("character", "bank_id", "bank"), ("cohort", "bank_id", "bank"), ("reading", "revision", "revision"),
            ("revision", "gate_before", "gate"), ("revision", "character_id", "character"),
            ("probe", "routed_by", "gate"), *((table, "character_id", "character") for table in OWN)]  # fmt: skip
OFF_UNIT = 1e-3  # by which the length of a unit vector may differ from 1


def refuse_inconsistent(rows: Rows, *, whole: bool) -> None:
    """Raises ValueError, with what is wrong in words; `whole`: a registry with its history, not some of its people."""
    _refuse_strays(rows)
    _refuse_ranges(rows)
    _refuse_wrong_names(rows)
    _refuse_vectors(rows)
    _refuse_wrong_cohorts(rows)
    if whole:
        _refuse_wrong_history(rows)
    elif rows.revision or rows.reading or rows.cohort or not 0 < len(rows.character) == len(rows.residents):
        raise ValueError("some people alone have no history, and live there")


def _refuse_strays(rows: Rows) -> None:
    """Numbers are unique, and point to what is there."""
    known: dict[str, set[object]] = {}
    for name in TABLES:
        numbers = [getattr(row, KEYS[name]) for row in getattr(rows, name)]
        known[name] = set(numbers)
        if len(known[name]) < len(numbers):
            raise ValueError(f"two rows of {name} have one number")
    for table, column, target in POINTERS:
        for row in getattr(rows, table):
            if (to := getattr(row, column)) is not None and to not in known[target]:
                raise ValueError(f"a {table} points to {target} {to}, which is not there")


def _refuse_ranges(rows: Rows) -> None:
    for row in rows.character:
        if not 1 <= row.ranks.rank <= LARGEST_RANK:
            raise ValueError(f"nobody can have the ranks {row.ranks} of {row.name}")
        if row.status == "ready" and row.block is None:
            raise ValueError(f"{row.name} has no block")


def _refuse_wrong_names(rows: Rows) -> None:
    """Everybody who lives there answers to the own name, and nobody else to anything."""
    residents = {row.id: row.name for row in rows.residents}
    for row in rows.handle:
        named = row.text == residents.get(row.character_id) or not row.is_name
        if row.character_id not in residents or row.key != fold(row.text) or not is_a_name(row.text) or not named:
            raise ValueError(f"the name {row.text!r} is nobody's there")
    if Counter(row.character_id for row in rows.handle if row.is_name) != Counter(residents.keys()):
        raise ValueError("somebody there has no name, or two")


def _refuse_wrong_cohorts(rows: Rows) -> None:
    """Their names become folders, and their figures are drawn."""
    versions = Counter((row.name, row.version) for row in rows.cohort)
    for (name, version), count in versions.items():
        if not COHORT_NAME.fullmatch(name) or count > 1:
            raise ValueError(f"there can be no version {version} of a cohort {name[:80]!r}, or not twice")
    for row in rows.cohort:
        likeness = row.metrics.get("likeness", [])
        if likeness and [len(line) for line in likeness] != [len(row.members)] * len(row.members):
            raise ValueError(f"the likeness of the members of cohort {row.name} is not of them")


def _refuse_wrong_history(rows: Rows) -> None:
    """Replaying every step leads to those who live there, and every state on the way can be gone back to."""
    steps = sorted(rows.revision, key=lambda row: row.number)
    _refuse_wrong_steps(steps)
    people, capacity = {row.id: row for row in rows.character}, {row.id: row.capacity for row in rows.bank}
    came, before, taken = set[int | None](), frozenset[int](), _Taken()
    for step, here in states(steps):
        one = people.get(step.character_id or 0)
        if one is None:
            taken = _Taken(people[each] for each in here)
        elif step.kind == "moved out" and one.id in before:
            taken.drop(one)
        elif one.id in came or step.kind == "moved out" or one.block is None or one.stop > capacity[one.bank_id]:
            raise ValueError(f"{one.name} cannot have {step.kind} at revision {step.number}")
        else:
            taken.add(one)
            came.add(one.id)
        before = here
    if before != {row.id for row in rows.residents}:
        raise ValueError("its history does not lead to those who live there")


class _Taken:
    """Ranks and names of those who live side by side; no two share any."""

    def __init__(self, people: Iterable[Character] = ()) -> None:
        self._names: dict[str, str] = {}
        self._ranges: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
        for row in people:
            self.add(row)

    def add(self, row: Character) -> None:
        """Raises ValueError when one of them is somebody else's."""
        ranges, lot = self._ranges[row.bank_id], (row.start, row.stop, row.name)
        at = bisect_left(ranges, lot)
        for start, stop, other in ranges[max(at - 1, 0) : at + 1]:
            if start < row.stop and row.start < stop:
                raise ValueError(f"{row.name} and {other} had the same ranks at one time")
        ranges.insert(at, lot)
        for key in _names_of(row):
            if key in self._names:
                raise ValueError(f"{row.name} and {self._names[key]} answered to one name at one time")
            self._names[key] = row.name

    def drop(self, row: Character) -> None:
        ranges = self._ranges[row.bank_id]
        del ranges[bisect_left(ranges, (row.start, row.stop, row.name))]
        for key in _names_of(row):
            del self._names[key]


def _refuse_wrong_steps(steps: Sequence[Revision]) -> None:
    numbers = {0}
    for row in steps:
        moved = row.kind in ("moved in", "moved out") and row.character_id is not None and row.back_to is None
        back = row.kind == "rolled back" and row.character_id is None and row.back_to in numbers
        if not (moved or back):
            raise ValueError(f"revision {row.number} is none")
        numbers.add(row.number)


def _names_of(row: Character) -> list[str]:
    """What a rollback would have it answer to."""
    return [fold(name) for name in (row.name, *row.description.get("aliases", []))]


def _refuse_vectors(rows: Rows) -> None:
    """One encoder's vectors have one length in numbers, and 1 in space."""
    owners: dict[int, Character] = {row.id: row for row in rows.character}
    found = [(row.encoder, row.role_embedding) for row in rows.character]
    found += [(owners[each.character_id].encoder, each.vector) for each in rows.prototype]
    found += [(owners[each.character_id].encoder, each.vector) for each in rows.probe]
    for encoder in {encoder for encoder, _ in found}:
        vectors = [vector for by, vector in found if by == encoder and vector is not None]
        if vectors and (encoder is None or not _are_of_unit_length(vectors)):
            raise ValueError(f"some vectors are not what {encoder or 'no encoder'} makes")


def _are_of_unit_length(vectors: list[bytes]) -> bool:
    sizes = {len(vector) for vector in vectors}
    if len(sizes) > 1 or not (size := sizes.pop()) or size % 4:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool((abs(np.linalg.norm(stacked(vectors), axis=1) - 1) < OFF_UNIT).all())  # a NaN is below nothing
