"""The registry: names and ranges are taken together, a commit is whole or nothing, and the dead give back."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from registry.errors import LeaseLost, NameTaken, NeekoError, RankError, UnknownCharacter, UsageError
from registry.layout import Layout
from registry.ranks import RankRange
from registry.revisions import history
from registry.store import Onboarded, Registry, Reservation
from registry.tables import Bank, Character, Parent, Probe

DIGEST = "b" * 64


@pytest.fixture
def bank(registry: Registry) -> Bank:
    return registry.bank("base", "fingerprint", capacity=64)


def made(block: str | None = DIGEST, **changed: object) -> Onboarded:
    """What an onboarding leaves behind, with one probe and one parent."""
    plain = Onboarded(
        block=block or "", description={"name": "Moth"}, recipe={"rank": 8}, metrics={"nll": 1.5},
        environment={"torch": "2"}, data_digests={"dialogues": "d"}, system_message="You are Moth.", seed=7,
        reason="asked for", role_embedding=b"\0\0\x80?", encoder="minilm@1",
        probes=[probe(1, "second"), probe(0, "first")],
        parents=[Parent(character_id=0, name="Lamp", block="c" * 64, weight=0.75)], others=3, identical=3,
        evidence={"Lamp": "same"},
    )  # fmt: skip
    return replace(plain, block=block, **changed)  # type: ignore[arg-type]


def probe(position: int, reference: str) -> Probe:
    prompt = [{"role": "user", "content": "Who?"}]
    return Probe(character_id=0, position=position, prompt=prompt, reference=reference, nll=0.5, tokens=3,
                 reply=[1, 2], reply_text="Dust.")  # fmt: skip


def reserve(registry: Registry, bank: Bank, name: str, *aliases: str, rank: int = 8) -> Reservation:
    return registry.reserve(bank, name, list(aliases), rank, "expand")


def add(registry: Registry, bank: Bank, name: str, *aliases: str, rank: int = 8) -> Character:
    return registry.commit(reserve(registry, bank, name, *aliases, rank=rank), made())


def sql(layout: Layout, statement: str, *values: object) -> list[tuple[object, ...]]:
    """One statement past the Registry."""
    with closing(sqlite3.connect(layout.database, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def rows(layout: Layout) -> dict[str, int]:
    tables = ("character", "handle", "probe", "parent", "certificate")
    return {table: int(str(sql(layout, f"SELECT count(*) FROM {table}")[0][0])) for table in tables}


def give_to_another_host(layout: Layout, reservation: Reservation, expires: float) -> None:
    sql(layout, "UPDATE character SET lease_host = 'elsewhere.example', lease_expires = ? WHERE id = ?",
        expires, reservation.character_id)  # fmt: skip


# banks


def test_a_bank_is_known_by_its_fingerprint_and_made_once(registry: Registry, bank: Bank) -> None:
    assert registry.bank("another name", "fingerprint", capacity=9) == bank
    other = registry.bank("base", "another fingerprint")
    assert [each.id for each in registry.banks()] == [bank.id, other.id]


def test_growing_makes_room_and_moves_nobody(registry: Registry, bank: Bank) -> None:
    old = add(registry, bank, "Moth", rank=60)
    with pytest.raises(RankError, match="--grow 128"):
        reserve(registry, bank, "Lamp")
    assert registry.grow(bank, 128).capacity == 128
    assert reserve(registry, bank, "Lamp").ranks == (60, 68), "the stale bank object is not trusted"
    assert (registry.find("Moth").start, registry.find("Moth").stop) == (old.start, old.stop)


@pytest.mark.parametrize("capacity", [64, 63, 0, -1])
def test_a_bank_is_never_made_smaller(registry: Registry, bank: Bank, capacity: int) -> None:
    with pytest.raises(NeekoError, match="larger"):
        registry.grow(bank, capacity)
    assert registry.banks()[0].capacity == 64


def test_growing_from_a_stale_look_at_the_bank_never_shrinks_it(registry: Registry, bank: Bank) -> None:
    registry.grow(bank, 256)
    with pytest.raises(NeekoError, match="larger"):
        registry.grow(bank, 128)
    assert registry.banks()[0].capacity == 256


# reserving


def test_reservations_take_the_lowest_ranges_side_by_side(registry: Registry, bank: Bank) -> None:
    ranges = [reserve(registry, bank, name, rank=rank).ranks for name, rank in (("A", 8), ("B", 16), ("C", 4))]
    assert ranges == [RankRange(0, 8), RankRange(8, 24), RankRange(24, 28)]


def test_a_freed_range_goes_to_the_next_that_fits(registry: Registry, bank: Bank) -> None:
    first, _second = add(registry, bank, "A"), add(registry, bank, "B")
    registry.remove(first)
    assert reserve(registry, bank, "C", rank=16).ranks == (16, 32)
    assert reserve(registry, bank, "D", rank=4).ranks == (0, 4)
    live, free = registry.ranges(bank)
    assert [row.name for row in live] == ["D", "B", "C"]
    assert free == [(4, 8), (32, 64)]


def test_banks_do_not_share_ranges(registry: Registry, bank: Bank) -> None:
    other = registry.bank("other", "another fingerprint", capacity=64)
    assert reserve(registry, bank, "A").ranks == reserve(registry, other, "B").ranks == (0, 8)
    assert [row.name for row in registry.characters(bank=other)] == ["B"]


@pytest.mark.parametrize(
    ("name", "aliases"),
    [("moth", ()), ("MÓTH", ()), (" Moth ", ()), ("Dusty", ()), ("Lamp", ("dusty",)), ("Lamp", ("Light", "moth"))],
)
@pytest.mark.parametrize("state", ["ready", "reserved"])
def test_a_name_or_alias_that_lives_cannot_be_taken(
    registry: Registry, bank: Bank, layout: Layout, name: str, aliases: tuple[str, ...], state: str
) -> None:
    holder = reserve(registry, bank, "Moth", "Dusty")
    if state == "ready":
        registry.commit(holder, made())
    before = rows(layout)
    with pytest.raises(NameTaken, match="Moth (is being added|already answers)") as caught:
        reserve(registry, bank, name, *aliases)
    assert ("is being added" in str(caught.value)) is (state == "reserved")
    assert rows(layout) == before


def test_a_name_that_is_taken_is_taken_in_every_bank(registry: Registry, bank: Bank) -> None:
    add(registry, bank, "Moth")
    with pytest.raises(NameTaken):
        reserve(registry, registry.bank("other", "another fingerprint"), "Moth")


@pytest.mark.parametrize(("rank", "error"), [(0, UsageError), (-1, UsageError), (65, UsageError), (60, RankError)])
def test_a_rank_that_does_not_fit_takes_no_name(
    registry: Registry, bank: Bank, layout: Layout, rank: int, error: type[NeekoError]
) -> None:
    add(registry, bank, "Lamp")
    before = rows(layout)
    with pytest.raises(error):
        reserve(registry, bank, "Moth", "Dusty", rank=rank)
    assert rows(layout) == before


def test_releasing_gives_the_range_and_the_names_back(registry: Registry, bank: Bank, layout: Layout) -> None:
    reservation = reserve(registry, bank, "Moth", "Dusty")
    registry.release(reservation)
    assert rows(layout) == {"character": 0, "handle": 0, "probe": 0, "parent": 0, "certificate": 0}
    registry.release(reservation)
    assert reserve(registry, bank, "Dusty", "Moth").ranks == (0, 8)


def test_releasing_after_the_commit_takes_nothing_away(registry: Registry, bank: Bank, layout: Layout) -> None:
    reservation = reserve(registry, bank, "Moth", "Dusty")
    registry.commit(reservation, made())
    registry.release(reservation)
    assert registry.find("Dusty").status == "ready"
    assert rows(layout) == {"character": 1, "handle": 2, "probe": 2, "parent": 1, "certificate": 1}


# committing


def test_a_commit_keeps_all_that_the_onboarding_left(registry: Registry, bank: Bank, layout: Layout) -> None:
    registry.commit(reserve(registry, bank, "Moth", "Dusty"), made())
    row = Registry(layout).find("moth")
    want = made()
    kept = ("block", "description", "recipe", "metrics", "environment", "data_digests", "system_message", "seed",
            "reason", "role_embedding", "encoder")  # fmt: skip
    assert {key: getattr(row, key) for key in kept} == {key: getattr(want, key) for key in kept}
    assert (row.status, row.strategy, row.start, row.stop) == ("ready", "expand", 0, 8)
    assert (row.lease_pid, row.lease_host, row.lease_born, row.lease_expires) == (None, None, None, None)
    assert [each.reference for each in registry.probes(row)] == ["first", "second"]
    assert [(each.name, each.weight) for each in registry.parents(row)] == [("Lamp", 0.75)]
    certificate = registry.certificate(row)
    assert certificate is not None
    assert (certificate.others, certificate.identical, certificate.evidence) == (3, 3, {"Lamp": "same"})


def test_a_commit_that_fails_halfway_leaves_the_reservation_as_it_was(
    registry: Registry, bank: Bank, layout: Layout
) -> None:
    reservation = reserve(registry, bank, "Moth", "Dusty")
    before = (rows(layout), sql(layout, "SELECT * FROM character"))
    bad = probe(1, "x")
    bad.nll = None  # type: ignore[assignment]
    with pytest.raises((NeekoError, SQLAlchemyError)):
        registry.commit(reservation, made(probes=[probe(0, "fine"), bad]))
    assert (rows(layout), sql(layout, "SELECT * FROM character")) == before


@pytest.mark.parametrize("block", [None, "", "short"])
def test_a_commit_without_a_digest_is_refused_whole(
    registry: Registry, bank: Bank, layout: Layout, block: str | None
) -> None:
    reservation = reserve(registry, bank, "Moth")
    before = rows(layout)
    with pytest.raises((NeekoError, SQLAlchemyError)):
        registry.commit(reservation, made(block))
    assert rows(layout) == before
    assert registry.find("Moth").status == "reserved"


@pytest.mark.parametrize("lost", ["released", "committed already"])
def test_a_reservation_that_is_gone_cannot_be_committed(
    registry: Registry, bank: Bank, layout: Layout, lost: str
) -> None:
    reservation = reserve(registry, bank, "Moth")
    if lost == "released":
        registry.release(reservation)
    else:
        registry.commit(reservation, made())
    before = rows(layout)
    with pytest.raises(LeaseLost, match="Moth"):
        registry.commit(reservation, made("d" * 64))
    assert rows(layout) == before
    assert sql(layout, "SELECT count(*) FROM character WHERE block = ?", "d" * 64) == [(0,)]


@pytest.fixture
def lost_and_next(registry: Registry, bank: Bank, layout: Layout) -> tuple[Reservation, Reservation]:
    """A reservation whose lease ran out on another host, and the one that cleared it and came in its place."""
    lost = reserve(registry, bank, "Moth")
    give_to_another_host(layout, lost, time.time() - 1)
    following = reserve(registry, bank, "Lamp")
    assert following.reclaimed == ("Moth",)
    return lost, following


def test_a_lost_reservation_is_never_committed_into_the_one_that_came_after(
    registry: Registry, lost_and_next: tuple[Reservation, Reservation]
) -> None:
    lost, following = lost_and_next
    with pytest.raises(LeaseLost, match="Moth"):
        registry.commit(lost, made())
    assert registry.find("Lamp").status == "reserved"
    assert registry.commit(following, made("e" * 64)).block == "e" * 64


def test_a_lost_reservation_never_releases_the_one_that_came_after(
    registry: Registry, lost_and_next: tuple[Reservation, Reservation]
) -> None:
    lost, following = lost_and_next
    registry.release(lost)
    assert registry.commit(following, made()).name == "Lamp"


# banks and names


def test_a_bank_that_nobody_has_lived_in_is_no_home(registry: Registry, bank: Bank) -> None:
    other = registry.bank("other", "f" * 64)
    registry.release(reserve(registry, other, "Moth"))
    add(registry, bank, "Lamp")
    assert [each.base for each in registry.banks(lived_in=True)] == ["base"]
    assert [each.base for each in registry.banks()] == ["base", "other"]


def test_whoever_has_left_does_not_leave_again(registry: Registry, bank: Bank) -> None:
    moth = add(registry, bank, "Moth")
    assert [registry.remove(moth), registry.remove(moth)] == [True, False]


def test_bytes_that_are_no_text_are_nobodys_name(registry: Registry, bank: Bank) -> None:
    add(registry, bank, "Chloé")
    with pytest.raises(UnknownCharacter, match="Chloé"):
        registry.find(b"Chlo\xe9".decode(errors="surrogateescape"))


# leases


def test_renewing_pushes_the_expiry_out(registry: Registry, bank: Bank, layout: Layout) -> None:
    reservation = reserve(registry, bank, "Moth")
    sql(layout, "UPDATE character SET lease_expires = 1.0")
    registry.renew(reservation)
    ((expires,),) = sql(layout, "SELECT lease_expires FROM character")
    assert float(str(expires)) > time.time() + 60


def test_a_living_process_keeps_its_reservation_whatever_the_expiry(
    registry: Registry, bank: Bank, layout: Layout
) -> None:
    reserve(registry, bank, "Moth")
    sql(layout, "UPDATE character SET lease_expires = 1.0")
    assert registry.clear_dead() == []
    with pytest.raises(NameTaken, match="is being added"):
        reserve(registry, bank, "moth")


DIES = """
import os, signal
from registry.layout import Layout
from registry.revisions import history
from registry.store import Registry
registry = Registry(Layout.default())
bank = registry.bank("base", "fingerprint")
registry.reserve(bank, "Moth", ["Dusty"], 8, "expand")
registry.reserve(bank, "Lamp", [], 8, "expand")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def died(registry: Registry, bank: Bank) -> None:
    """A process took Moth and Lamp and was killed."""
    add(registry, bank, "Candle")
    assert subprocess.run([sys.executable, "-c", DIES], check=False).returncode == -signal.SIGKILL


@pytest.mark.usefixtures("died")
def test_a_dead_process_gives_its_names_and_ranges_to_the_next(registry: Registry, bank: Bank, layout: Layout) -> None:
    reservation = reserve(registry, bank, "Dusty", "moth", rank=16)
    assert sorted(reservation.reclaimed) == ["Lamp", "Moth"]
    assert reservation.ranks == (8, 24)
    assert registry.find("moth").name == "Dusty"
    assert registry.find("candle").status == "ready"
    assert rows(layout)["handle"] == 3


@pytest.mark.usefixtures("died")
def test_clearing_the_dead_names_them_and_touches_nobody_else(registry: Registry, bank: Bank) -> None:
    reserve_lives = registry.bank("other", "another fingerprint")
    assert sorted(registry.clear_dead()) == ["Lamp", "Moth"]
    assert registry.clear_dead() == []
    reserve(registry, reserve_lives, "Match")
    assert registry.clear_dead() == []
    assert [row.name for row in registry.characters()] == ["Candle", "Match"]


def test_a_recycled_pid_does_not_keep_a_dead_reservation(registry: Registry, bank: Bank, layout: Layout) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc (Linux) to tell a recycled pid")
    reserve(registry, bank, "Moth")
    reserve(registry, bank, "Lamp")
    sql(layout, "UPDATE character SET lease_born = lease_born - 100 WHERE name = 'Moth'")
    assert registry.clear_dead() == ["Moth"]
    assert registry.find("Lamp").lease_pid == os.getpid()


@pytest.mark.parametrize(("left", "cleared"), [(60.0, []), (-1.0, ["Moth"])])
def test_another_hosts_reservation_is_cleared_when_it_expires(
    registry: Registry, bank: Bank, layout: Layout, left: float, cleared: list[str]
) -> None:
    give_to_another_host(layout, reserve(registry, bank, "Moth"), time.time() + left)
    assert registry.clear_dead() == cleared


# asking


@pytest.mark.parametrize(
    "typed", ["Chloé O'Brien", "chloe o'brien", "  CHLOE   O'BRIEN ", "Chloe\u0301 O'Brien", "clo"]
)
def test_a_character_answers_to_its_names_in_any_case_and_accent(registry: Registry, bank: Bank, typed: str) -> None:
    add(registry, bank, "Chloé O'Brien", "Clo")
    assert registry.find(typed).name == "Chloé O'Brien"


def test_a_miss_names_the_nearest_names_and_aliases(registry: Registry, bank: Bank) -> None:
    add(registry, bank, "Isaac Newton", "Sir Isaac")
    add(registry, bank, "Chloé O'Brien")
    with pytest.raises(UnknownCharacter) as caught:
        registry.find("isac newton")
    assert caught.value.nearest[0] == "Isaac Newton"
    with pytest.raises(UnknownCharacter) as caught:
        registry.find("sir isak")
    assert caught.value.nearest[0] == "Sir Isaac"
    with pytest.raises(UnknownCharacter) as caught:
        registry.find("chloe obrien")
    assert caught.value.nearest == ["Chloé O'Brien"]


def test_a_miss_in_an_empty_registry_says_where_to_look(registry: Registry) -> None:
    with pytest.raises(UnknownCharacter, match="neekoctl list"):
        registry.find("Moth")


def test_a_reserved_character_is_found_but_not_ready(registry: Registry, bank: Bank) -> None:
    reservation = reserve(registry, bank, "Moth")
    assert registry.find("moth").status == "reserved"
    with pytest.raises(NeekoError, match="still being made"):
        registry.resident("moth")
    registry.commit(reservation, made())
    assert registry.resident("moth").block == DIGEST


def test_handles_list_the_name_first_then_the_aliases_as_given(registry: Registry, bank: Bank) -> None:
    first, second = add(registry, bank, "Moth", "Zed", "Abe"), add(registry, bank, "Lamp")
    assert registry.handles() == {first.id: ["Moth", "Zed", "Abe"], second.id: ["Lamp"]}


def test_characters_come_in_the_order_of_their_ranges(registry: Registry, bank: Bank) -> None:
    for name in ("C", "A", "B"):
        add(registry, bank, name)
    registry.remove(registry.find("C"))
    reserve(registry, bank, "Z", rank=4)
    assert [row.name for row in registry.characters()] == ["Z", "A", "B"]
    assert [row.name for row in registry.residents()] == ["A", "B"]
    assert [row.name for row in registry.characters(status=("removed",))] == ["C"]


# removing


def test_removing_frees_range_and_names_and_keeps_the_history(registry: Registry, bank: Bank, layout: Layout) -> None:
    row = add(registry, bank, "Moth", "Dusty")
    registry.remove(row)
    with pytest.raises(UnknownCharacter):
        registry.find("Dusty")
    assert rows(layout) == {"character": 1, "handle": 0, "probe": 2, "parent": 1, "certificate": 1}
    (gone,) = registry.characters(status=("removed",))
    assert (gone.name, gone.block) == ("Moth", DIGEST)
    assert gone.removed_at is not None
    again = add(registry, bank, "Moth", "Dusty")
    assert (again.start, again.stop) == (row.start, row.stop)
    assert again.id != row.id


def test_who_is_being_added_is_released_not_removed(registry: Registry, bank: Bank) -> None:
    reserve(registry, bank, "Moth")
    registry.remove(registry.find("Moth"))
    assert (registry.find("Moth").status, history(registry)) == ("reserved", [])


def test_removing_an_old_row_again_leaves_its_namesake_alone(registry: Registry, bank: Bank) -> None:
    old = add(registry, bank, "Moth")
    registry.remove(old)
    add(registry, bank, "Moth")
    registry.remove(old)
    assert registry.find("Moth").status == "ready"
    assert [row["kind"] for row in history(registry)] == ["moved in", "moved out", "moved in"]


def test_a_block_that_no_live_character_owns_is_unreferenced(registry: Registry, bank: Bank, layout: Layout) -> None:
    for digest in (DIGEST, "c" * 64):
        (layout.blocks / digest[:2] / digest).mkdir(parents=True)
    row = add(registry, bank, "Moth")
    assert registry.unreferenced_blocks() == ["c" * 64]
    registry.remove(row)
    assert registry.unreferenced_blocks() == [DIGEST, "c" * 64]


def test_a_claimed_block_belongs_to_somebody_before_the_commit(registry: Registry, bank: Bank, layout: Layout) -> None:
    (layout.blocks / DIGEST[:2] / DIGEST).mkdir(parents=True)
    reservation = reserve(registry, bank, "Moth")
    assert registry.unreferenced_blocks() == [DIGEST]
    registry.claim(reservation, DIGEST)
    assert registry.unreferenced_blocks() == []


def test_releasing_deletes_the_claimed_block(registry: Registry, bank: Bank, layout: Layout) -> None:
    (layout.blocks / DIGEST[:2] / DIGEST).mkdir(parents=True)
    reservation = reserve(registry, bank, "Moth")
    registry.claim(reservation, DIGEST)
    registry.release(reservation)
    assert registry.blocks.digests() == set()


@pytest.mark.parametrize("owner", ["ready", "removed", "reserved"])
def test_releasing_leaves_a_block_that_somebody_else_has_or_had(
    registry: Registry, bank: Bank, layout: Layout, owner: str
) -> None:
    (layout.blocks / DIGEST[:2] / DIGEST).mkdir(parents=True)
    holder = reserve(registry, bank, "Lamp")
    registry.claim(holder, DIGEST)
    if owner != "reserved":
        registry.commit(holder, made())
    if owner == "removed":
        registry.remove(registry.find("Lamp"))
    reservation = reserve(registry, bank, "Moth")
    registry.claim(reservation, DIGEST)
    registry.release(reservation)
    assert registry.blocks.digests() == {DIGEST}


def test_a_lost_reservation_never_deletes_the_block_of_the_one_that_came_after(
    registry: Registry, lost_and_next: tuple[Reservation, Reservation], layout: Layout
) -> None:
    (layout.blocks / DIGEST[:2] / DIGEST).mkdir(parents=True)
    lost, following = lost_and_next
    registry.claim(following, DIGEST)
    registry.release(lost)
    assert registry.blocks.digests() == {DIGEST}


# a file that is damaged


def test_a_sound_file_is_ok(registry: Registry) -> None:
    assert registry.integrity() == "ok"


@pytest.fixture
def damaged(registry: Registry, bank: Bank, layout: Layout) -> Registry:
    """A registry some of whose pages are noise."""
    for number in range(8):
        add(registry, bank, f"Character {number}")
    registry.engine.dispose()
    sql(layout, "PRAGMA wal_checkpoint(TRUNCATE)")
    ((page,),) = sql(layout, "SELECT rootpage FROM sqlite_master WHERE name = 'character'")
    ((size,),) = sql(layout, "PRAGMA page_size")
    content = bytearray(layout.database.read_bytes())
    start = (int(str(page)) - 1) * int(str(size))
    content[start : start + int(str(size))] = b"\xff" * int(str(size))
    layout.database.write_bytes(content)
    return Registry(layout)


def test_a_damaged_file_is_reported_not_raised(damaged: Registry) -> None:
    assert damaged.integrity() != "ok"


@pytest.mark.parametrize("ask", ["read", "write"])
def test_a_damaged_file_is_met_with_a_sentence(damaged: Registry, bank: Bank, ask: str) -> None:
    with pytest.raises(NeekoError) as caught:
        damaged.characters() if ask == "read" else reserve(damaged, bank, "Moth")
    assert len(str(caught.value).splitlines()) == 1
