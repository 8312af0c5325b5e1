"""Bundles that an enemy or a bad disk made: each refused with a sentence, and nothing changed."""

import base64
import hashlib
import re
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from registry import archive
from registry.arriving import load
from registry.blocks import FILES, digest_of
from registry.errors import BundleRefused, RegistryTooNew, UsageError
from registry.store import Registry
from tests.registry.bundles import Change, another, contents, forged, move_in, saved, unzipped, vector, village

BLOCK = "blocks/{}/neeko.json"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    found = another(tmp_path_factory.mktemp("origin"))
    village(found)
    return found


@pytest.fixture(scope="module")
def good(origin: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with nothing wrong."""
    return saved(origin, tmp_path_factory.mktemp("good") / "good.neeko")


@pytest.fixture(scope="module", params=["empty", "lived in"])
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Where no bundle may ever be loaded: every test finds it as it was."""
    found = another(tmp_path_factory.mktemp("there"))
    if request.param == "lived in":
        move_in(found, "Dot")
    return found


def refuse(there: Registry, bundle: Path, words: str, error: type[Exception] = BundleRefused) -> None:
    before, around = contents(there), _files(there)
    with pytest.raises(error, match=words):
        load(there, bundle)
    assert contents(there) == before
    assert _files(there) == around


def _files(there: Registry) -> set[Path]:
    """In and around its home."""
    return {path for path in there.layout.home.parent.rglob("*") if path.is_file()}


def row(table: str, place: int, **changed: Any) -> Change:
    """Change columns of one row."""
    return lambda manifest, members: manifest["tables"][table][place].update(changed)


def more(table: str, **changed: Any) -> Change:
    """One row more, like the first but for some columns."""
    return lambda manifest, members: manifest["tables"][table].append({**manifest["tables"][table][0], **changed})


def less(table: str, column: str) -> Change:
    return lambda manifest, members: manifest["tables"][table][0].pop(column)


def top(**changed: Any) -> Change:
    return lambda manifest, members: manifest.update(changed)


def member(name: str, content: bytes | None) -> Change:
    """Put a member in the place of another, or take it out; {} in its name is the first resident's block."""

    def change(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        at = name.format(manifest["tables"]["character"][0]["block"])
        members.pop(at) if content is None else members.update({at: content})

    return change


@pytest.mark.parametrize("lived_in", [False, True])
def test_an_unchanged_forgery_is_loaded(good: Path, registry: Registry, lived_in: bool) -> None:
    """What the tests below change is what is wrong."""
    if lived_in:
        move_in(registry, "Dot")
    load(registry, forged(good, lambda manifest, members: None))
    assert registry.find("Cub").status == "ready"


B64 = base64.b64encode
CASES: dict[str, tuple[Change, str]] = {
    "format of nothing": (top(format="x"), "format"),
    "format zero": (top(format=0), "format"),
    "no table": (top(tables=[]), "tables"),
    "strange key": (top(extra=1), "extra"),
    "strange table": (lambda m, _: m["tables"].update(alembic_version=[{"version_num": "1"}]), "no table"),
    "strange column": (row("character", 0, lease_pid=1), "lease_pid"),
    "column missing": (less("character", "name"), "name"),
    "number as text": (row("character", 0, start="0"), "start"),
    "number as truth": (row("character", 0, start=True), "start"),
    "number negative": (row("bank", 0, capacity=-1), "capacity"),
    "number that ends all numbers": (row("certificate", 0, id=2**63 - 1), "id"),
    "number past SQLite": (row("character", 0, seed=2**70), "seed"),
    "number of no key": (row("character", 2, id=0), "id"),
    "nll that is none": (row("probe", 0, nll=float("nan")), "nll"),
    "nll without end": (row("probe", 0, nll=float("inf")), "nll"),
    "bytes of nothing": (row("prototype", 0, vector=B64(vector()).decode() + "!!!!"), "vector: "),
    "bytes as numbers": (row("prototype", 0, vector=[1, 2]), "vector: "),
    "reply of text": (row("probe", 0, reply=["a"]), "reply"),
    "prompt of nothing": (row("probe", 0, prompt=[]), "prompt"),
    "reply below nothing": (row("probe", 0, reply=[-5]), "reply"),
    "digest of no text": (row("character", 0, data_digests={"a": 1}), "data_digests"),
    "prompt of no turns": (row("probe", 0, prompt=["a"]), "prompt"),
    "prompt of a stranger": (row("probe", 0, prompt=[{"role": "system", "content": "a"}]), "prompt"),
    "prompt of no text": (row("probe", 0, prompt=[{"role": "user", "content": 1}]), "prompt"),
    "prompt that is a reply": (row("probe", 0, prompt=[{"role": "assistant", "content": "a"}]), "prompt"),
    "prompt of strange turns": (row("probe", 0, prompt=[{"role": "user"}]), "prompt"),
    "text of half a letter": (row("probe", 0, reference="\ud800"), "escape|unicode|surrogate"),
    "digest that climbs": (row("character", 0, block="../" * 21 + "x"), "block"),
    "digest too long": (row("character", 0, block="a" * 65), "block"),
    "digest with a line end": (row("character", 0, block="a" * 63 + "\n"), "block"),
    "digest in capitals": (row("character", 0, block="A" * 64), "block"),
    "lineage to no digest": (row("parent", 0, block="../x"), "block"),
    "resident without a block": (row("character", 0, block=None), "block"),
    "reservation": (row("character", 0, status="reserved"), "status"),
    "name that steers a terminal": (row("character", 1, name="B\x1b[2Jee"), "1.name: "),
    "base that steers a terminal": (row("bank", 0, base="\x1b[2J"), "base"),
    "persona that steers a terminal": (row("character", 0, description={"persona": "\x1b[2J"}), "no control"),
    "facts that steer a terminal": (row("character", 0, description={"facts": ["a", "\x1b[2J"]}), "no control"),
    "key that steers a terminal": (row("character", 0, metrics={"a": [{"\x9b2J": 1}]}), "no control"),
    "environment that steers a terminal": (row("character", 0, environment={"torch": "\x1b]0;a\x07"}), "no control"),
    "system message that steers a terminal": (row("character", 0, system_message="\x1b[2J"), "no control"),
    "question that steers a terminal":
        (row("probe", 0, prompt=[{"role": "user", "content": "\x1b[2J"}]), "no control"),
    "route that steers a terminal": (row("probe", 0, routed="\x1b[2J"), "no control"),
    "settings that steer a terminal": (row("gate", 0, settings={"a": {"b": "\x00"}}), "no control"),
    "alias that is a command of a CI runner":
        (row("character", 0, description={"aliases": [" ::error::a"]}), "aliases"),
    "rank of text": (row("character", 0, recipe={"rank": "8"}), "rank"),
    "a cohort of no version": (row("character", 0, recipe={"cohort": {"name": "a"}}), "version of a cohort"),
    "a cohort of text": (row("character", 0, recipe={"cohort": "a"}), "version of a cohort"),
    "alpha of nothing": (row("character", 0, recipe={"alpha": float("nan")}), "alpha"),
    "alpha past all numbers": (row("character", 0, recipe={"alpha": 10**400}), "alpha"),
    "distinctness past all numbers": (row("reading", 0, distinctness={"f" * 64: [-(10**400)]}), "distinctness"),
    "settings past all numbers": (row("gate", 0, settings={"prototypes": {"nobody": 10**400}}), "signals"),
    "seal of lists": (row("character", 0, seal={"files": []}), "seal"),
    "seal of numbers": (row("character", 0, seal={"record": 1}), "seal"),
    "seal of files of numbers": (row("character", 0, seal={"files": {"a": 1}}), "seal"),
    "distinctness of a number": (row("reading", 0, distinctness={"f" * 64: 5}), "distinctness"),
    "distinctness without end": (row("reading", 0, distinctness={"f" * 64: [float("inf")]}), "distinctness"),
    "distinctness from nobody": (row("reading", 0, distinctness={"a": [1.0]}), "distinctness"),
    "alias of no text": (row("character", 0, description={"aliases": [1]}), "aliases"),
    "date of nothing": (row("revision", 0, created_at="yesterday"), "created_at"),
    "date that is none": (row("revision", 0, created_at="2026-99-99T99:99:99+00:00"), "created_at"),
    "date before all": (row("character", 0, created_at="0001-01-01T00:00:00+00:00"), "created_at"),
    "date of no place": (row("character", 0, created_at="2026-01-01T00:00:00"), "created_at"),
    "a cohort of too high a version":
        (row("character", 0, recipe={"cohort": {"name": "a", "version": 10**30}}), "version of a cohort"),
    "bank of nowhere": (row("character", 0, bank_id=7), "bank 7"),
    "owner of nowhere": (row("prototype", 0, character_id=77), "character 77"),
    "gate of nowhere": (row("probe", 0, routed_by=9), "gate 9"),
    "gate before of nowhere": (row("revision", 0, gate_before=9), "gate 9"),
    "reading at no revision": (row("reading", 0, revision=99), "revision 99"),
    "revision to nowhere": (more("revision", number=9, kind="rolled back", character_id=None, back_to=7), "revision 9"),
    "revision of no kind": (row("revision", 0, kind="died"), "revision 1"),
    "history of somebody else": (more("revision", number=9, kind="moved out"), "history"),
    "two of one number": (more("character", name="Elk"), "one number"),
    "moved in twice": (more("revision", number=9), "Ant cannot have moved in at revision 9"),
    "moved out twice": (more("revision", number=9, kind="moved out", character_id=2), "Bee cannot have moved out"),
    "who left had the ranks of somebody else": (row("character", 1, start=4, stop=8), "Bee and Ant had the same ranks"),
    "who left lay past the capacity": (row("character", 1, start=62, stop=66), "Bee cannot have moved in"),
    "who left answered to the name of somebody else":
        (row("character", 1, description={"aliases": ["FORMICA"]}), "Bee and Ant answered to one name"),
    "who left had one name twice": (row("character", 1, description={"aliases": ["bee"]}), "Bee and Bee answered"),
    "who left had no block": (row("character", 1, block=None), "Bee cannot have moved in"),
    "range of nothing": (row("character", 0, stop=0), "ranks"),
    "range backwards": (row("character", 0, start=9), "ranks"),
    "range too wide": (row("character", 0, stop=4000), "ranks"),
    "handle of who left": (row("handle", 1, character_id=2), "nobody's"),
    "handle under another key": (row("handle", 0, key="elk"), "nobody's"),
    "handle that is an option": (row("handle", 1, key="--yes", text="--yes"), "nobody's"),
    "name of nobody": (row("handle", 0, key="elk", text="Elk"), "nobody's"),
    "two names": (more("handle", key="ant "), "nobody's"),
    "no name": (lambda m, _: m["tables"]["handle"].pop(0), "no name"),
    "kind of no prototype": (row("prototype", 0, kind="poem"), "rule of the registry"),
    "vector of another length": (row("prototype", 0, vector=B64(vector(0, 5)).decode()), "vectors"),
    "vector of no numbers": (row("prototype", 0, vector=B64(b"abcde").decode()), "vectors"),
    "vector too long": (row("prototype", 0, vector=B64(b"\0\0\x80\x3f" * 4).decode()), "vectors"),
    "vector past numbers": (row("prototype", 0, vector=B64(b"\xff\xff\x7f\x7f" * 4).decode()), "vectors"),
    "vector of NaN": (row("prototype", 0, vector=B64(b"\xff" * 16).decode()), "vectors"),
    "vector of no encoder": (row("character", 0, encoder=None), "no encoder"),
    "history of some people": (top(whole=False), "alone"),
    "block of other bytes": (member(BLOCK, b"other"), "what its name says"),
    "block of two files": (member(BLOCK, None), "what its name says"),
    "block not there": (lambda m, members: [members.pop(name) for name in list(members)
                                            if m["tables"]["character"][0]["block"] in name], "a block is missing"),
    "block of nobody": (lambda m, _: m["tables"]["character"][1].update(block="c" * 64), "nobody's"),
    "head of no gate": (member("gates/7/head.safetensors", b""), "of no gate"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rows_that_cannot_be_are_refused(good: Path, there: Registry, case: str) -> None:
    change, words = CASES[case]
    refuse(there, forged(good, change), words)


@pytest.mark.parametrize(
    "changed", [{"start": 4, "stop": 12}, {"start": 60, "stop": 68}], ids=["overlap", "past the capacity"]
)
def test_ranges_that_the_database_refuses_are_refused_in_words(good: Path, registry: Registry, changed: Any) -> None:
    refuse(registry, forged(good, row("character", 2, **changed)), "same ranks|cannot have moved in")


def test_two_gates_in_use_are_refused(good: Path, registry: Registry) -> None:
    refuse(registry, forged(good, row("gate", 0, active=True)), "rule of the registry")


@pytest.mark.parametrize("changed", [{"format": 2}, {"schema": "9999"}])
def test_what_is_newer_says_so(good: Path, there: Registry, changed: Any) -> None:
    refuse(there, forged(good, top(**changed)), "newer neekoctl.*pip install --upgrade", RegistryTooNew)


def rewritten(good: Path, write: Callable[[zipfile.ZipFile, dict[str, bytes]], object]) -> Path:
    """The members of a bundle, its manifest among them, written another way."""
    with zipfile.ZipFile(good) as old:
        members = {name: old.read(name) for name in old.namelist()}
    path = good.with_name("rewritten.neeko")
    with zipfile.ZipFile(path, "w") as new:
        write(new, members)
        for name, data in members.items():
            new.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name",
    ["/etc/cron.d/x", "../x", "blocks/../../x", "blocks\\..\\x", "C:\\x", "c:x", "blocks/" + "a" * 64 + "/run.sh",
     "blocks/" + "a" * 64 + "/../neeko.json", "profiles/", "profiles/a/b.yaml", "profiles/..\\x.yaml", "registry.db",
     "gates/0/head.safetensors", "gates/-1/head.safetensors"],
)  # fmt: skip
def test_a_member_with_another_name_is_refused(good: Path, there: Registry, name: str) -> None:
    refuse(there, forged(good, member(name, b"data")), "no member may be called")


@pytest.mark.parametrize("name", ["profiles/a.yaml\0.sh", "bundle.json\0"])
def test_a_name_that_ends_before_its_end_is_refused(good: Path, there: Registry, name: str) -> None:
    """In the bytes: zipfile itself would write the name without its end."""
    path = rewritten(good, lambda new, _: new.writestr("x" * len(name), b"data"))
    path.write_bytes(path.read_bytes().replace(b"x" * len(name), name.encode()))
    refuse(there, path, "no member may be called")


def _info(name: str, mode: int = stat.S_IFREG | 0o644, kind: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, kind
    return info


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_a_member_that_is_no_file_is_refused(good: Path, there: Registry, mode: int) -> None:
    def write(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
        name = next(name for name in members if name.startswith("profiles/"))
        new.writestr(_info(name, mode | 0o777), members.pop(name))

    refuse(there, rewritten(good, write), "link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(good: Path, there: Registry) -> None:
    refuse(there, rewritten(good, lambda new, members: new.writestr("bundle.json", members["bundle.json"])), "one name")


def test_a_member_that_is_not_named_or_not_there_is_refused(good: Path, there: Registry) -> None:
    refuse(there, rewritten(good, lambda new, _: new.writestr("profiles/new.yaml", b"")), "not named")
    gone = next(name for name in unzipped(good)[1] if name.startswith("profiles/"))
    refuse(there, rewritten(good, lambda _, members: members.pop(gone)), "missing")
    refuse(there, rewritten(good, lambda _, members: members.pop("bundle.json")), "bundle.json is missing")


@pytest.mark.parametrize("top_folder", ["blocks", "gates", "profiles"])
def test_a_member_whose_bytes_changed_is_refused(good: Path, there: Registry, top_folder: str) -> None:
    name = sorted(name for name in unzipped(good)[1] if name.startswith(top_folder))[-1]
    refuse(there, rewritten(good, lambda _, members: members.update({name: members[name][:-1] + b"!"})), "was changed")


def test_a_zip_bomb_is_refused_by_its_sizes(good: Path, there: Registry) -> None:
    def write(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
        new.writestr(_info("gates/1/head.safetensors", kind=zipfile.ZIP_DEFLATED), bytes(2**24))

    refuse(there, rewritten(good, write), "far too large")


def test_a_head_too_large_for_one_is_refused(good: Path, there: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.unpacking.LARGEST_HEAD", 3)
    refuse(there, good, "too large")


@pytest.mark.parametrize("stated", [10, 1000])
def test_a_member_of_another_size_than_it_says_is_refused(good: Path, there: Registry, stated: int) -> None:
    """The stated sizes are changed in the bytes; 100 are packed."""

    def write(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
        new.writestr(_info("profiles/zzz.yaml", kind=zipfile.ZIP_DEFLATED), b"ab" * 50)

    path = rewritten(good, write)
    data = bytearray(path.read_bytes())
    for name_at, size_at in ((30, 22), (46, 24)):  # in the member's own head, and in the directory
        at = data.index(b"profiles/zzz.yaml") if name_at == 30 else data.rindex(b"profiles/zzz.yaml")
        struct.pack_into("<L", data, at - name_at + size_at, stated)
    path.write_bytes(bytes(data))
    with archive.reading(path, re.compile(".*")) as found, pytest.raises(BundleRefused, match="damaged"):
        found.copy("profiles/zzz.yaml", None)
    refuse(there, path, "refused")


def test_a_stated_size_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should zipfile ever hand out more than a member says of itself, the counter stops it."""
    monkeypatch.setattr(archive, "CHUNK", 4)
    with pytest.raises(ValueError, match="not of the size it says"):
        archive._copied(source := BytesIO(b"a" * 100), None, 10)
    assert source.tell() == 12


def test_members_that_share_their_bytes_are_refused(good: Path, there: Registry) -> None:
    """The directory names one member again and again under other names: a small file that unpacks to much."""
    data = good.read_bytes()
    name = next(name for name in unzipped(good)[1] if name.endswith("adapter_config.json")).encode()
    entry, start = data.rindex(name) - 46, struct.unpack("<L", data[-6:-2])[0]
    twins = [data[entry : entry + 46] + b"profiles/%0*d.yaml" % (len(name) - 14, place) for place in range(500)]
    directory = data[start:-22] + b"".join(twins)
    end = bytearray(data[-22:])
    count = struct.unpack("<H", end[8:10])[0] + len(twins)
    struct.pack_into("<HHL", end, 8, count, count, len(directory))
    (path := good.with_name("shared.neeko")).write_bytes(data[:start] + directory + bytes(end))
    refuse(there, path, "overlap")


def test_far_too_many_members_are_refused_before_they_are_listed(
    good: Path, there: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "DIRECTORY_ENTRY", 0)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    refuse(there, good, "far too many members")


def test_too_many_members_are_refused(good: Path, there: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 10)
    refuse(there, good, "far too many")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [("adapter_config.json", b"{", "does not say"), ("adapter_config.json", b"[]", "does not say"),
     ("adapter_config.json", b"{}", "does not say"), ("adapter_config.json", b'{"r": 16}', "of another rank or base"),
     ("neeko.json", b'"1"', "does not say"), ("neeko.json", b'{"base_fingerprint": "2"}', "of another rank or base"),
     ("neeko.json", b'{"base_fingerprint": "1"}' + b" " * 2**20, "too large")],
)  # fmt: skip
def test_a_block_that_is_not_what_its_owner_says_is_refused(
    good: Path, there: Registry, file: str, content: bytes, words: str
) -> None:
    """All digests are right, so only what they are digests of tells."""

    def change(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
        ant = manifest["tables"]["character"][0]
        files = {name: members.pop(f"blocks/{ant['block']}/{name}") for name in FILES} | {file: content}
        ant["block"] = digest_of({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
        members |= {f"blocks/{ant['block']}/{name}": data for name, data in files.items()}

    refuse(there, forged(good, change), words)


BOMBS: dict[str, str] = {
    "rows": '"tables": {"bank": [' + "[]," * 300_000 + "[]]}",
    "columns": '"tables": {"bank": [{' + ",".join(f'"a{n}": 1' for n in range(100_000)) + "}]}",
    "tables": '"tables": {' + ",".join(f'"a{n}": 1' for n in range(100_000)) + "}",
    "keys": '"tables": {}, ' + ",".join(f'"a{n}": 1' for n in range(100_000)),
    "members": '"tables": {}, "members": {' + ",".join(f'"a{n}": 1' for n in range(201_000)) + "}",
    "turns": '"tables": {"probe": [{"prompt": [' + "[]," * 300_000 + "[]]}]}",
    "tokens": '"tables": {"probe": [{"reply": [' + "[]," * 300_000 + "[]]}]}",
    "digests": '"tables": {"character": [{"data_digests": {' + ",".join(f'"a{n}": 1' for n in range(100_000)) + "}}]}",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_manifest_of_countless_faults_costs_no_more_than_one_of_one(
    good: Path, there: Registry, bomb: str, tmp_path: Path
) -> None:
    top = '"format": 1, "neekoctl": "x", "schema": "0005", "created_at": "2024-01-01T00:00:00+00:00", "whole": true, '
    named = '"members": {}, ' if '"members"' not in BOMBS[bomb] else ""
    with zipfile.ZipFile(path := tmp_path / "bomb.neeko", "w") as new:
        new.writestr("bundle.json", "{" + top + named + BOMBS[bomb] + "}")
    tracemalloc.start()
    try:
        refuse(there, path, "refused, and nothing was changed")
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def test_a_manifest_of_too_many_values_is_never_parsed(
    good: Path, there: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("registry.bundle.MOST_VALUES", 100)
    monkeypatch.setattr("registry.bundle.from_json", None)
    refuse(there, good, "far too many values")
    village(origin := another(tmp_path))
    with pytest.raises(UsageError, match="--only"):
        saved(origin, tmp_path / "v.neeko")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_way_of_packing_is_refused(good: Path, there: Registry, kind: int) -> None:
    def write(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
        new.writestr(_info("bundle.json", kind=kind), members.pop("bundle.json"))

    refuse(there, rewritten(good, write), "unknown way")


def test_an_encrypted_member_is_refused(good: Path, there: Registry) -> None:
    data = bytearray(good.read_bytes())
    data[data.rindex(b"bundle.json") - 46 + 8] |= 1
    (path := good.with_name("encrypted.neeko")).write_bytes(bytes(data))
    refuse(there, path, "encrypted or packed")


@pytest.mark.parametrize(
    "make",
    [lambda data: b"", lambda data: b"PK", lambda data: b"no zip " * 100, lambda data: data[:-1],
     lambda data: data[:-400], lambda data: data[:500] + data[600:], lambda data: data[500:],
     lambda data: data + b"more",
     lambda data: b"PK\5\6" + bytes(18)],
)  # fmt: skip
def test_what_is_no_zip_or_a_damaged_one_is_refused(good: Path, there: Registry, make: Any) -> None:
    (path := good.with_name("bad.neeko")).write_bytes(make(good.read_bytes()))
    refuse(there, path, "refused, and nothing was changed")


@pytest.mark.parametrize("manifest", [b"", b"[]", b"null", b"{", b"[" * 5000, b"\xff", b'{"format": 1}', b"1" * 6000])
def test_a_manifest_that_is_none_is_refused(good: Path, there: Registry, manifest: bytes) -> None:
    refuse(there, rewritten(good, lambda _, members: members.update({"bundle.json": manifest})), "refused")


def test_every_flipped_bit_is_found_or_harmless(
    good: Path, origin: Registry, registry: Registry, tmp_path: Path
) -> None:
    """One byte changed anywhere: refused, or what is restored is what was saved."""
    data, whole, empty = good.read_bytes(), contents(origin), contents(registry)
    for at in range(0, len(data), max(1, len(data) // 150)):
        bad = bytearray(data)
        bad[at] ^= 0x10
        (path := tmp_path / "flipped.neeko").write_bytes(bytes(bad))
        try:
            load(registry, path)
        except BundleRefused:
            assert contents(registry) == empty
        else:
            assert contents(registry) == whole
            registry = another(tmp_path / str(at))


def test_a_folder_or_nothing_is_no_bundle(there: Registry, tmp_path: Path) -> None:
    refuse(there, tmp_path, "There is no file", UsageError)
    refuse(there, tmp_path / "missing", "There is no file", UsageError)
