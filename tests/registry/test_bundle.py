"""A registry in one file: what went in comes out, somewhere else or among others, whole or not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import insert

from registry import unpacking
from registry.arriving import load
from registry.bundle import everything
from registry.differences import difference, rows_at
from registry.errors import (
    BlockDamaged,
    EncoderMismatch,
    NameTaken,
    NeekoError,
    RankError,
    UnknownCharacter,
    UsageError,
)
from registry.gates import active_gate, put_gate
from registry.revisions import arrivals, history, roll_back
from registry.seals import broken
from registry.shapes import plain, rows_of
from registry.store import Registry
from registry.tables import Reading
from tests.registry.bundles import another, contents, move_in, put_head, saved, unzipped, village


def test_what_is_saved_is_restored_to_the_byte(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    arrival = load(there, saved(registry, tmp_path / "v.neeko"))
    assert (arrival.restored, [each.name for each in arrival.moved_in]) == (True, ["Ant", "Cub"])
    assert contents(there) == contents(registry)
    assert [broken(row, there.probes(row), there.blocks) for row in there.characters()] == [{}, {}]


def test_a_bundle_of_what_was_loaded_holds_the_same_rows(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    first = saved(registry, tmp_path / "first.neeko")
    load(there, first)
    second = saved(there, tmp_path / "second.neeko")
    (a, members), (b, again) = unzipped(first), unzipped(second)
    assert (a["tables"], a["members"], members) == (b["tables"], b["members"], again)


def test_the_history_goes_on_where_it_came_from(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    load(there, saved(registry, tmp_path / "v.neeko"))
    assert history(there) == history(registry)
    assert roll_back(there, 2).moved_in == ["Bee"]
    assert [row.name for row in there.characters()] == ["Ant", "Bee"]
    assert (move_in(there, "Dot").id, move_in(there, "Elk").start) == (4, 20)


def test_a_history_with_rollbacks_goes_on_too(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    roll_back(registry, 2)
    registry.remove(registry.find("Bee"))
    move_in(registry, "Cub")
    roll_back(registry, 4)
    there = another(tmp_path)
    load(there, saved(registry, tmp_path / "v.neeko"))
    assert history(there) == history(registry)
    assert roll_back(there, 7).moved_in == ["Cub"]


def test_an_empty_bank_over_the_same_base_is_used(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    there.bank("somewhere/else", "other")
    there.bank("where/it/lies", "1", capacity=8)
    load(there, saved(registry, tmp_path / "v.neeko"))
    assert [(bank.base, bank.capacity) for bank in there.banks()] == [("somewhere/else", 16384), ("where/it/lies", 64)]
    assert {row.bank_id for row in there.characters()} == {2}


def test_newcomers_take_free_ranges_among_those_who_live_there(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    put_gate(there, "encoder@1", {}, {})
    move_in(there, "Dot", rank=4)
    arrival = load(there, saved(registry, tmp_path / "v.neeko"))
    assert arrival.restored is False
    assert [(each.name, each.was, each.now) for each in arrival.moved_in] == [
        ("Ant", (0, 8), (4, 12)), ("Cub", (8, 16), (12, 20))]  # fmt: skip
    for row in (registry.find("formica"), registry.find("Cub")):
        here = there.find(row.name)
        assert (here.block, here.seal, here.created_at) == (row.block, row.seal, row.created_at)
        assert broken(here, there.probes(here), there.blocks) == {}
        assert [each.reference for each in there.probes(here)] == [row.name] * 2
        assert {each.routed for each in there.probes(here)} == {None}
        assert [each.name for each in there.parents(here)] == ["Eve"]
        assert there.certificate(here) is not None
    assert [(row["kind"], row["character"]) for row in history(there)] == [
        ("moved in", "Cub"), ("moved in", "Ant"), ("moved in", "Dot")]  # fmt: skip
    assert len(there.blocks.digests()) == 3  # Bee's was of no use
    assert arrival.gate == 1
    assert roll_back(there, 1).moved_out == ["Ant", "Cub"]


def test_the_day_of_onboarding_comes_along_as_the_first_reading(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    move_in(there, "Dot")
    load(there, saved(registry, tmp_path / "v.neeko"))
    assert [row[1:7] for row in contents(there)["reading"]] == [(2, 2, 2, 1.5, 1.5, None)]


def test_the_gate_of_the_bundle_is_used_where_there_is_none(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    put_head(there, b"old")
    with there.writing() as session:
        session.connection().exec_driver_sql("UPDATE gate SET active = 0")
    arrival = load(there, saved(registry, tmp_path / "v.neeko"))
    gate = active_gate(there)
    assert gate is not None and (gate.version, arrival.gate) == (2, 2)
    assert there.layout.head(2).read_bytes() == b"learned"


def test_somebody_who_is_here_already_is_skipped(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    bundle = saved(registry, tmp_path / "v.neeko")
    before = contents(registry)
    arrival = load(registry, bundle)
    assert (arrival.moved_in, arrival.skipped) == ([], ["Ant", "Cub"])
    assert contents(registry) == before


@pytest.mark.parametrize(
    ("change", "part"),
    [("UPDATE character SET system_message = 'You are a pirate.'", "record"),
     ("UPDATE probe SET reference = 'Arr.'", "probes"), ("UPDATE probe SET nll = 9", "baseline")],
)  # fmt: skip
def test_somebody_who_is_here_otherwise_is_refused(registry: Registry, tmp_path: Path, change: str, part: str) -> None:
    village(registry)
    bundle = saved(registry, tmp_path / "v.neeko")
    with registry.writing() as session:
        session.connection().exec_driver_sql(change)
    refused(registry, bundle, NameTaken, f"Ant lives here .* not the same {part}, .*`neekoctl remove 'Ant'`")


def test_the_day_of_arrival_is_not_the_day_of_onboarding(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    dot = move_in(there, "Dot")
    put_gate(there, "encoder@1", {}, {})
    load(there, saved(registry, tmp_path / "v.neeko"))
    gate, ant, moved = active_gate(there), there.find("Ant"), arrivals(there)
    assert gate is not None
    days = [moved[each.id] for each in (dot, ant, there.find("Cub"))]
    assert days == sorted(days)
    assert ant.created_at < days[0] < gate.created_at < days[1]


def test_some_residents_alone_move_without_history(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    bundle = saved(registry, tmp_path / "v.neeko", only=["little bear"])
    there = another(tmp_path)
    arrival = load(there, bundle)
    assert [(each.name, each.now) for each in arrival.moved_in] == [("Cub", (0, 8))]
    assert [row["character"] for row in history(there)] == ["Cub"]
    assert len(unzipped(bundle)[1]) == 5  # three files, a head, a profile
    manifest = unzipped(bundle)[0]
    assert "Ant" not in json.dumps(manifest)
    assert [gate["version"] for gate in manifest["tables"]["gate"]] == [2]
    assert {probe["routed"] for probe in manifest["tables"]["probe"]} == {None}


def test_nobody_who_is_being_added_is_saved(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    registry.reserve(registry.banks()[0], "Dot", [], 8, "expand")
    manifest, _ = unzipped(saved(registry, tmp_path / "v.neeko"))
    assert "Dot" not in json.dumps(manifest)
    load(another(tmp_path), tmp_path / "v.neeko")


def test_profiles_are_for_people_to_read(registry: Registry, tmp_path: Path) -> None:
    move_in(registry, "O'Hara 蚁")
    move_in(registry, "O-Hara 蚁")
    members = unzipped(saved(registry, tmp_path / "v.neeko"))[1]
    assert {name for name in members if name.startswith("profiles")} == {
        "profiles/o-hara-蚁.yaml", "profiles/o-hara-蚁-2.yaml"}  # fmt: skip
    read = members["profiles/o-hara-蚁.yaml"].decode()
    assert "Dialogues stand in bundle.json" in read and "name: O'Hara 蚁" in read


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_damaged_block_stops_the_saving(registry: Registry, tmp_path: Path, harm: str) -> None:
    village(registry)
    file = registry.blocks.path(registry.find("Cub").block or "") / "neeko.json"
    file.write_text("other") if harm == "changed" else file.unlink()
    with pytest.raises(BlockDamaged, match="The block of Cub"):
        saved(registry, tmp_path / "v.neeko")
    assert list(tmp_path.glob("*.neeko*")) + list(tmp_path.glob(".*")) == []


def test_who_left_may_have_been_pruned(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    registry.prune()
    there = another(tmp_path)
    load(there, saved(registry, tmp_path / "v.neeko"))
    assert contents(there) == contents(registry)
    with pytest.raises(BlockDamaged, match="Bee"):
        roll_back(there, 2)


def test_the_folder_of_a_bundle_is_made(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    path = saved(registry, tmp_path / "of" / "monday" / "v.neeko")
    assert path.is_relative_to(tmp_path / "of" / "monday")
    assert path.is_file()


def test_a_long_history_of_the_same_readings_is_no_bomb(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    ant = registry.find("Ant")
    same = {"character_id": ant.id, "revision": 1, "probes": 2, "nll": 1.0, "baseline": 1.0, "distinctness": {},
            "created_at": ant.created_at}  # fmt: skip
    with registry.writing() as session:
        session.connection().execute(insert(Reading), [same] * 30_000)
    there = another(tmp_path)
    load(there, saved(registry, tmp_path / "v.neeko"))
    assert contents(there) == contents(registry)


def test_a_file_that_is_there_is_replaced_only_by_force(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    path = tmp_path / "v.neeko"
    path.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        saved(registry, path)
    assert path.read_text() == "mine"
    load(another(tmp_path), saved(registry, path, force=True))
    with pytest.raises(UsageError):
        saved(registry, tmp_path, force=True)
    with pytest.raises(UnknownCharacter):
        saved(registry, tmp_path / "w.neeko", only=["Antt"])


def refused(there: Registry, bundle: Path, error: type[Exception], words: str) -> None:
    """Refused in words, and nothing changed, in a rehearsal as well."""
    before = contents(there)
    for rehearse in (True, False):
        with pytest.raises(error, match=words):
            load(there, bundle, rehearse=rehearse)
        assert contents(there) == before


def test_a_name_that_somebody_else_has_refuses_everybody(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    move_in(there, "Dot", "little bear")
    refused(
        there,
        saved(registry, tmp_path / "v.neeko"),
        NameTaken,
        "Cub cannot.*Dot already answers to 'Little Bear'; `neekoctl remove",
    )


def test_another_block_under_the_same_name_is_somebody_else(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    move_in(there, "Formica")
    refused(there, saved(registry, tmp_path / "v.neeko"), NameTaken, "Ant cannot.*Formica already answers to 'Formica'")


def test_a_bank_without_room_refuses_everybody(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    move_in(there, "Dot", rank=50)
    refused(there, saved(registry, tmp_path / "v.neeko"), RankError, "ranks --grow")


@pytest.mark.parametrize(("encoder", "size"), [("encoder@2", 4), ("other@1", 8)])
def test_another_encoder_is_refused(registry: Registry, tmp_path: Path, encoder: str, size: int) -> None:
    village(registry)
    there = another(tmp_path)
    move_in(there, "Dot", encoder=encoder, size=size)
    refused(there, saved(registry, tmp_path / "v.neeko"), EncoderMismatch, "another encoder")


def test_the_same_encoder_goes_by_its_name_here(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    move_in(there, "Dot", encoder="/models/mine@1")
    load(there, saved(registry, tmp_path / "v.neeko"))
    assert {row.encoder for row in there.characters()} == {"/models/mine@1"}


def test_a_rehearsal_tells_all_and_keeps_nothing(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    bundle = saved(registry, tmp_path / "v.neeko")
    there = another(tmp_path)
    empty = contents(there)
    rehearsed = load(there, bundle, rehearse=True)
    assert contents(there) == empty
    assert load(there, bundle) == rehearsed


@pytest.mark.parametrize("at", ["blocks.BlockStore.place", "blocks.sync", "arriving.insert", "arriving.put_heads"])
def test_a_loading_that_fails_midway_leaves_nothing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    village(registry)
    bundle = saved(registry, tmp_path / "v.neeko")
    there = another(tmp_path)
    empty = contents(there)

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(f"registry.{at}", full)
        load(there, bundle)
    assert contents(there) == empty
    load(there, bundle)
    assert contents(there) == contents(registry)


def test_a_damaged_block_here_is_mended_by_a_bundle_that_has_it(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    bundle = saved(registry, tmp_path / "v.neeko")
    whole = contents(registry)
    shutil.rmtree(registry.blocks.path(registry.find("Cub").block or ""))
    assert load(registry, bundle, rehearse=True).blocks == 1
    assert contents(registry) != whole
    assert load(registry, bundle).blocks == 1
    assert contents(registry) == whole


def test_a_head_that_was_written_in_vain_is_gone(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    village(registry)
    bundle = saved(registry, tmp_path / "v.neeko")
    there = another(tmp_path)
    empty = contents(there)

    def written_and_lost(*arguments: Any) -> None:
        unpacking.put_heads(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("registry.arriving.put_heads", written_and_lost)
    with pytest.raises(KeyboardInterrupt):
        load(there, bundle)
    assert contents(there) == empty


def test_a_full_disk_is_told_before_anything_is_unpacked(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    village(registry)
    bundle = saved(registry, tmp_path / "v.neeko")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    refused(another(tmp_path), bundle, NeekoError, "free some space")


def test_a_reservation_whose_process_is_gone_is_nobody(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    there = another(tmp_path)
    there.reserve(there.bank("base", "1"), "Ant", [], 8, "expand")
    with there.writing() as session:
        session.connection().exec_driver_sql("UPDATE character SET lease_born = 1, lease_pid = 999999999")
    assert load(there, saved(registry, tmp_path / "v.neeko")).restored


def test_a_difference_names_who_came_went_moved_and_changed(registry: Registry, tmp_path: Path) -> None:
    village(registry)
    old = saved(registry, tmp_path / "old.neeko")
    assert difference(rows_at(str(old)), rows_at("here")) == {
        "added": [], "removed": [], "changed": [], "moved": [], "gate": {"a": 2, "b": 2}}  # fmt: skip
    registry.remove(registry.find("Cub"))
    move_in(registry, "Dot", rank=4)
    move_in(registry, "cub")
    with registry.writing() as session:
        session.connection().exec_driver_sql("UPDATE probe SET nll = 9 WHERE character_id = 1")
        session.connection().exec_driver_sql("UPDATE character SET seed = 9 WHERE id = 1")
    put_gate(registry, "encoder@1", {}, {})
    assert difference(rows_at(str(old)), rows_at(str(registry.layout.home))) == {
        "added": ["Dot"], "removed": [],
        "changed": [{"name": "Ant", "what": ["record", "baseline"]},
                    {"name": "cub", "what": ["block", "record", "probes", "identity"]}],
        "moved": [{"name": "cub", "from": [8, 16], "to": [12, 20]}], "gate": {"a": 2, "b": 3},
    }  # fmt: skip


def test_nothing_is_made_where_there_is_no_registry(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("empty", "missing"):
        with pytest.raises(UsageError, match="There is no"):
            rows_at(str(tmp_path / place))
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("table", "changed", "told"),
    [
        ("gate", {"settings": {"prototypes": "x"}}, "numbers by name"),
        ("gate", {"settings": {"prototypes": {"nobody": "x"}}}, "numbers for signals"),
        ("gate", {"evidence": {"fitted_on": 5}}, "numbers of people"),
        ("character", {"metrics": {"nll_before": 2.0, "nll_after": "1"}}, "what was measured"),
        ("character", {"metrics": {"merge": {"discarded": 0.1, "discarded_by_module": {}}}}, "what was measured"),
        ("character", {"metrics": {"merge": []}}, "numbers by name"),
    ],
)
def test_figures_that_a_command_could_not_tell_are_refused(registry: Registry, table: str, changed: dict[str, object],
                                                           told: str) -> None:  # fmt: skip
    village(registry)
    put_gate(registry, "encoder@1", {"prototypes": {"nobody": 0.5, "evidence": {"of": "x"}}}, {"fitted_on": [1]})
    tables = plain(everything(registry))
    assert rows_of(tables)
    tables[table][-1].update(changed)
    with pytest.raises(ValueError, match=told):
        rows_of(tables)
