import os
import re
import subprocess
import sys
from functools import partial
from itertools import pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.workload.synthetic import Synthetic

LANGUAGES = ("en", "zh", "mixed")


def common(texts):
    """Return what all the texts begin with."""
    first, last = min(texts), max(texts)
    places = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(character for character, _ in places)


def test_the_same_seed_gives_the_same_bytes_in_every_process():
    code = (
        "import hashlib\n"
        "from benchcore.workload.synthetic import Synthetic\n"
        "for language in ('en', 'zh', 'mixed'):\n"
        "    made = Synthetic(input_tokens='normal:200:50', output_tokens='uniform:1:99',\n"
        "                     language=language, seed=7)\n"
        "    text = ''.join(repr(made.prompt(i, 'c8', 1)) for i in range(50))\n"
        "    print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(set(outputs.pop().split())) == 3


def test_these_are_the_bytes_of_seed_0():
    texts = [Synthetic(input_tokens=24, language=name).prompt(0, "c1").text for name in LANGUAGES]
    assert texts == [
        (
            "About student window evening. His path moved the dinner around his roof sugar"
            " actor moon sharp roof full window house empty white."
        ),
        "话说，傍晚同事学习，有时裁缝工作，夏天水手钓鱼，船长在河边说话。",
        "About theater，高楼很有趣，白云很好看 bright strong，店员放下糖果，哥哥整理桌子 sharp.",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_prompts_of_all_streams_differ_from_the_first_words_on(language):
    workload = Synthetic(input_tokens=128, language=language)
    streams = [("warmup", 0), ("c1", 0), ("c1", 1), ("r4", 0)]
    texts = sorted(workload.prompt(index, *path).text for path in streams for index in range(500))
    shared = max(len(common(pair)) for pair in pairwise(texts))
    # Two leads at most: far less than one block of sixteen tokens.
    assert shared <= {"en": 26, "zh": 20, "mixed": 26}[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_one_stream_neighbours_differ_in_the_first_word(language):
    workload = Synthetic(input_tokens=128, language=language)
    texts = [workload.prompt(index, "c1").text for index in range(100)]
    firsts = [re.match("(About|话说)([ ，][^ ，。]+)", text)[2] for text in texts]
    assert len(set(firsts)) == 100


def test_even_prompts_of_a_few_tokens_never_repeat_in_a_stream():
    workload = Synthetic(input_tokens=5)
    assert len({workload.prompt(index, "c1").text for index in range(20_000)}) == 20_000


def test_another_seed_gives_other_prompts():
    one, other = Synthetic(seed=1), Synthetic(seed=2)
    assert one.prompt(0).text != other.prompt(0).text


def test_without_uniqueness_all_prompts_are_the_same():
    workload = Synthetic(unique=False, input_tokens="uniform:50:90", output_tokens="uniform:1:99")
    prompts = [workload.prompt(index, path) for index in range(20) for path in ("c1", "c8")]
    assert len({(prompt.text, prompt.input_tokens) for prompt in prompts}) == 1
    assert len({prompt.output_tokens for prompt in prompts}) > 10


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_shared_prefix_is_shared_and_what_follows_is_not(language):
    workload = Synthetic(input_tokens=200, shared_prefix_tokens=100, language=language)
    texts = [workload.prompt(index, path).text for index in range(50) for path in ("a", "b")]
    shared = common(texts)
    share = len(shared) / len(texts[0])
    assert 0.4 < share < 0.6
    assert len({text.removeprefix(shared)[:12] for text in texts}) > 80


def test_lengths_are_drawn_and_what_is_meant_stands_in_the_prompt():
    workload = Synthetic(input_tokens="uniform:20:29", output_tokens="uniform:5:6")
    prompts = [workload.prompt(index) for index in range(300)]
    assert {prompt.input_tokens for prompt in prompts} == set(range(20, 30))
    assert {prompt.output_tokens for prompt in prompts} == {5, 6}
    # Nominal: a word or a mark is a token.
    for prompt in prompts:
        marks = prompt.text.count(".") + prompt.text.count(",")
        assert len(prompt.text.split()) + marks == prompt.input_tokens


def test_ignore_eos_asks_for_exactly_the_output_and_can_be_switched_off():
    workload = Synthetic(output_tokens="uniform:5:500", ignore_eos=True)
    prompt = workload.prompt(3, "c1")
    assert prompt.extra == {"ignore_eos": True, "min_tokens": prompt.output_tokens}
    off = workload.with_ignore_eos(False)
    assert off.prompt(3, "c1").extra == {}
    assert off.prompt(3, "c1").text == prompt.text
    assert off.describe()["ignore_eos"] is False
    assert workload.ignore_eos


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"language": "fr"}, "language 'fr' is not one of en, zh, mixed"),
        ({"input_tokens": "many"}, "length 'many' is not"),
        ({"output_tokens": 0}, "tokens start at 1"),
        (
            {"input_tokens": 10, "shared_prefix_tokens": 10},
            "shared_prefix_tokens 10 must be 0 to 9: input_tokens 10 may be as short as 10",
        ),
        (
            {"input_tokens": "normal:100:5", "shared_prefix_tokens": 50},
            "must be 0 to 0: input_tokens normal:100:5 may be as short as 1",
        ),
        ({"shared_prefix_tokens": -1}, "must be 0 to 511"),
    ],
)
def test_what_cannot_be_is_refused(arguments, says):
    with pytest.raises(ConfigError, match=says):
        Synthetic(**arguments)


async def test_with_nobody_to_count_lengths_are_nominal_and_it_says_so():
    workload = Synthetic(name="mine", seed=4, language="mixed")
    before = workload.prompt(0)
    await workload.prepare(None)
    assert workload.prompt(0) == before
    assert workload.describe() == {
        "name": "mine",
        "kind": "synthetic",
        "input_tokens": "512",
        "output_tokens": "128",
        "language": "mixed",
        "seed": 4,
        "shared_prefix_tokens": 0,
        "unique": True,
        "ignore_eos": False,
        "lengths": {
            "fit": "unfitted",
            "source": None,
            "checked": 0,
            "error_tokens_max": None,
            "error_ratio_mean": None,
            "shortest_tokens": 3,
        },
    }


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**63), st.sampled_from(LANGUAGES), st.integers(0, 10**9))
def test_any_index_and_path_gives_a_prompt_again(seed, language, index):
    one = Synthetic(seed=seed, language=language, input_tokens="lognormal:40:0.9:1:900")
    other = Synthetic(seed=seed, language=language, input_tokens="lognormal:40:0.9:1:900")
    assert one.prompt(index, "c64", 2) == other.prompt(index, "c64", 2)
    assert one.prompt(index, "c64", 2).text != one.prompt(index, "c64", 3).text


def calls_of(work):
    """How many functions are called, of Python and of C: what a machine's speed cannot change."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_long_prompt_takes_few_steps_and_no_more_for_each_token_the_longer_it_is(language):
    def steps(tokens):
        workload = Synthetic(input_tokens=tokens, language=language)
        workload.prompt(0, "c64", 0)
        return min(calls_of(partial(workload.prompt, index, "c64", 0)) for index in range(1, 9))

    # Whole sentences are joined: the loop that sends is held up for some 0.1 ms, not for 10,000
    # choices of a word.
    assert steps(10_000) < 10_000 / 4
    assert steps(80_000) < 8.5 * steps(10_000)
