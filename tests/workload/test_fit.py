import pytest

from benchcore.workload.synthetic import Synthetic
from benchcore.workload.token_costs import _batches

LANGUAGES = ("en", "zh", "mixed")


@pytest.mark.parametrize("source", ["server", "tokenizer"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("splits", ["gpt2", "llama3"])
@pytest.mark.parametrize("size", [300, 3000])
async def test_with_an_exact_counter_every_prompt_has_exactly_the_tokens_asked(
    trained, counting, splits, size, language, source
):
    counter = counting(trained[splits, size], source)
    workload = Synthetic(input_tokens="uniform:60:900", language=language, seed=3)
    await workload.prepare(counter)
    calls = counter.calls
    for index in range(25):
        prompt = workload.prompt(index, "c1")
        assert counter.tokens(prompt.text) == prompt.input_tokens
    lengths = workload.describe()["lengths"]
    assert lengths.pop("shortest_tokens") < 60
    assert lengths == {
        "fit": "exact",
        "source": source,
        "checked": {"server": 3, "tokenizer": 16}[source],
        "error_tokens_max": 0,
        "error_ratio_mean": 0.0,
    }
    if source == "server":
        assert calls <= 50


async def test_exact_lengths_hold_with_a_shared_prefix_and_with_all_the_same(trained, counting):
    counter = counting(trained["llama3", 3000])
    for arguments in ({"shared_prefix_tokens": 150}, {"unique": False}):
        workload = Synthetic(input_tokens=400, language="mixed", **arguments)
        await workload.prepare(counter)
        counts = {counter.tokens(workload.prompt(index).text) for index in range(20)}
        assert counts == {400}


async def test_a_length_below_the_template_gives_the_shortest_prompt_and_is_reported(
    trained, counting
):
    counter = counting(trained["gpt2", 3000], overhead=40)
    workload = Synthetic(input_tokens=16)
    await workload.prepare(counter)
    lengths = workload.describe()["lengths"]
    counted = {counter.tokens(workload.prompt(index, "check").text) for index in range(3)}
    assert counted == {lengths["shortest_tokens"]}
    assert lengths["fit"] == "exact"
    assert lengths["error_tokens_max"] == lengths["shortest_tokens"] - 16 > 24


async def test_the_same_fit_gives_the_same_prompts(trained, counting):
    made = []
    for _ in range(2):
        workload = Synthetic(seed=5, language="zh")
        await workload.prepare(counting(trained["llama3", 300]))
        made.append([workload.prompt(index, "c1") for index in range(20)])
    assert made[0] == made[1]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_prompts_stay_apart_after_a_fit_with_few_known_pieces(trained, counting, language):
    workload = Synthetic(input_tokens=300, language=language)
    await workload.prepare(counting(trained["gpt2", 300]))
    texts = {workload.prompt(index, "c1").text[:60] for index in range(3000)}
    assert len(texts) == 3000


@pytest.mark.parametrize("language", LANGUAGES)
async def test_six_probes_calibrate_the_lengths_and_say_how_far_off(trained, counting, language):
    counter = counting(trained["llama3", 3000], "usage", overhead=0)
    workload = Synthetic(input_tokens=600, language=language)
    await workload.prepare(counter)
    assert counter.calls == 6
    lengths = workload.describe()["lengths"]
    assert (lengths["fit"], lengths["source"], lengths["checked"]) == ("calibrated", "usage", 2)
    checks = [workload.prompt(index, "check") for index in range(2)]
    errors = [abs(counter.tokens(prompt.text) - 600) for prompt in checks]
    assert lengths["error_tokens_max"] == max(errors)
    assert lengths["error_ratio_mean"] == pytest.approx(sum(errors) / 1200, abs=1e-6)
    counted = [counter.tokens(workload.prompt(index, "c1").text) for index in range(60)]
    assert abs(sum(counted) / 60 / 600 - 1) < 0.06
    assert all(abs(count / 600 - 1) < 0.15 for count in counted)


async def test_a_probe_whose_tokens_are_words_and_a_template_is_met_exactly(words):
    workload = Synthetic(input_tokens=300)
    await workload.prepare(words(template=23))
    lengths = workload.describe()["lengths"]
    assert lengths["error_tokens_max"] == 0
    assert lengths["intercept_tokens"] == pytest.approx(23 + 2)
    assert lengths["tokens_per_unit"] == pytest.approx(1)


async def test_a_probe_that_always_says_the_same_leaves_lengths_unfitted(words):
    workload = Synthetic(input_tokens=300)
    await workload.prepare(words(template=23, each=0))
    lengths = workload.describe()["lengths"]
    assert lengths["fit"] == "unfitted"
    assert lengths["note"] == "counts do not grow with the text: 23, 23, 23, 23 tokens"
    assert lengths["error_tokens_max"] == 277


@pytest.mark.parametrize("source", ["server", "tokenizer"])
async def test_tokens_that_do_not_add_up_are_calibrated_and_said(pairs, source):
    counter = pairs(source)
    workload = Synthetic(input_tokens=400)
    await workload.prepare(counter)
    lengths = workload.describe()["lengths"]
    assert lengths["fit"] == "calibrated"
    assert "do not add up" in lengths["note"]
    assert lengths["error_ratio_mean"] < 0.1
    if source == "server":
        assert counter.calls <= 50


async def test_whole_prompts_that_cost_more_than_their_pieces_are_calibrated_and_said(words):
    counter = words(template=5, exact=True, over_8000_characters=90)
    workload = Synthetic(input_tokens=3000)
    await workload.prepare(counter)
    lengths = workload.describe()["lengths"]
    assert lengths["fit"] == "calibrated"
    assert lengths["note"] == "whole prompts do not add up"
    # The line runs through short texts too, which do not cost more: off by 3 instead of by 90.
    assert lengths["error_tokens_max"] == 3
    assert counter.tokens(workload.prompt(0).text) == 3003


async def test_pieces_that_merge_with_their_neighbours_are_left_out(words):
    counter = words(template=5, exact=True, merging=", ")
    workload = Synthetic(input_tokens=300)
    await workload.prepare(counter)
    assert workload.describe()["lengths"]["fit"] == "exact"
    for index in range(20):
        text = workload.prompt(index).text
        assert "," not in text
        assert counter.tokens(text) == 300


def test_costs_told_apart_in_one_sum_cannot_overlap():
    pieces = ["，天空很蓝", " river", " a", ". The", "，我们在河边等待", " mountain"] * 5
    for batch in _batches(dict.fromkeys(pieces)):
        below = 0
        for piece, repeats in batch:
            assert repeats > below
            below += repeats * (len(piece.encode()) + 1)
        assert below <= 20_000 or len(batch) == 1
