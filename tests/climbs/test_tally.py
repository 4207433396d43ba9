"""Output tokens that no usage tells, counted by a tokenizer beside a load and after it."""

import csv
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import benchcore
from benchcore.client.records import Outcome, Record, TokenCountSource, Usage
from benchcore.climbs.requests import CHARACTERS_A_SLICE, ROWS_A_SLICE, Tally
from benchcore.runs.sinks import LevelHead, RequestRow

HEAD = LevelHead("c1", 1, 0)
NO_USAGE = {"stream_options": None}


class Sinks:
    """Notes what reaches the sinks, as it was at that moment."""

    def __init__(self):
        self.seen = []

    def requests(self, rows):
        self.seen += [(row.record.index, row.record.output_tokens) for row in rows]


def words(text):
    return len(text.split())


def row(index, *texts, usage=None, streamed=True):
    record = Record("x", index=index, outcome=Outcome.OK, streamed=streamed, usage=usage)
    record.token_events = 1
    record.text, record.texts = "".join(texts), list(texts)
    return RequestRow(HEAD, record, "window")


@pytest.fixture
def sinks():
    return Sinks()


@pytest.fixture
def tally(sinks):
    found = Tally(sinks, keep_text=False)
    found.count = words
    return found


def test_without_a_tokenizer_rows_are_written_at_once(sinks):
    tally = Tally(sinks, keep_text=False)
    tally.write([row(0, "a b c")])
    assert sinks.seen == [(0, 1)]
    assert len(tally) == 0


def test_what_the_server_billed_is_not_counted(tally, sinks):
    tally.write([row(0, "a b c", usage=Usage(completion_tokens=9)), row(1, "a b")])
    assert sinks.seen == [(0, 9)]
    tally.slice()
    assert sinks.seen == [(0, 9), (1, 2)]


def test_every_text_counts(tally, sinks):
    tally.write([row(0, "a b c", "d e", "f")])
    tally.slice()
    assert sinks.seen == [(0, 6)]


def test_a_usage_without_output_tokens_is_none(tally, sinks):
    tally.write([row(0, "a b c", usage=Usage(prompt_tokens=7))])
    tally.slice()
    assert sinks.seen == [(0, 3)]


async def test_a_slice_counts_so_many_characters_and_a_longer_text_waits_for_the_end(tally, sinks):
    half = "a " * (CHARACTERS_A_SLICE // 4)
    tally.write([row(0, half * 3), row(1, half), row(2, half), row(3, half)])
    tally.slice()
    assert [index for index, _ in sinks.seen] == [1, 2]
    tally.slice()
    tally.slice()
    assert [index for index, _ in sinks.seen] == [1, 2, 3]
    assert len(tally) == 1
    await tally.finish()
    assert sinks.seen[-1] == (0, words(half * 3))


def test_a_slice_counts_so_many_rows(tally, sinks):
    tally.write([row(index) for index in range(ROWS_A_SLICE + 1)])
    tally.slice()
    assert len(sinks.seen) == ROWS_A_SLICE
    assert len(tally) == 1


def test_whoever_gives_up_has_events_for_tokens(tally, sinks):
    rows = [row(0, "a b c"), row(1, "a " * CHARACTERS_A_SLICE)]
    tally.write(rows)
    tally.give_up()
    tally.write([row(2, "a b c")])
    assert sinks.seen == [(0, 1), (1, 1), (2, 1)]
    assert {each.record.token_count_source for each in rows} == {TokenCountSource.EVENTS}
    assert len(tally) == 0


@pytest.mark.parametrize("keep", [False, True])
def test_texts_are_dropped_once_their_row_is_written_unless_they_are_to_stay(sinks, keep):
    tally = Tally(sinks, keep_text=keep)
    tally.count = words
    given = row(0, "a b")
    tally.write([given])
    assert given.record.texts == ["a b"]
    tally.slice()
    assert given.record.texts is None
    assert given.record.text == ("a b" if keep else None)


def test_a_plain_answer_is_counted_by_its_json(tally, sinks):
    plain = row(0, streamed=False)
    message = {"content": "a b", "reasoning_content": "c"}
    plain.record.answer = {"choices": [{"message": message}, {"message": {"content": "d"}}]}
    tally.write([plain])
    tally.slice()
    assert sinks.seen == [(0, 4)]
    assert plain.record.answer is None


@pytest.mark.parametrize("answer", [None, {"error": "no"}])
def test_the_tokens_of_no_answer_stay_unknown(tally, sinks, answer):
    plain = row(0, streamed=False)
    plain.record.answer = answer
    tally.write([plain])
    assert sinks.seen == [(0, None)]


# On a real climb.


@pytest.fixture(scope="module")
def by_words(tmp_path_factory):
    """A tokenizer to which each word is a token."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def rows_of(folder):
    with (Path(folder) / "requests.csv").open() as lines:
        return list(csv.DictReader(lines))


def texts_of(folder):
    lines = (Path(folder) / "texts.jsonl").read_text().splitlines()
    return {found["request_id"]: found["text"] for found in map(json.loads, lines)}


async def climb(base_url, *, extra=NO_USAGE, **more):
    return await benchcore.climb(
        benchcore.Target(base_url, extra_body=extra),
        workload=benchcore.Synthetic(input_tokens=16, output_tokens=12, seed=1),
        **{"requests": 20, "concurrency": [2], "idle_seconds": 0} | more,
    )


@pytest.mark.integration
async def test_an_answer_without_usage_has_its_tokens_by_the_tokenizer(
    simulator, by_words, tmp_path
):
    run = await climb(simulator.base_url, tokenizer=by_words, output=tmp_path, save_text=True)
    (level,) = run.levels
    assert level.tokens.token_count_source == {"tokenizer": 20}
    texts, rows = texts_of(run.folder), rows_of(run.folder)
    assert len(rows) > 20  # the unmeasured ones too
    for found in rows:
        assert found["token_count_source"] == "tokenizer"
        assert int(found["output_tokens"]) == words(texts[found["request_id"]])
    assert any(found["output_tokens"] != found["token_events"] for found in rows)
    total = sum(words(texts[record.request_id]) for record in level.records)
    assert level.tokens.output == total
    note = "the server reports no usage: tokens are counted by the tokenizer"
    assert note in run.to_json()["target"]["probe"]["notes"]


@pytest.mark.integration
async def test_without_a_tokenizer_token_events_are_counted(simulator):
    (level,) = (await climb(simulator.base_url)).levels
    assert level.tokens.token_count_source == {"events": 20}
    assert level.tokens.output == sum(record.token_events for record in level.records)


@pytest.mark.integration
async def test_the_servers_usage_goes_before_the_tokenizer_and_no_text_stays(simulator, by_words):
    (level,) = (await climb(simulator.base_url, extra={}, tokenizer=by_words)).levels
    assert level.tokens.token_count_source == {"usage": 20}
    kept = {(record.text, record.texts, record.answer) for record in level.records}
    assert kept == {(None, None, None)}


@pytest.mark.integration
async def test_long_answers_are_counted_when_the_level_is_over(
    simulator, by_words, tmp_path, monkeypatch
):
    monkeypatch.setattr(Tally, "slice", lambda _self: None)
    run = await climb(simulator.base_url, tokenizer=by_words, output=tmp_path)
    assert run.levels[0].tokens.token_count_source == {"tokenizer": 20}
    rows = rows_of(run.folder)
    assert {found["token_count_source"] for found in rows} == {"tokenizer"}
    assert {record.text for record in run.levels[0].records} == {None}


@pytest.mark.integration
async def test_short_answers_are_counted_while_the_level_runs(simulator, by_words, monkeypatch):
    left = []
    finish = Tally.finish

    async def noting(self):
        left.append(len(self))
        await finish(self)

    monkeypatch.setattr(Tally, "finish", noting)
    run = await climb(
        simulator.base_url,
        tokenizer=by_words,
        requests=None,
        duration_seconds=0.5,
        think_time_seconds=0.01,
    )
    assert run.levels[0].tokens.token_count_source == {"tokenizer": run.levels[0].ok}
    assert left[0] < run.levels[0].ok / 2
