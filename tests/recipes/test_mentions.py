"""Who is named and how: the table of conflicting wishes, slips, parts of names, quotations, and long or odd texts."""

import time

import pytest

from recipes.manner import Manner
from recipes.mentions import Names

PEOPLE = {
    1: ["Julius Caesar", "Caesar"],
    2: ["Cleopatra VII", "Cleopatra", "Kleopatra"],
    3: ["Ludwig van Beethoven", "Louis"],
    4: ["孙悟空", "美猴王"],
    5: ["Will Hope", "Will"],
    6: ["Chloé O'Brien"],
    7: ["Martin Luther King", "MLK"],
    8: ["Martin Eden"],
    9: ["राम"],
    10: ["महात्मा गांधी"],
    11: ["HAL 9000"],
    12: ["Sherlock Holmes"],
    13: ["Count Dracula"],
    14: ["Doctor Faustus"],
    15: ["Jean-Luc Picard", "Captain"],
}
NAMES = Names(PEOPLE)


def found(text: str) -> list[tuple[set[int], str]]:
    return [(set(each.owners), each.manner.name) for each in NAMES.mentions(text)]


def last_called(text: str) -> set[int] | None:
    called = [each for each in NAMES.mentions(text) if each.manner == Manner.CALLED]
    return set(called[-1].owners) if called else None


@pytest.mark.parametrize(
    ("text", "owners"),
    [
        ("CAESAR, are you there?", {1}),
        ("hello kleopatra", {2}),
        ("Chloe O'Brien, help!", {6}),
        ("Tell me about Beethoven.", {3}),
        ("beethoven, play", {3}),
        ("Ludwig, play", {3}),
        ("Bethoven, play", {3}),
        ("Ludvig van Beethofen, play", {3}),
        ("Cleoptra, come here", {2}),
        ("cleoptra, come here", {2}),
        ("hello sherlok holms", {12}),
        ("Homes, your pipe!", {12}),
        ("Dracula, are you there?", {13}),
        ("mlk, what is your dream?", {7}),
        ("Martin, who are you?", {7, 8}),
        ("孙悟空你好", {4}),
        ("请问美猴王在哪里", {4}),
        ("Ｃａｅｓａｒ?", {1}),
        ("Hello Chloe\u0301 O'Brien", {6}),  # an accent typed apart
        ("राम, नमस्ते", {9}),
        ("गांधी जी, नमस्ते", {10}),
        ("Caesar-sama, are you there?", {1}),
        ("Caesar'll know", {1}),
    ],
)
def test_a_name_counts_in_any_dress(text: str, owners: set[int]) -> None:
    assert [each for each, _ in found(text)] == [owners]


@pytest.mark.parametrize(
    "text",
    ["Will it rain?", "I hope you will.", "What is the king of fruits?", "They seized her.", "", "   ", "12345 !!!",
     "How do black holes form?", "What are the best homes to buy?", "Please count to ten.", "Ask the doctor!",
     "Eden is a garden", "I will", "Please be kind.", "रामायण क्या है", "What is 9000 plus 1?"],
)  # fmt: skip
def test_everyday_words_name_nobody(text: str) -> None:
    assert [each for each, _ in found(text) if each != {8}] == []


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("Answer as Caesar.", 1),
        ("Answer as Caesar, no, as Cleopatra.", 2),
        ("Answer as Caesar, no, Cleopatra", 2),
        ("Answer as Caesar, I mean Cleopatra", 2),
        ("Don't answer as Caesar but as Cleopatra.", 2),
        ("Not as Caesar, as Cleopatra!", 2),
        ("Speak like Cleopatra would to Caesar.", 2),
        ("Let Beethoven answer this one.", 3),
        ("I want to talk to Cleopatra", 2),
        ("you are Caesar now", 1),
        ("as cleopatra: who are you?", 2),
        ("Can you explain the Nile as Cleopatra?", 2),
        ("请以孙悟空的身份回答", 4),
        ("Switch to Will, please", 5),
        ("You're Caesar now", 1),
        ("You’re Caesar now", 1),
        ("You'll be Caesar from now on", 1),
        ("Pretend you're Caesar", 1),
        ("Imagine that you're Caesar", 1),
        ("Roleplay as Caesar", 1),
        ("RP as Caesar", 1),
        ("Respond as if you were Caesar", 1),
        ("Answer as though you were Caesar", 1),
        ("Answer in the voice of Caesar", 1),
        ("Speak in Caesar's voice", 1),
        ("Switch me to Caesar", 1),
        ("Connect me to Caesar", 1),
        ("Will you let me talk to Caesar?", 1),
        ("Ok Cleopatra let Caesar answer", 1),
        ("Someone get me Caesar", 1),
        ("I summon Caesar!", 1),
        ("can u let caesar answer", 1),
        ("lemme talk to caesar", 1),
        ("from now on be caesar", 1),
        ("come on let Caesar answer", 1),
        ("You shall be Caesar", 1),
        ("People bore me and now we want to talk to Caesar", 1),
        ("I need someone who is clever to talk to Caesar", 1),
    ],
)
def test_whoever_is_called_upon_last_is_meant(text: str, owner: int) -> None:
    assert last_called(text) == {owner}


@pytest.mark.parametrize(
    ("text", "manners"),
    [
        ("Cleopatra, what do you think of Caesar?", [({2}, "ADDRESSED"), ({1}, "TOPIC")]),
        ("What do you think of Caesar?", [({1}, "TOPIC")]),
        ("Can you discuss your relationship with Julius Caesar?", [({1}, "TOPIC")]),
        ("What do you think, Caesar?", [({1}, "ADDRESSED")]),
        ("Caesar, Cleopatra: who was braver?", [({1}, "ADDRESSED"), ({2}, "ADDRESSED")]),
        ("Who was braver, Caesar or Cleopatra", [({1}, "NAMED"), ({2}, "NAMED")]),
        ("Caesar's death changed your life.", [({1}, "TOPIC")]),
        ("anyone but Caesar", [({1}, "REFUSED")]),
        ("Do not answer as Caesar.", [({1}, "REFUSED")]),
        ("Don’t let Caesar answer.", [({1}, "REFUSED")]),
        ("I don't want to talk to Caesar.", [({1}, "REFUSED")]),
        ("Never speak like Caesar again", [({1}, "REFUSED")]),
        ("I can't wait to talk to Caesar", [({1}, "CALLED")]),
        ("Can't I talk to Caesar?", [({1}, "CALLED")]),
        ("Isn't it time to let Caesar speak?", [({1}, "CALLED")]),
        ("I don't understand so let Caesar explain.", [({1}, "CALLED")]),
        ("That is not funny - be Caesar now", [({1}, "CALLED")]),
        ("It's not for you (ask Caesar).", [({1}, "CALLED")]),
        ("Never mind, let Caesar answer.", [({1}, "CALLED")]),
        ("I don't want you I want Caesar", [({1}, "CALLED")]),
        ("Caesar\u00a0: what now\u202f?", [({1}, "ADDRESSED")]),
        ("Captain, where are we?", [({15}, "ADDRESSED")]),
        ("captain!", [({15}, "ADDRESSED")]),
        ("The captain of the team left.", []),
        ("Why don't we let Caesar answer?", [({1}, "CALLED")]),
        ("Do not be shy, answer as Caesar", [({1}, "CALLED")]),
        ("Caesar, did you ever talk to Cleopatra?", [({1}, "ADDRESSED"), ({2}, "TOPIC")]),
        ("Caesar, what would you ask Cleopatra?", [({1}, "ADDRESSED"), ({2}, "NAMED")]),
        ("Caesar, why did you let Cleopatra go?", [({1}, "ADDRESSED"), ({2}, "NAMED")]),
        ("Caesar, would you answer as Cleopatra?", [({1}, "ADDRESSED"), ({2}, "CALLED")]),
        ("Would you rather be Cleopatra?", [({2}, "NAMED")]),
        ("But Cleopatra had a snake", [({2}, "NAMED")]),
        ("Actually, Cleopatra, tell me", [({2}, "CALLED")]),
        ("Anybody but Caesar", [({1}, "REFUSED")]),
        ("Everybody but Caesar", [({1}, "REFUSED")]),
        ("You cannot be Caesar", [({1}, "REFUSED")]),
        ("You are no Caesar", [({1}, "REFUSED")]),
        ("I refuse to talk to Caesar", [({1}, "REFUSED")]),
        ("I don't want Caesar", [({1}, "REFUSED")]),
        ("I don’t want to hear Caesar", [({1}, "REFUSED")]),
        ("I'm not talking to Caesar", [({1}, "REFUSED")]),
        ("Don't speak in Caesar's voice", [({1}, "REFUSED")]),
        ("Hello Caesar and Cleopatra", [({1}, "ADDRESSED"), ({2}, "ADDRESSED")]),
        ("Answer as Caesar or Cleopatra", [({1, 2}, "CALLED")]),
        ("I want to talk to Caesar and Cleopatra", [({1, 2}, "CALLED")]),
        ("Not Caesar or Cleopatra!", [({1, 2}, "REFUSED")]),
        ("Caesar and Cleopatra", [({1}, "NAMED"), ({2}, "NAMED")]),
        ("We have Caesar, Cleopatra, and Dracula.", [({1}, "NAMED"), ({2}, "NAMED"), ({13}, "NAMED")]),
        ("Compare them: Caesar, Cleopatra, Dracula", [({1}, "NAMED"), ({2}, "NAMED"), ({13}, "NAMED")]),
        ("What do you think of Caesar, Cleopatra?", [({1}, "TOPIC"), ({2}, "ADDRESSED")]),
        ("- Caesar\n- Cleopatra", [({1}, "NAMED"), ({2}, "NAMED")]),
        ("1. Caesar\n2. Cleopatra", [({1}, "NAMED"), ({2}, "NAMED")]),
        ("Visit www.caesar.com or ask@caesar.com", []),
    ],
)
def test_spoken_to_is_told_from_spoken_about(text: str, manners: list[tuple[set[int], str]]) -> None:
    assert found(text) == manners


@pytest.mark.parametrize(
    "text",
    ["Hello Caesar.", "Good morning Caesar.", "Hi Caesar \U0001f60a", "Caesar... are you there?",
     "Caesar - who did it?", "Caesar\nwho did it?", "**Caesar**, who did it?", "@caesar what do you think?",
     "hey caesar how are you",
     "caesar what do you think", "ok caesar, your turn", "Caesar please", "What about you caesar?", "bye caesar",
     "Your turn Caesar", "What do you think, my dear Caesar?", "Good morning, Mr. Caesar", "Mr Caesar, who did it?",
     "Caesar、who did it?", "*turns to Caesar* What do you think?", "*smiles at old Caesar* Are you well?",
     "What do you think about that Caesar?", "Did you know that Caesar?", "Are you sure Caesar?", "Tell me more Caesar",
     "to caesar: how are you", "Hello there Caesar", "Good night Caesar", "Hiya Caesar", "So Caesar what now?",
     "hmm caesar what do you think", "Caesar is that you?", "caesar what's up", "No Caesar, that's wrong",
     "كيف حالك، Caesar؟", "क्या हाल है, Caesar।", '12" pizza, Caesar, or the 14" one?', "what do you think caesar",
     "hey caesar loved your speech", "caesar, can you help me", "I have an idea, Caesar, let's go",
     "Your turn, Caesar", "One question, Caesar"],
)  # fmt: skip
def test_whoever_is_spoken_to_needs_no_comma(text: str) -> None:
    assert found(text) == [({1}, "ADDRESSED")]


@pytest.mark.parametrize(
    ("text", "manner"),
    [("It must be Caesar.", "NAMED"), ("You let Caesar down", "NAMED"),
     ("They say you are as clever as Caesar", "NAMED"), ("If you ask Caesar, he will deny it", "NAMED"),
     ("You play like Caesar!", "TOPIC"),
     ("Tell me about men like Caesar", "NAMED"), ("Du bist klüger als Caesar", "NAMED"),
     ("Antworte als Caesar", "CALLED"), ("Als Caesar: wer bist du?", "CALLED"), ("Could you ask Caesar?", "CALLED"),
     ("How did you meet Dr. Caesar?", "TOPIC"), ("Not as Dr. Caesar!", "REFUSED"),
     ("What do you think of Mr. Hyde and Caesar?", "TOPIC"), ("Can you tell me about Caesar?", "NAMED"),
     ("Tell me about Caesar's childhood", "NAMED"), ("What was Caesar's last word?", "NAMED"),
     ("hey caesar's dog", "NAMED"), ("*looks at Caesar's hands* Do you write?", "TOPIC"),
     ("*thinks of Caesar* Do you know him?", "TOPIC"), ("Caesar (he was a general) died.", "NAMED"),
     ("The killer could be Caesar", "NAMED"), ("It could be Caesar", "NAMED"), ("That would be Caesar", "NAMED"),
     ("It will be Caesar", "NAMED"), ("I'll be Caesar", "NAMED"), ("I let Caesar go", "NAMED"),
     ("We let Caesar go", "NAMED"), ("Who let Caesar out?", "NAMED"), ("So you are Caesar?", "NAMED"),
     ("I think you are Caesar", "NAMED"), ("He wants to talk to Caesar", "NAMED"),
     ("My mother wants to talk to Caesar", "NAMED"), ("She would like to talk to Caesar", "NAMED"),
     ("Someone came back to Caesar", "NAMED"), ("People listen to Caesar", "NAMED"),
     ("as Caesar said, numbers matter", "NAMED"), ("It rained, as Caesar had foreseen", "NAMED"),
     ("As Caesar would say, numbers matter", "NAMED"), ("Reply as soon as Caesar comes", "NAMED"),
     ("I like generals, e.g. Caesar.", "NAMED"), ("I don't need Caesar's help", "NAMED"),
     ("Why do you speak in Caesar's voice?", "TOPIC"),
     ("I have to talk to Caesar tomorrow.", "NAMED"), ("I tried to talk to Caesar but he ran away.", "NAMED"),
     ("Let Caesar have his crown back.", "NAMED"), ("I want Caesar dead", "NAMED"),
     ("You have to let Caesar go.", "NAMED"),
     ("I need Caesar for my project.", "NAMED"), ("Should I ask Caesar to the feast?", "NAMED"),
     ("Tell me why you like Caesar.", "TOPIC"), ("It is time to let Caesar speak", "CALLED"),
     ("I want Caesar to answer", "CALLED"), ("Ask Caesar what he saw", "CALLED"), ("Give me Caesar, please", "CALLED"),
     ("Can I be Caesar?", "NAMED"), ("Let me be Caesar.", "NAMED"), ("I'd like to be Caesar.", "NAMED"),
     ("Can I talk to you as Caesar?", "NAMED"), ("I want to play as Caesar.", "NAMED"), ("It's me, Caesar.", "NAMED"),
     ("I want you to be Caesar", "CALLED"), ("Your brother, Caesar, misses you.", "NAMED"),
     ("I have a dog, Caesar, who loves carrots.", "NAMED"), ("ok caesar said we should leave", "NAMED"),
     ("所以Caesar很聪明", "NAMED"), ("我要扮演Caesar", "NAMED"), ("不要扮演Caesar", "REFUSED"),
     ("别让Caesar回答", "REFUSED"),
     ("你现在是Caesar", "CALLED"), ("请让Caesar回答", "CALLED")],
)  # fmt: skip
def test_what_is_told_of_somebody_calls_upon_nobody(text: str, manner: str) -> None:
    assert found(text) == [({1}, manner)]


OTHERS = Names({1: ["John Watson"], 2: ["Louis XIV"], 3: ["Ada Lovelace"], 4: ["Vincent van Gogh"], 5: ["The Doctor"],
                6: ["Spider-Man"], 7: ["J.A.R.V.I.S."], 8: ["D.Va"], 9: ["Light Yagami"], 10: ["Joan of Arc"],
                11: ["Alexander the Great"], 12: ["Winnie the Pooh"], 13: ["佐々木小次郎"], 14: ["Rei"], 15: ["Thanos"],
                16: ["Harry Potter", "The Boy Who Lived"], 17: ["Jon Snow"], 18: ["Obi\u2011Wan Kenobi"],
                19: ["Iron Man"]})  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["Answer as John Lennon", "Who was Louis Pasteur?", "Louis XVI, bonjour", "My van broke down.",
     "Turn on the light!", "Great!", "Great, thanks", "The arc of history", "Thanks!", "Thanks, that helps.",
     "Hurry!", "Will it snow?",
     "What is a great idea?", "Switch to English please", "Who are you?", "And who are you?", "Thanks, man!",
     "yo man", "Man, I'm tired", "I lived in Rome"],
)  # fmt: skip
def test_words_and_strangers_that_share_a_part_of_a_name_are_nobody(text: str) -> None:
    assert OTHERS.mentions(text) == []


@pytest.mark.parametrize(
    ("text", "owner"),
    [("Louis, bonjour", 2), ("Has Watson Tea?", 1), ("John Watson, hi", 1), ("vincent van gogh, hi", 4),
     ("Gogh, hi", 4), ("hello doctor", 5), ("Doctor, where is it?", 5), ("Spider Man, help", 6), ("spiderman, help", 6),
     ("Jarvis, lights", 7), ("hey dva!", 8), ("Light, what are you writing?", 9), ("Answer as Light", 9),
     ("Joan, hi", 10), ("Alexander the Great, hi", 11), ("Pooh, honey!", 12), ("佐々木小次郎さん", 13),
     ("我想和Rei说话", 14),
     ("Rei你好", 14), ("Tell me about Snow", 17), ("Snow, do you love her?", 17), ("obi-wan, hi", 18),
     ("iron man, hi", 19), ("The Boy Who Lived, hi", 16)],
)  # fmt: skip
def test_a_name_is_found_as_people_type_it(text: str, owner: int) -> None:
    assert [set(each.owners) for each in OTHERS.mentions(text)] == [{owner}]


EVERYDAY = Names({1: ["Kim Possible"], 2: ["Frank Castle"], 3: ["Link"], 4: ["Miles Morales"], 5: ["Data"],
                  6: ["Guy Fawkes"], 7: ["Sunny"], 8: ["Jane Austen"], 9: ["Mulan"], 10: ["Athena"], 11: ["Mr. Spock"],
                  12: ["Aslan"], 13: ["Medea"], 14: ["Severus Snape"], 15: ["Sigmund Freud"], 16: ["Circe"],
                  17: ["Plato"], 18: ["Rose Tyler"], 19: ["Sherlock Holmes"]})  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["That is not possible", "To be frank, I am tired", "give me the link", "How many miles?", "What data do you have?",
     "that guy is rude", "It's sunny today", "hey data is missing", "ok link to it"],
)  # fmt: skip
def test_an_everyday_word_written_small_decides_nothing(text: str) -> None:
    assert EVERYDAY.mentions(text) == []


@pytest.mark.parametrize(
    "text",
    ["I live in Austin", "Is Milan nice?", "I flew to Athens.", "Is the Stock falling?", "The Asian market",
     "The Media!", "Shape it well", "Is it Fraud?", "Circle the answer", "Plate or bowl?", "I like Roses",
     "Homes are expensive"],
)  # fmt: skip
def test_another_word_or_place_is_no_slip_of_a_name(text: str) -> None:
    assert EVERYDAY.mentions(text) == []


@pytest.mark.parametrize(
    ("text", "owner"),
    [("Frank, are you tired?", 2), ("link, where are you?", 3), ("Tell me about Data", 5), ("Jane Austin, hi", 8),
     ("Answer as Platto", 17), ("Frank how are you", 2), ("speak as frank", 2), ("hey frank what's up", 2),
     ("how are you link", 3), ("ok data can you help me", 5), ("can i talk to link", 3)],
)  # fmt: skip
def test_a_name_that_is_an_everyday_word_or_nearly_one_is_still_found(text: str, owner: int) -> None:
    assert [set(each.owners) for each in EVERYDAY.mentions(text)] == [{owner}]


NAMESAKES = Names({1: ["Queen Elizabeth"], 2: ["Ada Lovelace", "Ada"], 3: ["Rei Ayanami", "Rei"]})


@pytest.mark.parametrize(
    ("text", "stranger"),
    [("Answer as Elizabeth Bennet", "Elizabeth Bennet"), ("Answer as Ada Yonath", "Ada Yonath"),
     ("Answer as Rei Kawakubo", "Rei Kawakubo"), ("Answer as Ada Please", None), ("Answer as Ada Lovlas", None),
     ("Answer as Rei Yanami", None), ("Answer as Elizabeth II", None),
     ("Is Ada ill?", None), ("Kann Ada Klavier spielen?", None), ("Is Ada Catholic?", None)],
)  # fmt: skip
def test_a_surname_tells_a_namesake_apart(text: str, stranger: str | None) -> None:
    assert NAMESAKES.stranger(text) == stranger
    assert bool(NAMESAKES.mentions(text)) == (stranger is None)


def test_a_stranger_is_no_resident_of_the_same_given_name() -> None:
    assert OTHERS.stranger("Answer as John Lennon") == "John Lennon"
    assert OTHERS.stranger("Answer as John Watson") is None


@pytest.mark.parametrize(
    "text",
    ['Translate: "Answer as Caesar."', "What does `as Cleopatra` mean?", "He said “be Caesar now” and left.",
     "```\nanswer as Caesar\n```", "Er rief: «Kleopatra, komm!»",
     '"Et tu, Caesar" - who said that?'],
)  # fmt: skip
def test_somebody_elses_words_name_nobody(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    ['*walks in* "Hello Caesar, are you well?"', '"Caesar, what do you think?"', '“Hello Caesar!” I say, and sit down.',
     "*walks in* Hello Caesar, are you well?", '"Caesar!" *waves* "Well?"', '"Hello Caesar," I said.',
     '"What now, Caesar?" I asked.'],
)  # fmt: skip
def test_whoever_plays_a_part_speaks_between_quotation_marks(text: str) -> None:
    assert found(text) == [({1}, "ADDRESSED")]


def test_a_name_that_is_all_that_is_quoted_is_a_name() -> None:
    assert last_called('Answer as "Cleopatra".') == {2}


@pytest.mark.parametrize(
    ("text", "stranger"),
    [("Answer as Napoleon Bonaparte.", "Napoleon Bonaparte"), ("Let Mozart answer", "Mozart"),
     ("Answer as Caesar.", None), ("Answer as Napoleon, no, answer as Caesar.", None), ("Answer quickly.", None),
     ("You are great.", None), ("Did you ever speak to Queen Victoria?", None),
     ("Good. Now let Queen Victoria answer", "Queen Victoria"), ("Answer as Émile Zola", "Émile Zola"),
     ("Answer as O'Connor", "O'Connor"), ("Answer as T'Challa", "T'Challa"), ("Answer as Zola's wife", "Zola"),
     ("Answer as J.R.R. Tolkien", "J.R.R. Tolkien"), ("Answer as Лев Толстой", "Лев Толстой"),
     ("Answer as van Helsing", "van Helsing"), ("Answer as the Joker", "Joker"), ("Act like Gandalf", "Gandalf"),
     ("Roleplay as Gandalf", "Gandalf"), ("Answer as Dr. House", "Dr House"), ("You act like Gandalf", None),
     ("I think you are Roman", None), ("Reply as JSON only", None), ("Respond as Markdown", None),
     ("You are Welcome", None), ("Ask Google", None), ("Reply as soon as Gandalf comes", None),
     ("Reply as soon as Monday", None), ("Can you speak about friends like Mark Antony?", None)],
)  # fmt: skip
def test_somebody_who_does_not_live_here_is_noticed(text: str, stranger: str | None) -> None:
    assert NAMES.stranger(text) == stranger


@pytest.mark.parametrize(
    ("text", "stranger"),
    [("You are British, aren't you?", None), ("I will ask Brutus.", None), ("Let Rome burn!", None),
     ("You should talk to Brutus.", None), ("Switch to Brutus", "Brutus"), ("Now answer as Brutus.", "Brutus")],
)  # fmt: skip
def test_in_a_conversation_only_a_part_to_play_calls_upon_a_stranger(text: str, stranger: str | None) -> None:
    assert NAMES.stranger(text, in_conversation=True) == stranger


def test_what_is_said_besides_names() -> None:
    assert NAMES.besides_names("Caesar, please") == ["please"]
    assert NAMES.besides_names("Caesar, how old are you?") == ["how", "old", "are", "you"]


LONG = {"one-word": "x" * 100_000, "as": "as " * 33_000, "names": "Caesar " * 15_000, "quotes": '"' * 99_999,
        "apostrophes": "a'" * 50_000, "calls": "answer as " * 10_000, "greetings": "oh my dear " * 9_000}  # fmt: skip


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_hundred_kilobytes_are_read_quickly(text: str) -> None:
    started = time.monotonic()
    NAMES.mentions(text)
    NAMES.stranger(text)
    assert time.monotonic() - started < 3.0
