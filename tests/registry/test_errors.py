"""The error tree: as it is drawn, with the exit codes and the builtins that callers may rely on."""

import inspect
import re

import pytest

from registry import errors
from registry.errors import Fault, NeekoError, ProfileError, UnknownCharacter, UsageError


def test_the_drawn_tree_is_the_real_one() -> None:
    tree = {"NeekoError": "Exception"}
    last = ""
    for line in (errors.__doc__ or "").splitlines():
        if drawn := re.match(r"    (│   )?[├└]── (\w+)", line):
            parent = last if drawn[1] else "NeekoError"
            tree[drawn[2]] = parent
            last = last if drawn[1] else drawn[2]
    classes = {name: each for name, each in vars(errors).items() if inspect.isclass(each) and each is not Fault}
    real = {name: each.__bases__[0].__name__ for name, each in classes.items() if issubclass(each, NeekoError)}
    assert tree == real


def test_only_a_usage_error_leaves_with_2() -> None:
    assert UsageError.exit_code == 2
    others = set(NeekoError.__subclasses__()) - {UsageError}
    assert {each.exit_code for each in others} == {1}


def test_an_unknown_character_is_a_lookup_error_that_names_the_nearest() -> None:
    error = UnknownCharacter("Newtn", ["Newton", "Norton"])
    assert isinstance(error, LookupError)
    assert str(error) == "Nobody here is called 'Newtn'; did you mean Newton or Norton?"
    assert "neekoctl list" in str(UnknownCharacter("Zzz", []))


@pytest.mark.parametrize(("count", "words"), [(1, "1 fault:"), (3, "3 faults:")])
def test_a_profile_error_counts_and_shows_every_fault(count: int, words: str) -> None:
    faults = [Fault(f"a.yaml line {number}", "name", "is required") for number in range(1, count + 1)]
    message = str(ProfileError(faults))
    assert words in message.splitlines()[0]
    assert message.splitlines()[1:] == [f"  a.yaml line {number}: name: is required" for number in range(1, count + 1)]


def test_a_fault_without_a_field_shows_no_empty_one() -> None:
    assert str(Fault("a.yaml", "", "is a folder")) == "a.yaml: is a folder"
