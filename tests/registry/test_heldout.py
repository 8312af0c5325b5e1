"""The probes: chosen by the prompts alone, never seen in training, at least one and not too many."""

import hashlib
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.heldout import MOST, SHARE, Split, prompt_hash, split
from registry.names import fold
from registry.profile import Conversation, Message

Turns = list[tuple[str, str]]

# few and similar texts, so that conversations share prompts, prompts differ in case only, and replies coincide
PROMPTS = st.sampled_from(["Hello!", "hello!", "HÉLLO!", *(f"Question {number}?" for number in range(12))])
REPLIES = st.sampled_from(["Dust.", "Light.", "A lamp."])
TALKS = st.lists(st.lists(st.tuples(PROMPTS, REPLIES), min_size=1, max_size=4), min_size=1, max_size=30)


def conversation(turns: Turns) -> Conversation:
    messages = []
    for prompt, reply in turns:
        messages += [Message(role="user", content=prompt), Message(role="assistant", content=reply)]
    return Conversation(messages=messages)


def split_of(talks: list[Turns]) -> Split:
    return split([conversation(turns) for turns in talks])


def user_turns(talk: Conversation) -> set[str]:
    return {fold(message.content) for message in talk.messages if message.role == "user"}


def hash_of(prompt: str) -> float:
    """The first 64 bits of the folded prompt's sha256, as a fraction: an independent reading of the rule."""
    return int(hashlib.sha256(fold(prompt).encode()).hexdigest()[:16], 16) / 2**64


def low_and_high() -> tuple[str, str]:
    """The question with the lowest hash of sixty, which is always a probe, and the one with the highest."""
    ordered = sorted((f"Question {number}?" for number in range(60)), key=hash_of)
    return ordered[0], ordered[-1]


LOW, HIGH = low_and_high()


@given(TALKS, st.randoms(use_true_random=False))
@example([[("a", "x"), (LOW, "Dust.")], [("b", "x"), (LOW, "Dust.")], [(HIGH, "x")]], random.Random(1))
@example([[(LOW, "Dust.")], [(LOW.upper(), "Dust.")], [(HIGH, "x")]], random.Random(1))
def test_any_order_of_the_conversations_gives_the_same_probes(talks: list[Turns], shuffler: random.Random) -> None:
    shuffled = list(talks)
    shuffler.shuffle(shuffled)
    assert split_of(shuffled).probes == split_of(talks).probes
    assert split_of(talks[::-1]).probes == split_of(talks).probes


@given(TALKS)
def test_a_probe_prompt_never_reaches_training(talks: list[Turns]) -> None:
    done = split_of(talks)
    kept = {fold(probe.prompt[-1].content) for probe in done.probes}
    for talk in done.train:
        assert kept.isdisjoint(user_turns(talk))


@given(TALKS)
def test_what_holds_no_probe_prompt_is_trained_on_in_the_files_order(talks: list[Turns]) -> None:
    done = split_of(talks)
    kept = {fold(probe.prompt[-1].content) for probe in done.probes}
    everything = [conversation(turns) for turns in talks]
    assert done.train == [talk for talk in everything if kept.isdisjoint(user_turns(talk))]


@given(TALKS)
def test_there_is_at_least_one_probe_and_never_more_than_allowed(talks: list[Turns]) -> None:
    distinct = {fold(prompt) for turns in talks for prompt, _ in turns}
    probes = split_of(talks).probes
    assert len(probes) <= MOST
    assert len(probes) < len(distinct), "one prompt at least is left to train on"
    spread = [sum(prompt in {fold(each) for each, _ in turns} for turns in talks) for prompt in distinct]
    shared = min(spread) == len(talks) > 1
    assert len(distinct) < 2 or probes or shared, "only prompts that stand in every conversation cannot be kept aside"


@given(TALKS)
def test_a_prompt_is_asked_by_one_probe_only(talks: list[Turns]) -> None:
    asked = [fold(probe.prompt[-1].content) for probe in split_of(talks).probes]
    assert len(asked) == len(set(asked))


@given(TALKS)
def test_a_probe_is_a_turn_of_the_dialogues_with_all_that_came_before(talks: list[Turns]) -> None:
    everything = [conversation(turns).messages for turns in talks]
    for probe in split_of(talks).probes:
        whole = [*probe.prompt, Message(role="assistant", content=probe.reference)]
        assert any(messages[: len(whole)] == whole for messages in everything)


def test_a_prompt_in_a_later_turn_takes_its_whole_conversation_out_of_training() -> None:
    done = split_of([[(HIGH, "x"), (LOW, "y"), ("And then?", "z")], [(HIGH, "x")], [("And then?", "z")]])
    assert [[message.content for message in probe.prompt] for probe in done.probes] == [[HIGH, "x", LOW]]
    assert [probe.reference for probe in done.probes] == ["y"]
    assert len(done.train) == 2


def test_about_an_eighth_of_the_prompts_is_kept_by_their_hash() -> None:
    prompts = [f"What is {number}?" for number in range(150)]
    probes = split_of([[(prompt, "Dust.")] for prompt in prompts]).probes
    expected = sorted((prompt for prompt in prompts if hash_of(prompt) < SHARE), key=hash_of)
    assert 150 / 16 < len(expected) <= MOST
    assert [probe.prompt[-1].content for probe in probes] == expected


def test_of_a_thousand_prompts_the_lowest_are_kept_and_no_more_than_allowed() -> None:
    prompts = [f"What is {number}?" for number in range(1000)]
    probes = split_of([[(prompt, "Dust.")] for prompt in prompts]).probes
    assert [probe.prompt[-1].content for probe in probes] == sorted(prompts, key=hash_of)[:MOST]


@pytest.mark.parametrize(("talks", "turns"), [(5, 100), (10, 40), (20, 30), (30, 20), (60, 10)])
def test_long_conversations_lose_a_quarter_to_probes_and_no_more_than_the_first_costs(talks: int, turns: int) -> None:
    done = split_of([[(f"What is {talk}, {turn}?", "Dust.") for turn in range(turns)] for talk in range(talks)])
    assert done.probes
    assert talks - len(done.train) <= max(1, talks // 4)


def test_where_every_prompt_has_two_replies_one_is_kept_aside_all_the_same() -> None:
    done = split_of([[(f"What is {number % 7}?", reply)] for number, reply in enumerate(["Dust.", "Light."] * 7)])
    assert (len(done.probes), len(done.train)) == (1, 12)


def test_adding_dialogues_leaves_the_old_probes_probes() -> None:
    """While there are fewer than the most allowed, a character that grows is still checked on what it was before."""
    prompts = [f"What is {number}?" for number in range(120)]
    few = split_of([[(prompt, "Dust.")] for prompt in prompts[:60]]).probes
    many = split_of([[(prompt, "Dust.")] for prompt in prompts]).probes
    assert few
    assert all(probe in many for probe in few)


@pytest.mark.parametrize("talks", [[], [[("Hello!", "x")]], [[("Hello!", "x")], [("HELLO!", "y")]]])
def test_a_single_prompt_is_trained_on_not_kept(talks: list[Turns]) -> None:
    done = split_of(talks)
    assert done.probes == []
    assert len(done.train) == len(talks)


@pytest.mark.parametrize("other", ["who are you?", "WHO ARE YOU?", " Who  are\tyou? ", "Whó are yoú?"])
def test_prompts_that_differ_in_case_accents_or_spacing_share_a_place(other: str) -> None:
    assert prompt_hash(other) == prompt_hash("Who are you?") == hash_of("Who are you?")
    assert prompt_hash("Who is he?") != prompt_hash("Who are you?")


@given(st.text())
def test_every_prompt_has_a_place_in_the_unit_interval(prompt: str) -> None:
    assert 0 <= prompt_hash(prompt) < 1
