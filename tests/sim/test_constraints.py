from __future__ import annotations

import json
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from benchcore.sim.constraints import grammar_text, json_text, regex_text
from benchcore.sim.validation import ApiError

# JSON Schemas of what people write for tools and answers; some value is valid against each.

PATTERNS = ["^[a-z]{2,5}$", r"\d{3}-\d{4}", "^(red|green)+$", r"[A-Z]\w*", "^v[0-9]+(\\.[0-9]+)?$"]


@st.composite
def strings(draw):
    least = draw(st.integers(0, 30))
    return {
        "type": "string",
        **draw(
            st.sampled_from(
                [
                    {},
                    {"minLength": least},
                    {"minLength": least, "maxLength": least + draw(st.integers(0, 9))},
                    {"pattern": draw(st.sampled_from(PATTERNS))},
                    {"pattern": r"^\w+$", "minLength": least + 1, "maxLength": least + 5},
                ]
            )
        ),
    }


@st.composite
def integers(draw):
    low, step = draw(st.integers(-1000, 1000)), draw(st.integers(1, 9))
    high = low + 2 * step + draw(st.integers(0, 99))
    lower = draw(st.sampled_from([{}, {"minimum": low}, {"exclusiveMinimum": low}]))
    upper = draw(st.sampled_from([{}, {"maximum": high}, {"exclusiveMaximum": high}]))
    multiple = draw(st.sampled_from([{}, {"multipleOf": step}]))
    return {"type": "integer", **lower, **upper, **multiple}


@st.composite
def numbers(draw):
    low = draw(st.integers(-(10**8), 10**8)) / 100
    high = low + draw(st.integers(1, 10**4)) / 1000
    lower = draw(st.sampled_from([{}, {"minimum": low}, {"exclusiveMinimum": low}]))
    upper = draw(st.sampled_from([{}, {"maximum": high}, {"exclusiveMaximum": high}]))
    return {"type": "number", **lower, **upper}


NAMES = st.sampled_from(["name", "city", "age", "tags", "owner", "$ref", "größe", "a/b~c"])
LEAVES = st.one_of(
    strings(),
    integers(),
    numbers(),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": ["string", "null"]}),
    st.just({}),
    st.just(True),
    st.lists(st.one_of(st.text(max_size=5), st.integers(-9, 9), st.none()), min_size=1).map(
        lambda values: {"enum": values}
    ),
    st.integers().filter(lambda value: abs(value) < 2**53).map(lambda value: {"const": value}),
)


@st.composite
def objects(draw, inner):
    properties = draw(st.dictionaries(NAMES, inner, max_size=4))
    schema = {"type": "object", "properties": properties}
    if properties:
        schema["required"] = draw(st.lists(st.sampled_from(sorted(properties)), unique=True))
    return {**schema, **draw(st.sampled_from([{}, {"additionalProperties": False}]))}


@st.composite
def arrays(draw, inner):
    least = draw(st.integers(0, 3))
    bounds = draw(st.sampled_from([{}, {"minItems": least}, {"maxItems": least}]))
    return {"type": "array", "items": draw(inner), **bounds}


def combined(inner):
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        objects(inner),
        arrays(inner),
        several.map(lambda options: {"anyOf": options}),
        inner.map(lambda one: {"allOf": [one], "description": "the same again"}),
        st.lists(objects(st.just({"type": "string"})), min_size=1, max_size=3).map(
            lambda parts: {
                "allOf": [
                    {key: value for key, value in part.items() if key != "additionalProperties"}
                    for part in parts
                ]
            }
        ),
    )


SCHEMAS = st.recursive(LEAVES, combined, max_leaves=12).filter(lambda schema: schema is not True)


@pytest.mark.no_cover
@given(SCHEMAS, st.integers(0, 1000))
def test_what_is_written_for_a_schema_is_valid(schema, seed):
    value = json.loads(json_text(schema, random.Random(seed), "here"))
    Draft202012Validator(schema).validate(value)


@pytest.mark.no_cover
@given(SCHEMAS, objects(SCHEMAS), st.sampled_from(["$defs", "definitions"]))
def test_references_are_followed(inner, outer, place):
    outer["properties"]["first"] = {"$ref": f"#/{place}/it"}
    outer["properties"]["more"] = {"type": "array", "items": {"$ref": f"#/{place}/it"}}
    outer["required"] = [*outer.get("required", []), "first", "more"]
    schema = {**outer, place: {"it": inner}}
    value = json.loads(json_text(schema, random.Random(0), "here"))
    Draft202012Validator(schema).validate(value)
    assert {"first", "more"} <= value.keys()


KEYWORDS = (
    "type properties required items minimum maximum multipleOf minLength enum const anyOf oneOf "
    "allOf not pattern minItems uniqueItems if then"
)


REFUSED = object()


def made(make, form):
    """What is made of something, or that it is refused as every bad request must be."""
    try:
        return make(form, random.Random(0), "here")
    except ApiError as error:
        if (error.status, error.param) == (400, "here"):
            return REFUSED
        raise


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=3)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from([*KEYWORDS.split(), "$ref", "$id", "$anchor"]),
                inner | st.sampled_from(["object", "string", "array", "#", "#/items", "http://x"]),
                max_size=4,
            ),
        ),
        max_leaves=10,
    )
)
def test_whatever_is_given_as_a_schema_there_is_a_valid_value_or_a_refusal(schema):
    try:
        schema = json.loads(json.dumps(schema, allow_nan=False))
    except ValueError:
        return  # NaN is no JSON
    text = made(json_text, schema)
    if text is not REFUSED:
        Draft202012Validator(schema).validate(json.loads(text))


def test_all_properties_are_given_and_what_is_asked_of_them_is_kept():
    schema = {
        "type": "object",
        "properties": {
            "deep": {"type": "object", "properties": {"list": {"type": "array", "minItems": 2}}},
            "one": {"oneOf": [{"type": "number"}, {"type": "integer"}, {"type": "string"}]},
            "pair": {
                "type": "array",
                "prefixItems": [{"const": 1}, {"const": 2}],
                "items": False,
                "minItems": 2,
            },
            "set": {
                "type": "array",
                "items": {"enum": [1, 2, 3]},
                "minItems": 3,
                "uniqueItems": True,
            },
            "tenths": {"type": "number", "multipleOf": 0.5, "minimum": 0.1, "maximum": 0.9},
        },
        "required": ["extra"],
        "additionalProperties": {"type": "integer", "minimum": 7, "maximum": 7},
    }
    value = json.loads(json_text(schema, random.Random(3), "here"))
    Draft202012Validator(schema).validate(value)
    assert list(value) == ["deep", "one", "pair", "set", "tenths", "extra"]
    assert len(value["deep"]["list"]) >= 2
    assert isinstance(value["one"], str)
    assert value["pair"] == [1, 2]
    assert sorted(value["set"]) == [1, 2, 3]
    assert value["tenths"] == 0.5
    assert value["extra"] == 7


def test_known_values_are_used_only_where_they_fit():
    city = {"type": "string"}
    short = {"type": "string", "maxLength": 2}
    inner = {"type": "object", "properties": {"city": {"enum": ["X", "Y"]}}}

    def written(schema):
        schema = {"type": "object", "properties": {"city": schema, "inner": inner}}
        text = json_text(schema, random.Random(0), "here", {"city": "Paris"})
        Draft202012Validator(schema).validate(json.loads(text))
        return json.loads(text)

    assert written(city)["city"] == "Paris"
    assert written(city)["inner"]["city"] in ("X", "Y")
    assert "Paris" not in json.dumps(written(short))


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "properties": {"value": {"type": "integer"}, "next": {"$ref": "#"}},
            "required": ["value"],
        },
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {
                        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                        "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    },
                    "required": ["children", "left"],
                    "additionalProperties": False,
                }
            },
        },
    ],
)
def test_a_schema_that_refers_to_itself_comes_to_an_end(schema):
    for seed in range(50):
        text = json_text(schema, random.Random(seed), "here")
        Draft202012Validator(schema).validate(json.loads(text))
        assert len(text) < 5000


def test_long_texts_can_be_written_again_and_again():
    """A matcher's lexer only grows: one that is kept would in the end refuse what it once wrote."""
    schema = {"type": "string", "minLength": 4500}
    for seed in range(3):
        assert len(json.loads(json_text(schema, random.Random(seed), "here"))) >= 4500


def test_the_same_seed_writes_the_same():
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    texts = [json_text(schema, random.Random(seed), "here") for seed in (1, 1, *range(20))]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 15
    lengths = {len(json.loads(text)["name"].split()) for text in texts}
    assert lengths == {1, 2, 3}


DOUBLING = {
    f"d{n}": {"type": "array", "items": {"$ref": f"#/$defs/d{n + 1}"}, "minItems": 2}
    for n in range(40)
}


CHAIN = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(5000)} | {"d5000": {}}
"""Followed to its end by recursion, it would be the end of the process."""


def nested(depth):
    schema = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        "object",
        ["object"],
        {"type": "gibberish"},
        {"type": "object", "properties": []},
        {"type": "integer", "minimum": "3"},
        {"type": "integer", "minimum": 5, "maximum": 3},
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": "a"},
        {"enum": []} | {"type": "string"},
        {"type": "string", "enum": [1]},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": r"(a)\1"},
        {"type": "string", "pattern": "^a{3}$", "minLength": 9},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9},
        {"$ref": "#/nowhere"},
        {"$ref": "#anchor"},
        {"$ref": "http://127.0.0.1:9/schema"},
        {"type": "string", "anyOf": [{"$ref": "http://127.0.0.1:9/schema"}]},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}], "not": {}},
        {"$ref": "#/$defs/d0", "$defs": {**DOUBLING, "d40": {"type": "integer"}}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"not": {"type": "string"}, "type": "string"},
        {"type": "integer", "minimum": 1e300},
        nested(400),
        {"$ref": "#/$defs/d0", "$defs": CHAIN},
    ],
)
def test_a_schema_that_nothing_can_be_made_of_is_refused_at_once(schema):
    before = time.process_time()
    assert made(json_text, schema) is REFUSED
    assert time.process_time() - before < 1


# Regular expressions: each strategy gives one that Python's re compiles.

ATOMS = st.one_of(
    st.text("abc019 _-:,é中", min_size=1, max_size=3).map(re.escape),
    st.sampled_from(
        [r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", ".", r"\.", r"\n", r"\t", r"\x41", r"é"]
    ),
    st.sampled_from(
        ["[abc]", "[^abc]", "[a-z0-9]", "[^a-z]", r"[\w.-]", r"[^\d\s]", "[]a]", "[^]a]", "[a-]"]
    ),
    st.sampled_from([r"[\]\\]", r"[\d-]", "[一-龥]", r"[\x30-\x39]"]),
)
QUANTIFIERS = st.sampled_from(["", "?", "*", "+", "{2}", "{1,3}", "{2,}", "*?", "+?"])


def composed(inner):
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda found: f"(?:{'|'.join(found)})"),
        st.tuples(inner, QUANTIFIERS).map(lambda found: f"({found[0]}){found[1]}"),
        inner.map(lambda one: f"(?P<name_{abs(hash(one)) % 10**9}>{one})?"),
    )


def compiles(pattern):
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


REGEXES = st.recursive(st.tuples(ATOMS, QUANTIFIERS).map("".join), composed, max_leaves=8).filter(
    compiles
)


@given(REGEXES, st.booleans(), st.integers(0, 1000))
def test_what_is_made_of_a_regular_expression_matches_it_whole(pattern, anchored, seed):
    if anchored:
        pattern = f"^(?:{pattern})$"
    text = regex_text(pattern, random.Random(seed), "here")
    assert re.fullmatch(pattern, text) is not None
    text.encode()


@pytest.mark.parametrize(
    "pattern", [r".*\.pdf", r"\w*00", "[a-z]+zebra", r"([^@]+@)+x", r"(.*/)*\w+\.tar", "[*+]*[+]"]
)
def test_a_repetition_without_end_comes_to_what_follows_it(pattern):
    for seed in range(20):
        text = regex_text(pattern, random.Random(seed), "here")
        assert re.fullmatch(pattern, text)
        assert len(text) < 200


@pytest.mark.filterwarnings("ignore:Possible")  # re's, of a set that it may read otherwise one day
@given(st.text(r"ab(|)[]{}^$*+?\.-1,:<>Pxuw", max_size=12))
def test_whatever_is_given_as_a_regular_expression_there_is_a_match_or_a_refusal(pattern):
    text = made(regex_text, pattern)
    assert text is REFUSED or re.fullmatch(pattern, text) is not None


@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [("^[a-z]+$", 10, 10), (r"\w*", 25, 30), ("(ab)*", 4, 4), ("a{2,50}", 40, 99), ("a*", 0, 1)],
)
def test_a_match_in_a_schema_has_the_length_that_is_asked_for(pattern, least, most):
    schema = {"type": "string", "pattern": pattern, "minLength": least, "maxLength": most}
    for seed in range(20):
        text = json.loads(json_text(schema, random.Random(seed), "here"))
        assert least <= len(text) <= most
        assert re.search(pattern, text)


@pytest.mark.filterwarnings("ignore:Possible")
@pytest.mark.parametrize(
    "pattern",
    [
        7,
        "(",
        "*",
        r"(a)\1",
        "(?=a)a",
        r"\bword\b",
        "[[:alpha:]]",
        "a{1000000}",
        "a{99999999999}",
        "a{" + "9" * 5000 + "}",
        "(((a{100}){100}){100})",
        r"[^\s\S]",
        r"\ud800",
        "(" * 3000 + ")" * 3000,
    ],
)
def test_a_regular_expression_that_is_bad_or_not_understood_is_refused_at_once(pattern):
    before = time.process_time()
    assert made(regex_text, pattern) is REFUSED
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        ('root ::= "left" | "right"', "left|right"),
        ('root   ::= "a" b?\n\nb ::= "b"', "ab?"),
        (
            'root ::= "SELECT " column " FROM " table\ncolumn ::= "a"\ntable ::= "t"',
            "SELECT a FROM t",
        ),
        ('root ::= ("x" | "(" | ")") "y"', "[x()]y"),
        ('root ::= (("a" | "b") "c" | "d")+ e* # why\ne ::= "e"', "([ab]c|d)+e*"),
        (r'root ::= "say \"hi\"\n"', 'say "hi"\n'),
        ('root ::= "a"{3} "b"{2,} "c"{0,9}', "aaabb+c{0,9}"),
        ('sum ::= sum "+" one | one\none ::= "1"\nroot ::= sum', r"1(\+1)*"),
        ('root ::= wrong | right\nright ::= "r"\nwrong ::= "(" wrong ")"', "r"),
        ('root ::= wrong | "b"\nwrong ::= "a" wrong', "b"),
        ('?start: "a" word -> thing\nword: "b"\n  | "c"\n%ignore " "\n// done', "a *[bc]"),
        ('start: "a" NUMBER?\n%import common.NUMBER', r"a[0-9.eE+-]*"),
        ("root ::=", ""),
        ('two-words ::= "2"\nroot ::= two-words', "2"),
        ("root ::= [0-9]+ [^a-z\\]]", r"[0-9]+[^a-z\]]"),
        ("start: /[a-f]{4}/ END\nEND: /\\d\\//", r"[a-f]{4}\d/"),
        ('root ::= [a-z]+ "zebra"', "[a-z]+zebra"),
        ("start: /[a-z]*/ /zebra/", "[a-z]*zebra"),
        ('root ::= "[" (root ("," root)*)? "]"', r"[\[\],]+"),
    ],
)
def test_a_text_of_a_grammar(grammar, pattern):
    for seed in range(10):
        assert re.fullmatch(pattern, grammar_text(grammar, random.Random(seed), "here"))


@pytest.mark.parametrize(
    "grammar",
    [
        7,
        "",
        "this is no grammar",
        'x ::= "a"',
        'here and there\nroot ::= "a"',
        'root ::= "a" b',
        "root ::= root",
        'root ::= ("a"',
        'root ::= "a")',
        "root ::= *",
        'root ::= "a',
        "root ::= a &",
        "root ::= [z-a]",
        'root ::= "a"{999999}',
        'root ::= "a" root',
        'root ::= a root\na ::= "a" | "b"',
        'start: "{" [x] "}"',
        "\n".join(["start: a0", *(f"a{n}: a{n + 1}" for n in range(5000)), 'a5000: "a"']),
        "root ::= " + "(" * 3000 + '"a"' + ")" * 3000,
        "\n".join(
            ["root ::= r0", *(f"r{n} ::= r{n + 1} r{n + 1}" for n in range(40)), 'r40 ::= "a"']
        ),
    ],
)
def test_a_grammar_that_is_bad_or_not_understood_is_refused_at_once(grammar):
    before = time.process_time()
    assert made(grammar_text, grammar) is REFUSED
    assert time.process_time() - before < 1


@given(st.text("ab:=\n\"'|()[]{}*+?/\\ 1,-#%", max_size=30))
def test_whatever_is_given_as_a_grammar_there_is_a_text_or_a_refusal(rest):
    for head in ("root ::= ", "start: "):
        text = made(grammar_text, head + rest)
        assert text is REFUSED or isinstance(text, str)
