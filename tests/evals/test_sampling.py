"""Sampling against a real server on loopback that does as it is told."""

import asyncio
import json

import pytest
from aiohttp import web

from benchcore import Target
from benchcore.base.errors import ConfigError, ResultsError, TargetError
from benchcore.evals.run import Accuracy, remaining, without_errors
from benchcore.evals.sampling import Sampler
from benchcore.evals.task import Question
from benchcore.metrics.accuracy import Sample, SampleOutcome, tally
from benchcore.show.pages import accuracy_page
from benchcore.show.text import render_accuracy

pytestmark = pytest.mark.accuracy


class Server:
    """Answers by a function of how often a question has been asked; notes every request."""

    def __init__(self):
        self.bodies = []
        self.times = {}
        self.most = self.now = 0
        self.act = lambda _text, _times: "Answer: B"

    async def models(self, _request):
        return web.json_response({"data": [{"id": "m"}]})

    async def chat(self, request):
        body = await request.json()
        self.bodies.append(body)
        text = body["messages"][-1]["content"]
        self.times[text] = self.times.get(text, 0) + 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            answer = self.act(text, self.times[text])
            if asyncio.iscoroutine(answer):
                answer = await answer
        finally:
            self.now -= 1
        if isinstance(answer, web.Response):
            return answer
        if answer is None:
            request.transport.close()
            return web.Response()
        if isinstance(answer, str):
            answer = {"message": {"content": answer}, "finish_reason": "stop"}
        return web.json_response(
            {
                "choices": [{"index": 0, **answer}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3},
            }
        )


@pytest.fixture
async def server():
    found = Server()
    app = web.Application()
    app.add_routes(
        [web.get("/v1/models", found.models), web.post("/v1/chat/completions", found.chat)]
    )
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}"
    yield found
    await runner.cleanup()


@pytest.fixture
def ask(server, asked, monkeypatch):
    """Evaluates some of mmlu's questions; waits take no time and are noted."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    init = Sampler.__init__
    monkeypatch.setattr(
        Sampler, "__init__", lambda *args, **given: init(*args, **given, sleep=sleep)
    )

    async def go(done=(), on_sample=lambda _sample: None, **fields):
        task, config, questions = await asked("mmlu", **{"limit": 5, **fields})
        target = Target(server.url, stream=False)
        machine = Accuracy(target, task, questions, config, done=done, on_sample=on_sample)
        go.machine, go.questions, go.config = machine, questions, config
        return await machine()

    go.waits = waits
    return go


async def test_what_is_sent_is_the_question_and_the_settings(server, ask):
    report = await ask(temperature=0.5, top_p=0.9, max_tokens=77, system="Be brief.")
    assert len(server.bodies) == 5
    body = server.bodies[0]
    assert {name: body[name] for name in ("model", "temperature", "top_p", "max_tokens")} == {
        "model": "m",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 77,
    }
    assert [turn["role"] for turn in body["messages"]] == ["system", "user"]
    assert report.target.model == "m"
    sample = report.samples[0]
    assert (sample.input_tokens, sample.output_tokens, sample.tries) == (7, 3, 1)
    assert sample.seconds > 0
    assert (sample.prompt, sample.answer) == (None, None)
    assert len(sample.prompt_sha256) == len(sample.answer_sha256) == 64


async def test_texts_are_kept_only_where_that_is_asked(server, ask):
    report = await ask(keep_text=True, limit=1)
    assert report.samples[0].answer == "Answer: B"
    assert report.samples[0].prompt == server.bodies[0]["messages"]


@pytest.mark.parametrize(
    ("answer", "outcome", "score", "truncated"),
    [
        ("No idea.", SampleOutcome.NO_ANSWER, 0.0, False),
        ("", SampleOutcome.NO_ANSWER, 0.0, False),
        (
            {"message": {"content": "No"}, "finish_reason": "length"},
            SampleOutcome.NO_ANSWER,
            0.0,
            True,
        ),
        (
            {"message": {"content": None, "refusal": "I must not."}, "finish_reason": "stop"},
            SampleOutcome.REFUSED,
            0.0,
            False,
        ),
        (
            {"message": {"content": "Answer: B"}, "finish_reason": "content_filter"},
            SampleOutcome.CONTENT_FILTER,
            0.0,
            False,
        ),
    ],
)
async def test_what_is_no_answer_is_counted_on_its_own_and_never_asked_again(
    server, ask, answer, outcome, score, truncated
):
    server.act = lambda _text, _times: answer
    report = await ask(limit=2)
    assert [(one.outcome, one.score, one.truncated, one.tries) for one in report.samples] == [
        (outcome, score, truncated, 1)
    ] * 2
    assert len(server.bodies) == 2


async def test_a_400_is_an_error_and_no_wrong_answer(server, ask):
    refusal = {"error": {"message": "too long", "type": "x", "param": None, "code": None}}
    answers = iter(["Answer: no letter"])
    server.act = lambda *_: next(answers, None) or web.json_response(refusal, status=400)
    report = await ask(limit=4, concurrency=1)
    assert {(one.outcome, one.score, one.error) for one in report.samples[1:]} == {
        (SampleOutcome.ERROR, None, "http_error 400: too long")
    }
    assert (tally(report.samples).errors, len(server.bodies)) == (3, 4)


@pytest.mark.parametrize("concurrency", [1, 16])
async def test_where_every_question_is_refused_the_run_ends_with_the_servers_words(
    server, ask, concurrency
):
    refusal = {"error": {"message": "the context is 4 tokens"}}
    server.act = lambda *_: web.json_response(refusal, status=400)
    with pytest.raises(TargetError, match="http_error 400: the context is 4 tokens"):
        await ask(concurrency=concurrency)
    assert len(server.bodies) <= 8 + concurrency + 1


@pytest.mark.parametrize(
    ("status", "limit", "concurrency", "most"),
    [(500, 100, 1, 8), (502, 100, 16, 24), (429, 100, 4, 12), (503, 3, 16, 3)],
)
async def test_where_every_question_is_answered_with_5xx_the_run_ends_with_the_servers_words(
    server, ask, status, limit, concurrency, most
):
    refusal = {"error": {"message": "the upstream is down"}}
    server.act = lambda *_: web.json_response(refusal, status=status)
    with pytest.raises(TargetError) as caught:
        await ask(limit=limit, concurrency=concurrency, retries=1)
    report = ask.machine.report
    errors = tally(report.samples).errors
    assert errors == len(report.samples) <= most
    assert str(caught.value) == (
        f"{server.url} answered none of the first {errors} questions (http_error {status}: the "
        "upstream is down); see the server's log; when it answers, go on with --resume and "
        "--retry-errors"
    )
    assert report.status == "failed"
    assert len(server.bodies) == 2 * errors


async def test_the_most_common_failure_is_told_where_there_are_several(server, ask):
    statuses = iter([500, 502, 502])
    server.act = lambda *_: web.Response(status=next(statuses), text="down")
    with pytest.raises(TargetError, match=r"first 3 questions \(http_error 502: down, and 1 other"):
        await ask(limit=3, concurrency=1, retries=0)


async def test_a_server_that_begins_to_fail_at_everything_ends_the_run(server, ask):
    server.act = lambda *_: (
        "Answer: B" if len(server.bodies) <= 20 else web.Response(status=502, text="down")
    )
    with pytest.raises(TargetError, match="begun to fail at everything: 32 questions in a row"):
        await ask(limit=100, concurrency=1, retries=0)
    report = ask.machine.report
    assert (tally(report.samples).completed, tally(report.samples).errors) == (20, 32)


async def test_what_is_refused_after_a_run_was_answered_is_about_its_questions(server, ask):
    whole = await ask(limit=20)
    server.act = lambda *_: web.json_response({"error": {"message": "too long"}}, status=400)
    report = await ask(limit=20, done=whole.samples[:8], concurrency=1)
    assert (report.status, tally(report.samples).errors) == ("complete", 12)


async def test_the_settings_are_those_that_were_sent(server, asked):
    task, config, questions = await asked("mmlu", limit=1, temperature=0.5, max_tokens=77)
    extra = {"max_tokens": 9, "temperature": 1.0, "top_p": None}
    target = Target(server.url, stream=False, extra_body=extra)
    report = await Accuracy(target, task, questions, config)()
    assert (report.config["max_tokens"], report.config["temperature"]) == (9, 1.0)
    assert report.config["top_p"] == config.top_p
    assert (server.bodies[0]["max_tokens"], server.bodies[0]["temperature"]) == (9, 1.0)


async def test_a_field_that_is_refused_by_name_is_left_out_of_all_questions(server, ask):
    def act(*_):
        if "temperature" in server.bodies[-1]:
            words = "Unsupported value: 'temperature' does not support 0 with this model."
            return web.json_response({"error": {"message": words}}, status=400)
        return "Answer: B"

    server.act = act
    report = await ask(limit=20, concurrency=4)
    assert tally(report.samples).errors == 0
    assert report.target.omit == ["temperature"]
    assert any("--omit temperature" in note for note in report.notes)


async def test_a_context_too_small_for_max_tokens_is_told_with_what_to_do(server, ask):
    words = (
        "This model's maximum context length is 4096 tokens. However, you requested 4200 tokens "
        "(104 in the messages, 4096 in the completion)."
    )
    answers = iter(["Answer: B"] * 3)
    server.act = lambda *_: (
        next(answers, None) or web.json_response({"error": {"message": words}}, status=400)
    )
    report = await ask(limit=5, concurrency=1)
    assert report.remarks[-2:] == [
        f"the most common error, 2 times: http_error 400: {words}; lower --max-tokens",
        "2 of 5 samples ended in an error and count as 0; `score_completed` leaves them out",
    ]
    assert f"the most common error, 2 times: http_error 400: {words}; lower" in " ".join(
        render_accuracy(report, color=False).split()
    )
    assert words in accuracy_page(report, show_text=False).replace("&#x27;", "'")


async def test_an_answer_that_a_filter_stopped_is_counted_and_told_everywhere(server, ask):
    stopped = {"message": {"content": "Answer: B"}, "finish_reason": "content_filter"}
    answers = iter([stopped, "Answer: B", stopped])
    server.act = lambda *_: next(answers)
    report = await ask(limit=3, concurrency=1)
    outcomes = [SampleOutcome.CONTENT_FILTER, SampleOutcome.SCORED, SampleOutcome.CONTENT_FILTER]
    assert [one.outcome for one in report.samples] == outcomes
    assert [one.score for one in report.samples] == [0.0, report.samples[1].score, 0.0]
    found = report.to_json()
    assert (found["content_filter"], found["refused"], found["errors"]) == (2, 0, 0)
    remark = "2 of 3 answers were stopped by a content filter and count as 0"
    assert remark in found["remarks"]
    text = render_accuracy(report, color=False)
    assert remark in text
    assert "0 refused, 2 content filter, 0 errors" in text
    page = accuracy_page(report, show_text=False)
    assert f"<p>{remark}</p>" in page
    assert ">content filter<" in page


async def test_passing_faults_are_tried_again_and_counted(server, ask):
    def busy_twice(_text, times):
        return "Answer: B" if times > 2 else web.Response(status=503, text="busy")

    server.act = busy_twice
    report = await ask(limit=2, concurrency=1)
    assert [one.tries for one in report.samples] == [3, 3]
    assert report.samples[0].retried == ["503: busy", "503: busy"]
    assert tally(report.samples).retries == 4
    assert len(ask.waits) == 4


async def test_retry_after_is_waited_for(server, ask):
    def later(_text, times):
        headers = {"Retry-After": "11"}
        return "Answer: B" if times > 1 else web.Response(status=429, headers=headers)

    server.act = later
    await ask(limit=2)
    assert ask.waits == [11.0, 11.0]


async def test_a_broken_connection_is_tried_again_and_tries_end(server, ask):
    answers = iter(["Answer: B"])
    server.act = lambda *_: next(answers, None)
    report = await ask(limit=3, retries=2, concurrency=1)
    assert [one.tries for one in report.samples] == [1, 3, 3]
    assert {one.outcome for one in report.samples[1:]} == {SampleOutcome.ERROR}


async def test_a_server_that_has_gone_ends_the_run_and_what_was_answered_stays(server, ask):
    server.act = lambda _text, _times: "Answer: B" if len(server.bodies) <= 20 else None
    with pytest.raises(TargetError, match="has gone: 8 questions in a row found no server"):
        await ask(limit=60, concurrency=1, retries=0)
    report = ask.machine.report
    assert report.status == "failed"
    assert tally(report.samples).completed == 20
    assert tally(report.samples).errors == 8


async def test_samples_that_cannot_be_written_end_the_run(server, ask):
    def full(_sample):
        raise ResultsError("full")

    with pytest.raises(ResultsError, match="full"):
        await ask(limit=50, concurrency=1, on_sample=full)
    assert len(server.bodies) == 1


async def test_so_many_are_asked_at_a_time(server, ask):
    async def slowly(_text, _times):
        await asyncio.sleep(0.01)
        return "Answer: B"

    server.act = slowly
    report = await ask(limit=30, concurrency=7)
    assert server.most == 7
    assert len(report.samples) == 30


async def test_at_a_rate_all_are_asked(server, ask):
    report = await ask(limit=20, rate=1000.0)
    assert len(report.samples) == 20
    assert len(ask.waits) == 20
    assert [one.index for one in report.samples] == list(range(20))


async def test_what_was_asked_is_not_asked_again(server, ask):
    whole = await ask(limit=10)
    asked_of = {body["messages"][-1]["content"] for body in server.bodies}
    assert len(asked_of) == 10
    server.bodies.clear()
    report = await ask(limit=10, done=whole.samples[:6])
    assert len(server.bodies) == 4
    assert [one.index for one in report.samples] == list(range(10))
    assert report.score == whole.score


async def test_samples_of_other_questions_are_refused(server, ask, asked):
    whole = await ask(limit=3)
    _, config, others = await asked("gsm8k", limit=3)
    with pytest.raises(ConfigError, match="sample 0 does not belong to these questions"):
        remaining(others, whole.samples, config)
    with pytest.raises(ConfigError, match="sample 0 appears twice"):
        remaining(ask.questions, [whole.samples[0]] * 2, ask.config)


async def test_an_interrupt_keeps_what_was_answered(server, ask):
    async def then_stop(_text, _times):
        if len(server.bodies) == 4:
            ask.machine.interrupt()
            await asyncio.Event().wait()
        return "Answer: B"

    server.act = then_stop
    report = await ask(limit=10, concurrency=1)
    assert (report.status, len(report.samples)) == ("interrupted", 3)
    assert "3 of 10 samples were made: the run is interrupted" in report.remarks


def test_a_sample_survives_its_file():
    sample = Sample(
        3,
        "key",
        1,
        "g",
        "B",
        {"permutation": [1, 0]},
        SampleOutcome.SCORED,
        extracted="B",
        score=1.0,
        retried=["503: busy"],
        prompt=[{"role": "user", "content": "?"}],
        answer="B",
    )
    line = json.dumps(sample.to_json()).encode()
    assert Sample.from_json(line) == sample
    for wrong, fault in (
        ({"index": "1"}, "index: input should be a valid integer"),
        ({"outcome": "perhaps"}, "outcome: input should be 'scored'"),
        ({"prompt": "?"}, "prompt: input should be a valid array"),
    ):
        with pytest.raises(ValueError, match=f"it is not a sample: {fault}"):
            Sample.from_json(json.dumps(sample.to_json() | wrong).encode())
    for name in ("index", "outcome"):
        short = {key: value for key, value in sample.to_json().items() if key != name}
        with pytest.raises(ValueError, match=f"it is not a sample: {name}: field required"):
            Sample.from_json(json.dumps(short).encode())


def test_errors_can_be_asked_again():
    good = Sample(0, "a", 0, "", "B", outcome=SampleOutcome.SCORED, score=0.0)
    bad = Sample(1, "b", 0, "", "B")
    assert without_errors([good, bad]) == [good]


def test_a_question_as_one_text():
    question = Question(0, "k", 0, "What?", "B", shots=(("1+1?", "2"),))
    assert question.plain("Sys.") == "Sys.\n\n1+1?\n2\n\nWhat?"
