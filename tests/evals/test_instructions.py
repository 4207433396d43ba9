"""IFEval's 25 instructions: strict and loose rules, sentences, words, faults."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.evals.instruction_rules import is_in, split_sentences, split_words
from benchcore.evals.tasks.ifeval import (
    INSTRUCTIONS,
    check_needs,
    followed,
    followed_loosely,
)

pytestmark = pytest.mark.accuracy

EXISTENCE = "keywords:existence"
FREQUENCY = "keywords:frequency"
FORBIDDEN = "keywords:forbidden_words"
LETTER = "keywords:letter_frequency"
LANGUAGE = "language:response_language"
SENTENCES = "length_constraints:number_sentences"
PARAGRAPHS = "length_constraints:number_paragraphs"
WORDS = "length_constraints:number_words"
NTH = "length_constraints:nth_paragraph_first_word"
PLACEHOLDERS = "detectable_content:number_placeholders"
POSTSCRIPT = "detectable_content:postscript"
BULLETS = "detectable_format:number_bullet_lists"
CONSTRAINED = "detectable_format:constrained_response"
HIGHLIGHTS = "detectable_format:number_highlighted_sections"
SECTIONS = "detectable_format:multiple_sections"
JSON = "detectable_format:json_format"
TITLE = "detectable_format:title"
TWO = "combination:two_responses"
REPEAT = "combination:repeat_prompt"
END = "startend:end_checker"
QUOTATION = "startend:quotation"
CAPITAL_WORDS = "change_case:capital_word_frequency"
CAPITAL = "change_case:english_capital"
LOWERCASE = "change_case:english_lowercase"
COMMA = "punctuation:no_comma"

LESS, LEAST = "less than", "at least"
ENGLISH = "The river rises in the mountains and flows slowly down to the sea."
GERMAN = "Der Fluss entspringt in den Bergen und fließt langsam hinab zum Meer."


def frequency(count, relation, keyword="sea"):
    return {"keyword": keyword, "frequency": count, "relation": relation}


def letter(sign, count, relation=LEAST):
    return {"letter": sign, "let_frequency": count, "let_relation": relation}


def capitals(count, relation=LEAST):
    return {"capital_frequency": count, "capital_relation": relation}


def nth(paragraphs, number, word):
    return {"num_paragraphs": paragraphs, "nth_paragraph": number, "first_word": word}


def sections(splitter, count):
    return {"section_spliter": splitter, "num_sections": count}


CASES = [
    # keywords
    (EXISTENCE, {"keywords": ["river", "sea"]}, "RIVERS reach the sea", True),
    (EXISTENCE, {"keywords": ["river", "sea"]}, "a river", False),
    (EXISTENCE, {"keywords": ["colou?r"]}, "Color", True),
    (FREQUENCY, frequency(2, LEAST), "Sea and seaside", True),
    (FREQUENCY, frequency(2, LEAST), "the sea", False),
    (FREQUENCY, frequency(2, LESS), "the sea", True),
    (FREQUENCY, frequency(2, LESS), "sea, sea", False),
    (FREQUENCY, frequency(3, LEAST), "sea, sea", False),
    (FREQUENCY, frequency(1, LEAST, " sea "), "sea", True),
    (FORBIDDEN, {"forbidden_words": ["sea"]}, "the seaside", True),
    (FORBIDDEN, {"forbidden_words": ["lake", "sea"]}, "The Sea.", False),
    (LETTER, letter("E", 3), "eE e", True),
    (LETTER, letter("e", 4), "eE e", False),
    (LETTER, letter("e", 3, LESS), "eE e", False),
    (LETTER, letter("e", 4, LESS), "eE e", True),
    (LETTER, letter("#", 2), "# one\n# two", True),
    (LETTER, letter("!", 2, LESS), "No!", True),
    # language
    (LANGUAGE, {"language": "de"}, GERMAN, True),
    (LANGUAGE, {"language": "de"}, ENGLISH, False),
    (LANGUAGE, {"language": "de"}, "12345 !!", True),  # no letters: cannot be told
    (CAPITAL, {}, ENGLISH.upper(), True),
    (CAPITAL, {}, ENGLISH, False),
    (CAPITAL, {}, GERMAN.upper(), False),
    (CAPITAL, {}, "12345", False),
    (LOWERCASE, {}, ENGLISH.lower(), True),
    (LOWERCASE, {}, ENGLISH, False),
    (LOWERCASE, {}, GERMAN.lower(), False),
    (CAPITAL_WORDS, capitals(3), "NASA and the U.S. said I", True),
    (CAPITAL_WORDS, capitals(4), "NASA and the U.S. said I", False),
    (CAPITAL_WORDS, capitals(1, LESS), "Nasa Said", True),
    (CAPITAL_WORDS, capitals(1, LESS), "A boat", False),
    (CAPITAL_WORDS, capitals(2, LESS), "WELL-KNOWN", True),
    (CAPITAL_WORDS, capitals(2), "DON'T", True),
    # length
    (SENTENCES, {"num_sentences": 2, "relation": LEAST}, "Dr. Day came. He left", True),
    (SENTENCES, {"num_sentences": 3, "relation": LEAST}, "Dr. Day came. He left", False),
    (SENTENCES, {"num_sentences": 3, "relation": LESS}, "Dr. Day came. He left", True),
    (SENTENCES, {"num_sentences": 2, "relation": LESS}, "Dr. Day came. He left", False),
    (WORDS, {"num_words": 3, "relation": LEAST}, "don't go", True),
    (WORDS, {"num_words": 4, "relation": LEAST}, "don't go", False),
    (WORDS, {"num_words": 3, "relation": LESS}, "don't go", False),
    (WORDS, {"num_words": 2, "relation": LESS}, "well_known", True),
    (PARAGRAPHS, {"num_paragraphs": 2}, "One.\n\n***\n\nTwo.", True),
    (PARAGRAPHS, {"num_paragraphs": 2}, "One.\n\nTwo.", False),
    (PARAGRAPHS, {"num_paragraphs": 2}, "***\nOne.\n***\nTwo.\n***", True),
    (PARAGRAPHS, {"num_paragraphs": 2}, "One.***Two.***Three.", False),
    (PARAGRAPHS, {"num_paragraphs": 2}, "One.\n***\n\n***\nTwo.", False),
    (PARAGRAPHS, {"num_paragraphs": 1}, "One.", True),
    (NTH, nth(2, 2, "It"), "One here.\n\nit is", True),
    (NTH, nth(2, 2, "it"), "One here.\n\nIs it", False),
    (NTH, nth(3, 2, "it"), "One here.\n\nit is", False),
    (NTH, nth(2, 1, "one"), "\"'One' here.\n\nit is", False),  # ' is taken off before "
    (NTH, nth(2, 1, "one"), '\'"One," they say.\n\nit is', True),
    (NTH, nth(2, 2, "it"), "One\n\nIt's two", True),
    (NTH, nth(2, 1, "one"), "One\n\n\n\ntwo", True),
    (NTH, nth(2, 2, "two"), "One\n\n\n\ntwo", False),  # the empty piece takes place 2
    (NTH, nth(1, 1, "one"), "One\nline", True),
    (NTH, nth(1, 1, "one"), "One\n\nTwo", False),
    # content
    (PLACEHOLDERS, {"num_placeholders": 2}, "[name], [address], [x]", True),
    (PLACEHOLDERS, {"num_placeholders": 2}, "[name] [x]", True),
    (PLACEHOLDERS, {"num_placeholders": 2}, "[name\nand] [x]", False),
    (PLACEHOLDERS, {"num_placeholders": 2}, "[[name]]", False),
    (POSTSCRIPT, {"postscript_marker": "P.S."}, "Bye.\n\np. s. more", True),
    (POSTSCRIPT, {"postscript_marker": "P.S."}, "Bye.\nPS: more", False),
    (POSTSCRIPT, {"postscript_marker": "P.S."}, "Bye.\nP.S more", False),
    (POSTSCRIPT, {"postscript_marker": "P.P.S"}, "Bye. p.p. s more", True),
    (POSTSCRIPT, {"postscript_marker": "P.P.S"}, "Bye. P.S. more", False),
    (POSTSCRIPT, {"postscript_marker": "Note:"}, "note: more", True),
    (POSTSCRIPT, {"postscript_marker": "Note:"}, "no more", False),
    # format
    (BULLETS, {"num_bullets": 2}, "List:\n* one\n  - two\n", True),
    (BULLETS, {"num_bullets": 2}, "* one\n* two\n* three", False),
    (BULLETS, {"num_bullets": 1}, "**Bold** is none\n*one", True),
    (BULLETS, {"num_bullets": 2}, "- one\n\n---", True),
    (BULLETS, {"num_bullets": 1}, "one - two\n\n\n * three", True),
    (BULLETS, {"num_bullets": 1}, "*\n* one", True),  # the bare star takes the next line
    (BULLETS, {"num_bullets": 0}, "none\n*", True),
    (CONSTRAINED, {}, " Well. My answer is maybe. ", True),
    (CONSTRAINED, {}, "My answer is no.", True),
    (CONSTRAINED, {}, "My answer is yes.", True),
    (CONSTRAINED, {}, "my answer is yes.", False),
    (CONSTRAINED, {}, "My answer is yes", False),
    (HIGHLIGHTS, {"num_highlights": 2}, "*one* and **two**", True),
    (HIGHLIGHTS, {"num_highlights": 2}, "**one** and two", False),
    (HIGHLIGHTS, {"num_highlights": 1}, "** ** * * **** *a\nb*", False),
    (HIGHLIGHTS, {"num_highlights": 2}, "***both***", True),
    (SECTIONS, sections("Section", 2), "Section 1\none\nSection2\ntwo\n Section 3", True),
    (SECTIONS, sections("Section", 3), "Section 1\none\nSection 2\ntwo", False),
    (SECTIONS, sections("SECTION", 1), "Section 1", False),
    (SECTIONS, sections("Day", 1), "Day one", False),
    (JSON, {}, '{"a": [1, null]}', True),
    (JSON, {}, '```json\n{"a": 1}\n```', True),
    (JSON, {}, "```Json\n1\n```", True),
    (JSON, {}, "```JSON\n1```", True),
    (JSON, {}, " ```\n[]\n``` ", True),
    (JSON, {}, "NaN", True),
    (JSON, {}, 'Here: {"a": 1}', False),
    (JSON, {}, "{'a': 1}", False),
    (JSON, {}, "```json\n```", False),
    (JSON, {}, "[" * 200_000, False),
    (TITLE, {}, "<<Rivers>>\ntext", True),
    (TITLE, {}, "<<  >> text <>", False),
    (TITLE, {}, "<<Riv\ners>>", False),
    (TITLE, {}, "<Rivers>", False),
    (TITLE, {}, "<<<>>>", False),
    # combination
    (TWO, {}, "One.\n******\nTwo.", True),
    (TWO, {}, "******\nOne.\n******\nTwo.\n******", True),
    (TWO, {}, "One.\n******\n One. ", False),
    (TWO, {}, "One.******Two.******Three.", False),
    (TWO, {}, "One.\n******\n******\nTwo.", False),
    (TWO, {}, "One.\n***\nTwo.", False),
    (TWO, {}, "One.\n******", False),
    (REPEAT, {"prompt_to_repeat": " Write of rivers. "}, "\nwrite of RIVERS. They flow", True),
    (REPEAT, {"prompt_to_repeat": "Write of rivers."}, "Sure! Write of rivers.", False),
    # startend
    (END, {"end_phrase": "Any other questions? "}, 'It is. "any other questions?"\n', True),
    (END, {"end_phrase": "Any other questions?"}, "Any other questions? No.", False),
    (END, {"end_phrase": "peace!"}, "It is PEACE!", True),
    (END, {"end_phrase": "Peace!"}, "“Peace!”", False),  # only straight marks are taken off
    (QUOTATION, {}, ' "Rivers flow." ', True),
    (QUOTATION, {}, '"Rivers" flow.', False),
    (QUOTATION, {}, '"', False),
    (QUOTATION, {}, '""', True),
    (QUOTATION, {}, "“Rivers”", False),
    # punctuation
    (COMMA, {}, "Rivers flow; 河、川", True),
    (COMMA, {}, "1,000", False),
]


@pytest.mark.parametrize(("instruction", "kwargs", "response", "expected"), CASES)
def test_strict(instruction, kwargs, response, expected):
    assert followed(instruction, kwargs, "", response) is expected


def test_there_are_25_and_each_is_seen_followed_and_not():
    assert len(INSTRUCTIONS) == 25
    assert {(case[0], case[3]) for case in CASES} == {
        (name, expected) for name in INSTRUCTIONS for expected in (True, False)
    }


ALL_KWARGS = [
    "keywords",
    "keyword",
    "frequency",
    "relation",
    "forbidden_words",
    "letter",
    "let_frequency",
    "let_relation",
    "language",
    "num_sentences",
    "num_paragraphs",
    "num_words",
    "nth_paragraph",
    "first_word",
    "num_placeholders",
    "postscript_marker",
    "num_bullets",
    "num_highlights",
    "section_spliter",
    "num_sections",
    "prompt_to_repeat",
    "end_phrase",
    "capital_frequency",
    "capital_relation",
]


@pytest.mark.parametrize(("instruction", "kwargs", "response", "expected"), CASES)
def test_null_arguments_of_others_are_left_alone(instruction, kwargs, response, expected):
    given_ = {**dict.fromkeys(ALL_KWARGS), **kwargs}
    assert followed(instruction, given_, "", response) is expected


FULL = {case[0]: case[1] for case in CASES if case[3]} | {
    BULLETS: {"num_bullets": 0},
    HIGHLIGHTS: {"num_highlights": 0},
    WORDS: {"num_words": 9, "relation": LESS},
    SENTENCES: {"num_sentences": 9, "relation": LESS},
}


@pytest.mark.parametrize("response", ["", " \n\t"])
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_a_blank_response_follows_nothing(instruction, response):
    assert followed(instruction, FULL[instruction], "", response) is False
    assert followed_loosely(instruction, FULL[instruction], "", response) is False


@pytest.mark.parametrize("how", [followed, followed_loosely])
@pytest.mark.parametrize("response", ["", "Some text here."])
@pytest.mark.parametrize(
    ("instruction", "name"),
    [(instruction, name) for instruction, kwargs in FULL.items() for name in kwargs],
)
def test_a_missing_argument_is_told(how, instruction, name, response):
    for kwargs in (
        {key: value for key, value in FULL[instruction].items() if key != name},
        {**FULL[instruction], name: None},
    ):
        with pytest.raises(ValueError) as caught:
            how(instruction, kwargs, "", response)
        assert str(caught.value) == f"{instruction}: needs {name!r}, which is missing"


@pytest.mark.parametrize(
    ("instruction", "kwargs", "message"),
    [
        ("keywords:exist", {}, "instruction 'keywords:exist' is unknown"),
        (
            BULLETS,
            {"num_bullets": "3"},
            f"{BULLETS}: 'num_bullets' must be a whole number from 0, not '3'",
        ),
        (
            BULLETS,
            {"num_bullets": True},
            f"{BULLETS}: 'num_bullets' must be a whole number from 0, not True",
        ),
        (
            BULLETS,
            {"num_bullets": -1},
            f"{BULLETS}: 'num_bullets' must be a whole number from 0, not -1",
        ),
        (END, {"end_phrase": " "}, f"{END}: 'end_phrase' must be a text, not ' '"),
        (END, {"end_phrase": 7}, f"{END}: 'end_phrase' must be a text, not 7"),
        (
            EXISTENCE,
            {"keywords": "sea"},
            f"{EXISTENCE}: 'keywords' must be a list of texts, not 'sea'",
        ),
        (EXISTENCE, {"keywords": []}, f"{EXISTENCE}: 'keywords' must be a list of texts, not []"),
        (
            EXISTENCE,
            {"keywords": ["a", 1]},
            f"{EXISTENCE}: 'keywords' must be a list of texts, not ['a', 1]",
        ),
        (
            WORDS,
            {"num_words": 3, "relation": "at most"},
            f"{WORDS}: 'relation' must be 'less than' or 'at least', not 'at most'",
        ),
        (LETTER, letter("ab", 1), f"{LETTER}: 'letter' must be one character, not 'ab'"),
        (NTH, nth(2, 3, "a"), f"{NTH}: 'nth_paragraph' must be from 1 to 2, not 3"),
        (NTH, nth(2, 0, "a"), f"{NTH}: 'nth_paragraph' must be from 1 to 2, not 0"),
        (
            EXISTENCE,
            {"keywords": ["(sea"]},
            (
                f"{EXISTENCE}: '(sea' is not a regular expression: "
                "missing ), unterminated subpattern at position 0"
            ),
        ),
    ],
)
def test_a_wrong_argument_is_told(instruction, kwargs, message):
    with pytest.raises(ValueError) as caught:
        followed(instruction, kwargs, "", "Some text.")
    assert str(caught.value) == message


# Loosely.


@pytest.mark.parametrize(
    ("instruction", "kwargs", "response"),
    [
        (QUOTATION, {}, '"whole"'),
        (QUOTATION, {}, 'Sure:\n\n"without the first"'),
        (QUOTATION, {}, '"without the last"\n\nBye.'),
        (QUOTATION, {}, 'Sure:\n"without both"\nBye.'),
        (QUOTATION, {}, '*"without stars"*'),
        (QUOTATION, {}, 'Sure:\n**"without the first and stars"**'),
        (QUOTATION, {}, '**"without the last and stars"**\nBye.'),
        (QUOTATION, {}, 'Sure:\n**"without both and stars"**\nBye.'),
    ],
)
def test_each_of_the_eight_variants_suffices(instruction, kwargs, response):
    assert followed_loosely(instruction, kwargs, "", response) is True
    assert followed(instruction, kwargs, "", response) is ("whole" in response)


@pytest.mark.parametrize(
    "response",
    [
        'One:\nTwo:\n"text"',
        '"text"\nOne.\nTwo.',
        'Sure: "text"',
        '_"text"_',
    ],
)
def test_nothing_more_is_forgiven(response):
    assert followed_loosely(QUOTATION, {}, "", response) is False


def test_a_variant_has_no_blank_ends():
    response = "Sure:\n\n\nOne.\n\nTwo."
    assert followed_loosely(NTH, nth(2, 1, "one"), "", response) is True
    assert followed(NTH, nth(2, 1, "one"), "", response.removeprefix("Sure:\n")) is False


def test_a_variant_left_blank_follows_nothing():
    assert followed_loosely(COMMA, {}, "", "One, two.") is False
    assert followed_loosely(COMMA, {}, "", "One, two.\n *") is True
    assert followed_loosely(COMMA, {}, "", "One, two.\n ") is False
    assert followed_loosely(COMMA, {}, "", "One, two.\nThree.") is True


@given(st.text(alphabet='*"\n ,a'))
def test_what_is_followed_is_followed_loosely(response):
    for instruction in (QUOTATION, COMMA, TWO):
        if followed(instruction, {}, "", response):
            assert followed_loosely(instruction, {}, "", response)


# Sentences.


# The examples of NLTK's own documentation (nltk.tokenize.punkt and its doctests), with what it says
# they give: IFEval's reference cuts sentences by it.
PERIODS = """Punkt knows that the periods in Mr. Smith and Johann S. Bach
do not mark sentence boundaries.  And sometimes sentences
can start with non-capitalized words.  i is a good variable
name."""
QUOTED = """(How does it deal with this parenthesis?)  "It should be part of the
previous sentence." "(And the same with this one.)" ('And this one!')
"('(And (this)) '?)" [(and this. )]"""
MUFFINS = """Good muffins cost $3.88
in New York.  Please buy me
two of them.

Thanks."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            PERIODS,
            [
                PERIODS[: PERIODS.index("  And")],
                "And sometimes sentences\ncan start with non-capitalized words.",
                "i is a good variable\nname.",
            ],
        ),
        (
            QUOTED,
            [
                "(How does it deal with this parenthesis?)",
                '"It should be part of the\nprevious sentence."',
                '"(And the same with this one.)"',
                "('And this one!')",
                "\"('(And (this)) '?)\"",
                "[(and this. )]",
            ],
        ),
        (
            MUFFINS,
            ["Good muffins cost $3.88\nin New York.", "Please buy me\ntwo of them.", "Thanks."],
        ),
        ("I called Dr. Jones. I called Dr. Jones.", ["I called Dr. Jones."] * 2),
    ],
)
def test_sentences_are_those_of_the_references_documentation(text, expected):
    assert split_sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n ", []),
        ("Hello there", ["Hello there"]),
        ("Hello. Bye.", ["Hello.", "Bye."]),
        ("Hello! Bye? Yes", ["Hello!", "Bye?", "Yes"]),
        ("One line\nand another.\n\nNext.", ["One line\nand another.", "Next."]),
        ("Really?! Yes!!! Good.", ["Really?!", "Yes!!!", "Good."]),
        ("Mr. Day met Dr. Night. They spoke.", ["Mr. Day met Dr. Night.", "They spoke."]),
        ("J. R. Smith wrote it.", ["J. R. Smith wrote it."]),
        ("Take plan B. It works.", ["Take plan B.", "It works."]),
        ("I live in the U.S. It is big.", ["I live in the U.S.", "It is big."]),
        ("Apples, etc. They are fruit.", ["Apples, etc.", "They are fruit."]),
        ("At 5 p.m. we left.", ["At 5 p.m. we left."]),
        ("Pi is 3.14 or so. It costs $5.50.", ["Pi is 3.14 or so.", "It costs $5.50."]),
        ("It was 1990. We left.", ["It was 1990.", "We left."]),
        ("See example.com for v1.2.3 now.", ["See example.com for v1.2.3 now."]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("(It is so.) He left.", ["(It is so.)", "He left."]),
        ("On Jan. 5 it began.", ["On Jan. 5 it began."]),
        ("- one\n- two", ["- one\n- two"]),
    ],
)
def test_sentences_are_those_that_a_reader_sees(text, expected):
    assert split_sentences(text) == expected


def test_only_full_stops_and_marks_of_ascii_end_a_sentence():
    # Punkt's `sent_end_chars` are `.`, `?` and `!`, in every language.
    assert split_sentences("他来了。他走了！真的吗？") == ["他来了。他走了！真的吗？"]
    assert split_sentences("他来了. 他走了! 真的吗?") == ["他来了.", "他走了!", "真的吗?"]


@given(st.text(alphabet="aA1.!?…。 \n\"'*(),"))
def test_sentences_lose_nothing(text):
    found = split_sentences(text)
    assert all(sentence == sentence.strip() != "" for sentence in found)
    assert "".join("".join(found).split()) == "".join(text.split())


@pytest.mark.parametrize("text", ["." * 50_000, "a." * 50_000, "\n" * 50_000 + "x", "*" * 50_000])
def test_a_degenerate_response_is_read_to_its_end(text):
    # What grows with the square of the length would take minutes here.
    assert "".join(split_sentences(text)).split() == text.split()
    split_words(text)
    for instruction in (BULLETS, HIGHLIGHTS, PARAGRAPHS):
        assert followed(instruction, FULL[instruction], "", text) in (True, False)


# Words.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Stop, NASA: go!", ["Stop", "NASA", "go"]),
        ("WELL-KNOWN AND/OR 10:30AM 1,000", ["WELL-KNOWN", "AND/OR", "10:30AM", "1,000"]),
        ("DON'T IT'S WE'LL", ["DO", "N'T", "IT", "'S", "WE", "'LL"]),
        ("DON’T", ["DON", "T"]),
        ("CANNOT Gonna", ["CAN", "NOT", "Gon", "na"]),
        ("IT CAN'T.", ["IT", "CA", "N'T."]),
        ("U.S. A--B A...B", ["U.S.", "A", "B", "A", "B"]),
        ('**BOLD** (X) [Y] <Z> "Q" `C`', ["BOLD", "X", "Y", "Z", "Q", "C"]),
        ("$5M AT&T #A", ["5M", "AT", "T", "A"]),
        ("A''B", ["A", "B"]),
        ("X,Y A:B", ["X", "Y", "A", "B"]),
    ],
)
def test_words(text, expected):
    assert split_words(text) == expected


# langdetect.


def test_the_language_is_the_same_each_time():
    # An unseeded langdetect takes it now for Croatian, now for Tagalog.
    assert len({is_in("hr", "no ok bar") for _ in range(20)}) == 1


def test_without_langdetect(monkeypatch):
    monkeypatch.setitem(sys.modules, "langdetect", None)
    needing = {LANGUAGE, CAPITAL, LOWERCASE}
    check_needs([])
    check_needs(name for name in INSTRUCTIONS if name not in needing)
    message = (
        "IFEval finds out languages with langdetect, which is not installed: "
        "pip install 'benchcore-llm[ifeval]', or in a checkout .venv/bin/pip install -e '.[ifeval]'"
    )
    for name in needing:
        with pytest.raises(ConfigError) as caught:
            check_needs(["punctuation:no_comma", name])
        assert str(caught.value) == message
    with pytest.raises(ConfigError) as caught:
        followed(LANGUAGE, {"language": "en"}, "", ENGLISH)
    assert str(caught.value) == message
    assert followed(CAPITAL, {}, "", ENGLISH) is False


def test_with_langdetect():
    check_needs(INSTRUCTIONS)


def test_langdetect_is_loaded_only_when_it_is_needed():
    code = (
        "import sys\n"
        "from benchcore.evals.tasks.ifeval import followed\n"
        "followed('punctuation:no_comma', {}, '', 'text')\n"
        "sys.exit('langdetect' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
