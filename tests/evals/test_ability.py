"""What the simulator is set to is what an eval measures."""

import json
from collections import Counter

import pytest

from benchcore import SimOptions, SimProfile, Target
from benchcore.evals.run import Accuracy, evaluate
from benchcore.evals.sampling import question_prompt
from benchcore.metrics.accuracy import over_all, tally
from benchcore.metrics.scores import estimate
from benchcore.sim.answer import BabbleAnswerer
from benchcore.sim.app import start
from benchcore.sim.requests import read_chat

pytestmark = pytest.mark.accuracy

FATES = {"ability": 0.6, "ability_cut": 0.1, "ability_unparsable": 0.15}


@pytest.fixture
async def able(tmp_path):
    """Starts simulators that know some of what they are asked, with a log of what they did."""
    runners = []

    async def serve(seed=0, **fields):
        profile = SimProfile.named("fast", decode_base_seconds=0.0005, **fields)
        truth = tmp_path / f"truth{len(runners)}.jsonl"
        runner, url = await start(SimOptions(profile=profile, truth=truth, seed=seed))
        runners.append(runner)
        return url, truth

    yield serve
    for runner in runners:
        await runner.cleanup()


def worths(truth):
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    return Counter(line["worth"] for line in lines if line["worth"])


@pytest.mark.parametrize(
    "name", ["gpqa", "mmlu", "mmlu_pro", "mmlu_pro_cot", "gsm8k", "math500", "mgsm"]
)
async def test_counts_come_out_as_the_server_did_them(able, name):
    url, truth = await able(**FATES)
    report = await evaluate(url, name, data="builtin")
    did, counts = worths(truth), tally(report.samples)
    assert counts.n == sum(did.values())
    assert sum(sample.score for sample in report.samples) == did["right"]
    assert counts.truncated == did["cut"]
    assert counts.no_answer == did["cut"] + did["unparsable"]
    assert (counts.errors, counts.refused, counts.retries) == (0, 0, 0)
    assert min(did.values()) > 0
    assert report.score.low < 0.6 < report.score.high
    assert report.status == "complete"


async def test_instructions_are_followed_or_not_as_the_server_did(able):
    url, truth = await able(ability=0.6)
    report = await evaluate(url, "ifeval", data="builtin")
    did = worths(truth)
    assert sum(sample.score for sample in report.samples) == did["right"]
    assert report.figures["prompt_strict"] == pytest.approx(did["right"] / sum(did.values()))
    assert set(report.figures) == {
        "prompt_strict",
        "instruction_strict",
        "prompt_loose",
        "instruction_loose",
    }


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
@pytest.mark.parametrize("stream", [True, False])
async def test_every_endpoint_gives_the_same_score(able, asked, endpoint, stream):
    url, truth = await able(**FATES)
    task, config, questions = await asked("gsm8k")
    target = Target(url, endpoint=endpoint, stream=stream)
    report = await Accuracy(target, task, questions, config)()
    did = worths(truth)
    assert sum(sample.score for sample in report.samples) == did["right"]
    # An answer of `responses` that is cut says `incomplete`.
    assert tally(report.samples).truncated == did["cut"]
    assert all(sample.input_tokens and sample.output_tokens for sample in report.samples)


@pytest.mark.parametrize(
    ("runs", "least", "most"),
    [(60, 0.9, 1.0), pytest.param(600, 0.93, 0.97, marks=pytest.mark.full)],
)
async def test_over_many_seeds_the_interval_holds_the_truth_about_95_per_cent_of_the_time(
    asked, runs, least, most
):
    # The simulated model itself, without a wire: what it says, what is found, what it is worth.
    task, config, questions = await asked("gsm8k")
    bodies = []
    for question in questions:
        prompt = question_prompt(question, config, "chat")
        bodies.append(read_chat({"messages": prompt.messages, "max_tokens": 256}))
    held = 0
    for seed in range(runs):
        ability = 0.25 + 0.6 * seed / runs
        answerer = BabbleAnswerer(SimProfile.named("fast", ability=ability), seed)
        scores = [
            task.judge(question, answerer.answer(ask, ask.prompts[0], 0, 256).text, config).score
            for question, ask in zip(questions, bodies, strict=True)
        ]
        found = estimate(scores, [question.key for question in questions])
        held += found.low <= ability <= found.high
    assert least <= held / runs <= most


async def test_the_same_questions_have_the_same_fate_in_every_run(able):
    first_url, _ = await able(**FATES)
    second_url, _ = await able(**FATES)
    first = await evaluate(first_url, "gpqa", data="builtin", concurrency=1, limit=30)
    second = await evaluate(second_url, "gpqa", data="builtin", concurrency=30, limit=30)
    assert [one.score for one in first.samples] == [one.score for one in second.samples]
    assert over_all(first.samples) == over_all(second.samples)
