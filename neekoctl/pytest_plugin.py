"""`pytest --neeko`: one test a character, beside whatever else is tested. Knows pytest and the check's document.

The check runs once, when the first of its tests does. `--neeko-tolerances FILE` names its tolerances (check.yaml in
pytest's root folder otherwise), `--neeko-home FOLDER` the registry (NEEKOCTL_HOME otherwise).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("neekoctl")
    group.addoption("--neeko", action="store_true", help="check every character of the registry, one test each")
    group.addoption("--neeko-home", metavar="FOLDER", help="the registry, instead of NEEKOCTL_HOME")
    group.addoption("--neeko-tolerances", metavar="FILE", help="the tolerances, instead of check.yaml")


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """The characters come after everything that was collected from files."""
    if config.getoption("--neeko"):
        try:
            items += Village.from_parent(session, name="neekoctl", nodeid="neekoctl").collect()
        except Exception as error:
            if _is_sentence(error):
                raise pytest.UsageError(str(error)) from error
            raise


class Village(pytest.Collector):
    """All characters of a registry."""

    def collect(self) -> Iterator[pytest.Item]:
        rows = self.registry.residents(brief=True)
        yield Everybody.from_parent(self, name="(everybody)")
        for row in rows:
            yield Resident.from_parent(self, name=row.name)

    @cached_property
    def registry(self) -> Any:
        from registry.layout import Layout
        from registry.store import Registry

        home = self.config.getoption("--neeko-home")
        return Registry(Layout(Path(home).expanduser().absolute()) if home else Layout.default())

    @property
    def document(self) -> dict[str, Any]:
        """What the check found; it runs once, and what goes wrong is everybody's error."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    @cached_property
    def _outcome(self) -> dict[str, Any] | Exception:
        try:
            return self._checked()
        except Exception as error:  # noqa: BLE001  kept, to be raised for each
            return error

    def _checked(self) -> dict[str, Any]:
        from neekoctl.checks.checking import check
        from neekoctl.checks.scope import Scope
        from neekoctl.checks.tolerances import FILE, tolerances

        named, usual = self.config.getoption("--neeko-tolerances"), self.config.rootpath / FILE
        file = Path(named) if named else usual if usual.is_file() else None
        return check(self.registry, Scope(), tolerances(file, []), say=lambda _: None, report=lambda _: None)


class Resident(pytest.Item):
    """One character is who it was."""

    def runtest(self) -> None:
        assert isinstance(self.parent, Village)
        row = next((each for each in self.parent.document["characters"] if each["name"] == self.name), None)
        if row is None:
            pytest.skip(f"{self.name} moved out during the check")
        if row["regressed"]:
            raise Changed(row["complaint"])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A change is a sentence; anything else is an error with its traceback."""
        return str(excinfo.value) if _is_sentence(excinfo.value) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        return "neekoctl", None, self.name


class Everybody(Resident):
    """What is nobody's alone: the gate as a whole; and that there was somebody to check at all."""

    def runtest(self) -> None:
        assert isinstance(self.parent, Village)
        from neekoctl.checks.screen import unjudged

        sections = self.parent.document["sections"]
        for name, section in sections.items():
            for words in unjudged(name, section):
                warnings.warn(pytest.PytestWarning(words), stacklevel=1)
        if common := [words for section in sections.values() for words in section["common"]]:
            raise Changed("; ".join(common))


class Changed(AssertionError):
    """Somebody is not as on the day of onboarding."""


def _is_sentence(error: BaseException) -> bool:
    from registry.errors import NeekoError

    return isinstance(error, (Changed, NeekoError))
