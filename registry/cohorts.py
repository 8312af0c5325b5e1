"""The cohorts of a registry: which there are, in which version, and whether their files are what was stored.
Knows rows and files; nothing of what is in a network.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from sqlmodel import Session, col, select

from registry.blocks import digest_of, file_digest
from registry.errors import CohortDamaged, NameTaken, UsageError
from registry.names import COHORT_NAME
from registry.scratch import flush_files, move, sync
from registry.store import Registry
from registry.tables import Bank, Character, Cohort, Dialogue

FILES = ("config.json", "network.safetensors")


def refuse_bad_name(name: str) -> None:
    """Raises UsageError when a cohort cannot be called so."""
    if not COHORT_NAME.fullmatch(name):
        raise UsageError(f"A cohort cannot be called {name!r}: use lower-case letters, digits, - and _, at most 64.")


def cohort_digest(folder: Path) -> str:
    """The digest of a cohort's files, as for blocks."""
    return digest_of({name: file_digest(folder / name) for name in FILES})


def flush(folder: Path) -> str:
    """Force a finished folder to the disk; returns its digest. Its bytes are there before its row can be."""
    flush_files(folder, FILES)
    return cohort_digest(folder)


def cohorts(registry: Registry, name: str | None = None) -> list[Cohort]:
    """All versions of all cohorts, or of one, the oldest first."""
    query = select(Cohort).order_by(col(Cohort.id))
    with registry.reading() as session:
        return list(session.exec(query if name is None else query.where(Cohort.name == name)))


def versions(registry: Registry, name: str, version: int | None = None) -> list[Cohort]:
    """All versions of a cohort, the oldest first; or one of them.

    Raises:
        UsageError: there is no such thing.
    """
    found = [row for row in cohorts(registry, name) if version in (None, row.version)]
    if not found:
        called = f"version {version} of a cohort" if version else "cohort"
        raise UsageError(f"There is no {called} {name!r}: `neekoctl cohort list` shows which there are.")
    return found


def newest_cohort(registry: Registry, bank: Bank, wanted: str | None = None, *, reading: bool = False) -> Cohort:
    """The newest version of a cohort over this bank, or the one that NAME@VERSION wants; without a name, of the newest
    cohort, or the newest that reads personas where there is one and it is for `reading`.

    Raises:
        UsageError: there is none, or no such version.
    """
    name, _, version = (wanted or "").partition("@")
    if wanted and not name:
        raise UsageError(f"{wanted!r} names no cohort: write --cohort NAME or NAME@VERSION.")
    found = [row for row in cohorts(registry, name or None)
             if row.bank_id == bank.id and version in ("", str(row.version))]  # fmt: skip
    if not found:
        if name and (elsewhere := {row.bank_id for row in cohorts(registry, name)} - {bank.id}):
            bases = " and ".join(each.base for each in registry.banks() if each.id in elsewhere)
            raise UsageError(f"The cohort {wanted!r} is over {bases}, not over {bank.base}: name another --cohort, or "
                             f"that --base.")  # fmt: skip
        if there := [str(row.version) for row in cohorts(registry, name)] if name else []:
            raise UsageError(f"The cohort {name} has no version {version}: choose {', '.join(there)}.")
        called = f"a cohort {wanted!r}" if wanted else "a cohort"
        raise UsageError(f"There is no such thing as {called} over {bank.base} yet: `neekoctl cohort train NAME "
                         f"--character A --character B` makes one.")  # fmt: skip
    readers = [row for row in found if row.encoder] if reading and not wanted else []
    return (readers or found)[-1]


def next_version(registry: Registry, name: str) -> int:
    """One that no version had, nor one that was removed and somebody's block is of still."""
    with registry.reading() as session:
        made = session.exec(select(Cohort.version).where(Cohort.name == name)).all()
        cards = [recipe.get("cohort", {}) for recipe in session.exec(select(Character.recipe))]
    kept = [int(card["version"]) for card in cards if card.get("name") == name]
    return 1 + max([0, *made, *kept])


def put_cohort(registry: Registry, session: Session, row: Cohort, folder: Path, *, first: bool) -> None:
    """Note a version, or the `first` one of a cohort, and give its folder its place, under the lock of the transaction.

    Raises:
        NameTaken: another training has made it meanwhile.
    """
    made = session.exec(select(Cohort.version).where(Cohort.name == row.name)).all()
    if made and (first or row.version in made):
        instead = " under another name" if first else ""
        there = row.version if row.version in made else max(made)
        raise NameTaken(f"Version {there} of the cohort {row.name} was made by another command meanwhile: run this "
                        f"one again with --resume{instead}.")  # fmt: skip
    place(registry, row.name, row.version, folder)
    session.add(row)


def place(registry: Registry, name: str, version: int, folder: Path) -> None:
    """Move a flushed folder to where a version lies, under the lock of the transaction that writes its row."""
    target = registry.layout.cohort(name, version)
    shutil.rmtree(target, ignore_errors=True)  # of a process that was killed before its row was written
    target.parent.mkdir(parents=True, exist_ok=True)
    move(folder, target)
    for path in (target.parent, registry.layout.cohorts, registry.layout.home):
        sync(path)


def sweep(registry: Registry) -> list[str]:
    """Take away the folders that no row names: a process died, or failed, before its row was written. Returns what they
    were, in words; under the write lock, so that nobody's folder waits for its row meanwhile."""
    with registry.writing() as session:
        known = {registry.layout.cohort(row.name, row.version) for row in session.exec(select(Cohort))}
        stray = sorted(set(registry.layout.cohorts.glob("*/*")) - known)
        for folder in stray:
            _delete(folder)
    return [f"cohort {folder.parent.name} version {folder.name}, which no row names" for folder in stray]


def remove(registry: Registry, row: Cohort) -> None:
    """Forget a version. Its members keep their blocks, which are ordinary ones. Nothing happens where it is gone."""
    with registry.writing() as session:
        for kept in session.exec(select(Cohort).where(Cohort.id == row.id)):
            session.delete(kept)
    sweep(registry)  # its folder, which no row names any more: a row never stands without its files


def _delete(folder: Path) -> None:
    """With the folder of its cohort, when it was the last version there."""
    shutil.rmtree(folder) if folder.is_dir() else folder.unlink(missing_ok=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def damaged(registry: Registry) -> list[Cohort]:
    """The versions whose files are not what was stored."""
    return [row for row in cohorts(registry) if not is_whole(registry, row)]


def harm(row: Cohort) -> str:
    """In words: what a damaged version has suffered."""
    return f"the files of cohort {row.name} version {row.version} are missing or changed"


def how_to_remove(row: Cohort) -> str:
    """The command that forgets a version."""
    return f"neekoctl cohort remove {row.name} --version {row.version}"


def verified_cohort(registry: Registry, row: Cohort) -> Path:
    """The folder of a cohort, its bytes checked.

    Raises:
        CohortDamaged: files are missing or not the bytes that were stored.
    """
    folder = registry.layout.cohort(row.name, row.version)
    if not is_whole(registry, row):
        raise CohortDamaged(f"The files of cohort {row.name} version {row.version} are missing or damaged: restore "
                            f"{folder} from a backup, or `{how_to_remove(row)}` forgets it.")  # fmt: skip
    return folder


def is_whole(registry: Registry, row: Cohort) -> bool:
    """Whether the files on disk are those that were stored."""
    try:
        return cohort_digest(registry.layout.cohort(row.name, row.version)) == row.digest
    except OSError:
        return False


def dialogues(registry: Registry, character: Character) -> Sequence[Dialogue]:
    """A resident's conversations as its profile had them; nothing for whoever moved in before they were kept."""
    with registry.reading() as session:
        rows = select(Dialogue).where(Dialogue.character_id == character.id).order_by(col(Dialogue.position))
        return session.exec(rows).all()
