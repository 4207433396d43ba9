"""Traces: each public format as sessions, windows, faults, and the same in every process.

The fixtures are ours, written from the published descriptions of the formats:

- Mooncake: README of `kvcache-ai/Mooncake`, FAST '25 release; `session_id` and `delay` as AIPerf
  and `benchcore record` write them;
- Bailian: README of `alibaba-edu/qwen-bailian-usagetraces-anon`;
- BurstGPT: README of `HPMLL/BurstGPT`;
- Azure: README of `Azure/AzurePublicDataset`, LLM inference 2023 and 2024.
"""

import csv
import hashlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchcore.base.errors import ConfigError
from benchcore.workload.agent_traces import Weka
from benchcore.workload.kinds import is_timed
from benchcore.workload.named import load_workload
from benchcore.workload.spans import Otel
from benchcore.workload.traces import Azure, Bailian, BurstGPT, Mooncake, Plain
from tests.conftest import bare_environment

FIXTURES = Path(__file__).parents[1] / "fixtures" / "workloads"
MS = 1_000_000
KINDS = {
    "mooncake": lambda: Mooncake(path=str(FIXTURES / "mooncake.jsonl")),
    "mooncake sessions": lambda: Mooncake(path=str(FIXTURES / "mooncake_sessions.jsonl")),
    "bailian": lambda: Bailian(path=str(FIXTURES / "bailian.jsonl")),
    "burstgpt": lambda: BurstGPT(path=str(FIXTURES / "burstgpt.csv")),
    "azure 2023": lambda: Azure(path=str(FIXTURES / "azure_2023.csv")),
    "azure 2024": lambda: Azure(path=str(FIXTURES / "azure_2024.csv")),
    "trace": lambda: Plain(path=str(FIXTURES / "plain.csv")),
    "weka": lambda: Weka(path=str(FIXTURES / "weka")),
    "otel": lambda: Otel(path=str(FIXTURES / "otel.jsonl")),
}


def shape(turn):
    """Return what a turn waits for and asks, in ms and tokens."""
    ask = turn.ask
    return (
        turn.after,
        turn.wait_ns / MS,
        turn.at_ns / MS,
        ask.input_tokens,
        ask.output_tokens,
        turn.kind,
    )


def shapes(kind):
    """Return the shapes of sessions; a warm-up's time is `None`."""
    return [
        (None if session.warms_up else session.at_ns / MS, [shape(turn) for turn in session.turns])
        for session in kind.sessions("s1", 1)
    ]


def alone(at_ms, tokens, output, kind=""):
    """Return the shape of a session of one turn."""
    return (at_ms, [((), 0, 0, tokens, output, kind)])


# The formats.


def test_mooncake_has_times_lengths_and_blocks_of_512_tokens():
    kind = KINDS["mooncake"]()
    assert shapes(kind) == [
        alone(0, 1100, 50),
        alone(0, 700, 12),
        alone(3052, 1300, 9),
        alone(6100.5, 300, 1),
    ]
    asks = [session.turns[0].ask for session in kind.sessions()]
    assert [ask.blocks for ask in asks] == [(0, 1, 2), (0, 3), (0, 1, 4), (5,)]
    assert {ask.block_tokens for ask in asks} == {512}
    assert all(ask.exact_output for ask in asks)


def test_mooncake_turns_of_a_session_wait_for_one_another():
    assert shapes(KINDS["mooncake sessions"]()) == [
        (
            0,
            [
                ((), 0, 0, 100, 10, "chat"),
                ((0,), 250, 0, 160, 11, "chat"),
                ((1,), 0, 3000, 200, 12, "chat"),
            ],
        ),
        (500, [((), 0, 0, 90, 5, ""), ((0,), 2000, 0, 120, 6, "")]),
    ]
    sizes = [[t.ask.block_tokens for t in s.turns] for s in KINDS["mooncake sessions"]().sessions()]
    assert sizes == [[512, 512, 512], [64, 64]]


def test_bailian_children_wait_for_their_parent_and_their_own_time():
    kind = KINDS["bailian"]()
    assert shapes(kind) == [
        (
            0,
            [
                ((), 0, 0, 35, 8, "text"),
                ((0,), 0, 3250, 60, 6, "text"),
                ((0,), 0, 4750, 64, 5, "image"),
            ],
        ),
        alone(750, 20, 4, "search"),
        alone(3750, 16, 3, "text"),  # its parent is not in the file
    ]
    assert next(kind.sessions()).turns[0].ask.block_tokens == 16


def test_burstgpt_leaves_out_what_was_not_answered_and_other_models():
    assert shapes(KINDS["burstgpt"]()) == [
        alone(0, 472, 18, "ChatGPT"),
        alone(40_000, 1087, 230, "ChatGPT"),
        alone(113_000, 417, 276, "GPT-4"),
    ]
    kind = BurstGPT(path=str(FIXTURES / "burstgpt.csv"), model="GPT-4")
    assert shapes(kind) == [alone(0, 417, 276, "GPT-4")]


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Shanghai"])
def test_azure_of_both_years_has_dates_whatever_the_machine_s_zone(monkeypatch, zone):
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        found = [
            [(round(at, 3), turns[0][3:5]) for at, turns in shapes(KINDS[name]())]
            for name in ("azure 2023", "azure 2024")
        ]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found == [
        [(0, (4808, 10)), (52, (3180, 8)), (98.189, (110, 27))],
        [(0, (2162, 5)), (7.405, (2399, 6)), (990.07, (76, 15))],
    ]


def test_a_change_of_the_clock_in_some_zone_is_no_gap(tmp_path, monkeypatch):
    import time

    path = tmp_path / "t.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-05 01:59:59,10,1\n2023-11-05 02:00:01,10,1\n"
    )
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert [at for at, _ in shapes(Azure(path=str(path)))] == [0, 2000]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_plain_trace_has_columns_and_a_unit_of_its_own(tmp_path):
    assert shapes(KINDS["trace"]()) == [alone(0, 100, 20), alone(250, 30, 4), alone(1500, 64, 8)]
    path = tmp_path / "t.jsonl"
    path.write_text('{"when": 5, "p": 10, "c": 1}\n{"when": 2500005, "p": "11", "c": 2.0}\n')
    kind = Plain(path=str(path), time="when", input="p", output="c", unit="us")
    assert shapes(kind) == [alone(0, 10, 1), alone(2500, 11, 2)]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_times_and_can_be_named_on_the_command_line(name):
    kind = KINDS[name]()
    assert is_timed(kind)
    (part,) = load_workload(f"{kind.kind},path={kind.path}").parts
    assert list(part.workload.sessions("s1")) == list(kind.sessions("s1"))
    assert part.workload.describe()["path"] == kind.path


def test_a_replay_uses_the_output_lengths_that_are_asked_for():
    kind = Mooncake(
        path=str(FIXTURES / "mooncake.jsonl"), output_tokens="uniform:5:900", ignore_eos=False
    )
    asks = [session.turns[0].ask for session in kind.sessions()]
    assert len({ask.output_tokens for ask in asks}) > 1
    assert all(5 <= ask.output_tokens <= 900 and not ask.exact_output for ask in asks)
    assert asks == [session.turns[0].ask for session in kind.sessions("other level")]


# Texts.


def words(kind, number):
    session = next(itertools.islice(kind.sessions(), number, None))
    return kind.made(session.turns[0].ask).text.split()


def test_equal_blocks_are_equal_texts_and_others_are_not():
    kind = KINDS["mooncake"]()
    first, second, third, _ = (words(kind, n) for n in range(4))

    def common(one, other):
        return sum(
            1
            for _ in itertools.takewhile(
                lambda pair: pair[0] == pair[1], zip(one, other, strict=False)
            )
        )

    # A word is a token where nothing counts; marks are tokens of their own.
    assert common(first, third) > common(first, second) > 300
    assert common(first, words(kind, 3)) < 5


def digest(name, count=10_000):
    """Return the hash of the first turns of a kind."""
    found = hashlib.sha256()
    kind = KINDS[name]()
    turns = ((session.at_ns, turn) for session in kind.sessions("s1", 1) for turn in session.turns)
    for at_ns, turn in itertools.islice(turns, count):
        prompt = kind.made(turn.ask)
        found.update(f"{at_ns} {shape(turn)} {prompt.extra} {prompt.text}".encode())
    return found.hexdigest()[:16]


DIGESTS = {
    "mooncake": "8a8b51e0388f772f",
    "mooncake sessions": "675edb2e1c09b2fd",
    "bailian": "fb0e993e350715c6",
    "burstgpt": "6909d67e57492101",
    "azure 2023": "b84c4ce7b8db3038",
    "azure 2024": "d5e9eefe05d3c84d",
    "trace": "302e09bd00d3aab9",
    "weka": "93ae01c775ade543",
    "otel": "5d761c397c2798b5",
}


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_first_ten_thousand_bodies_are_the_same_in_every_process(seed):
    code = (
        "import json\n"
        "from tests.workload.test_traces import KINDS, digest\n"
        "print(json.dumps({name: digest(name) for name in KINDS}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=bare_environment(PYTHONHASHSEED=seed),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == DIGESTS


# Windows, warm-ups, limits.


@pytest.fixture
def mooncake(tmp_path):
    """Write a trace of rows and return what makes its kind."""

    def make(*values, **fields):
        path = tmp_path / "t.jsonl"
        usual = {"input_length": 10, "output_length": 1}
        path.write_text("".join(json.dumps({**usual, **value}) + "\n" for value in values))
        return Mooncake(path=str(path), **fields)

    return make


def test_a_window_counts_from_the_first_row_and_begins_at_its_start(mooncake):
    rows = [{"timestamp": 5000 + ms} for ms in (0, 1000, 2000, 2999, 3000, 9000)]
    kind = mooncake(*rows, start=1, stop=3)
    assert [at for at, _ in shapes(kind)] == [0, 1000, 1999]
    assert [at for at, _ in shapes(mooncake(*rows, start=3))] == [0, 6000]
    assert [at for at, _ in shapes(mooncake(*rows, limit=2))] == [0, 1000]
    for more, told in [({"stop": 8}, "8 s"), ({"start": 9.5}, "its end")]:
        kind = mooncake(*rows, **{"start": 4, **more})
        with pytest.raises(ConfigError) as caught:
            shapes(kind)
        assert str(caught.value) == (
            f"{kind.path}: holds no request between {kind.start:g} s and {told}"
        )


def test_a_window_must_have_a_length():
    with pytest.raises(ValidationError, match="stop lies no later than start"):
        Mooncake(path="t.jsonl", start=3, stop=3)


CONVERSATIONS = [
    {"timestamp": 0, "session_id": "a", "input_length": 11},
    {"timestamp": 500, "session_id": "gone", "input_length": 12},
    {"timestamp": 1000, "session_id": "a", "input_length": 13},
    {"timestamp": 2000, "session_id": "b", "input_length": 14},
    {"timestamp": 3000, "session_id": "b", "input_length": 15, "delay": 100},
    {"timestamp": 3500, "session_id": "c", "input_length": 16},
    {"timestamp": 4000, "session_id": "a", "input_length": 17},
    {"timestamp": 5000, "session_id": "b", "input_length": 18, "delay": 200},
]


def test_a_start_in_the_middle_sends_the_turn_before_as_a_warm_up(mooncake):
    assert shapes(mooncake(*CONVERSATIONS, start=2.5, warm=True)) == [
        (None, [((), 0, 0, 14, 1, "")]),
        (None, [((), 0, 0, 13, 1, "")]),
        (500, [((), 0, 0, 15, 1, ""), ((0,), 200, 0, 18, 1, "")]),
        alone(1000, 16, 1),
        alone(1500, 17, 1),
    ]
    assert [at for at, _ in shapes(mooncake(*CONVERSATIONS, start=2.5))] == [500, 1000, 1500]


def test_a_class_of_that_name_is_no_warm_up(mooncake):
    kind = mooncake({"timestamp": 0, "class": "warmup"}, {"timestamp": 5, "class": "b"})
    assert shapes(kind) == [alone(0, 10, 1, "warmup"), alone(5, 10, 1, "b")]


def test_a_limit_counts_sessions_and_not_their_warm_ups(mooncake):
    found = shapes(mooncake(*CONVERSATIONS, start=2.5, warm=True, limit=1))
    assert [(at, turns[0][3]) for at, turns in found] == [
        (None, 14),
        (500, 15),
    ]


TIMES = st.lists(st.integers(0, 20_000), min_size=1, max_size=30).map(sorted)
ANY_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@ANY_FILE
@given(TIMES, st.integers(0, 20), st.integers(1, 20), st.none() | st.integers(1, 10))
def test_any_window_holds_what_lies_in_it(mooncake, times, start, more, limit):
    rows = [{"timestamp": ms, "input_length": 10 + n} for n, ms in enumerate(times)]
    kind = mooncake(*rows, start=start, stop=start + more, limit=limit)
    first, begin, end = times[0], start * 1000, (start + more) * 1000
    wanted = [
        alone(ms - first - begin, 10 + n, 1)
        for n, ms in enumerate(times)
        if begin <= ms - first < end
    ]
    if wanted:
        assert shapes(kind) == wanted[:limit]
    else:
        with pytest.raises(ConfigError, match="holds no request between"):
            shapes(kind)


@ANY_FILE
@given(
    st.lists(st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(0, 50)), min_size=1),
    st.none() | st.integers(1, 3),
)
def test_sessions_read_as_they_end_are_those_that_are_read_whole(mooncake, rows, stop):
    values = [{"timestamp": 0, "session_id": "first"}]
    for n, (session, delay) in enumerate(rows):
        value = {"timestamp": n * 100, "session_id": session, "input_length": 10 + n}
        values.append({**value, "delay": delay} if session is not None else value)
    found = shapes(mooncake(*values, stop=stop))
    assert found == shapes(mooncake(*values, stop=stop, sort=True))
    assert sum(len(turns) for _, turns in found) == sum(
        value["timestamp"] < (stop or 1e9) * 1000 for value in values
    )


def test_a_bad_row_is_told_of_before_the_first_session_of_a_linked_trace(mooncake):
    rows = [{"timestamp": ms, "session_id": name} for ms, name in [(0, "a"), (10, "b"), (30, "a")]]
    reading = mooncake(*rows, {"timestamp": "late"}).sessions()
    with pytest.raises(ConfigError, match=r":4: timestamp 'late' is not a number"):
        next(reading)


@pytest.fixture
def bailian(tmp_path):
    """Write a trace of rows (seconds, name, parent) and return what makes its kind."""

    def make(rows, **fields):
        path = tmp_path / "b.jsonl"
        with path.open("w") as file:
            for n, (at, name, parent) in enumerate(rows):
                row = {"timestamp": at, "chat_id": name, "parent_chat_id": parent}
                file.write(json.dumps({**row, "input_length": 10 + n, "output_length": 1}) + "\n")
        return Bailian(path=str(path), **fields)

    return make


def linked_by_hand(rows, start, stop, limit):
    """Return the warm-ups and sessions of a window: lengths and what they wait for, row by row."""
    zero = rows[0][0]
    groups, root = {}, {}
    for n, (at, name, parent) in enumerate(rows):
        group = root.get(parent, n)
        groups.setdefault(group, []).append((at - zero, 10 + n, name, parent))
        if name is not None:
            root[name] = group
    kept = []
    for group in groups.values():
        inside = [row for row in group if start <= row[0] < stop]
        if inside:
            kept.append((inside, [row for row in group if row[0] < start]))
    kept.sort(key=lambda one: min(row[0] for row in one[0]))
    warm = [max(before, key=lambda row: row[0])[1] for _, before in kept[:limit] if before]
    sessions = []
    for inside, _ in kept[:limit]:
        places, turns = {}, []
        for place, (_, tokens, name, parent) in enumerate(inside):
            turns.append((tokens, (places[parent],) if parent in places else ()))
            if name is not None:
                places[name] = place
        sessions.append((min(row[0] for row in inside) - start, turns))
    return warm, sessions


NAMES = st.none() | st.integers(0, 6) | st.sampled_from(["a", "b", "5"])


@ANY_FILE
@given(
    st.lists(st.tuples(st.integers(0, 30), NAMES, NAMES), min_size=1, max_size=40),
    st.integers(0, 10),
    st.none() | st.integers(11, 30),
    st.none() | st.integers(1, 4),
    st.booleans(),
)
def test_links_are_those_that_are_made_row_by_row(bailian, rows, start, stop, limit, sort):
    # Names that come again, parents that come later, and those that never come are among them.
    ordered = sorted(rows, key=lambda row: row[0])
    if not sort:
        rows = ordered
    kind = bailian(rows, start=start, stop=stop, limit=limit, warm=True, sort=sort)
    # The lengths tell which row it is, and sorting moves them.
    lengths = sorted(range(len(rows)), key=lambda n: rows[n][0])
    warm, sessions = linked_by_hand(ordered, start, stop or 1e9, limit)
    if not sessions:
        with pytest.raises(ConfigError, match="holds no request between"):
            list(kind.sessions())
        return
    found = list(kind.sessions())
    assert [one.turns[0].ask.input_tokens for one in found if one.warms_up] == [
        10 + lengths[tokens - 10] for tokens in warm
    ]
    assert [
        (one.at_ns / 1e9, [(turn.ask.input_tokens, turn.after) for turn in one.turns])
        for one in found
        if not one.warms_up
    ] == [
        (at, [(10 + lengths[tokens - 10], after) for tokens, after in turns])
        for at, turns in sessions
    ]


KEYS = ("timestamp", "input", "output")
FORMS = {
    "jsonl": lambda rows: "".join(
        json.dumps(dict(zip(KEYS, one, strict=True))) + "\n\n" for one in rows
    ),
    "json": lambda rows: json.dumps([dict(zip(KEYS, one, strict=True)) for one in rows]),
    "csv": lambda rows: (
        'timestamp,input,output,"a ""note"""\n'
        + "".join(f'{at},{asked},{told},"two\nlines, é"\n' for at, asked, told in rows)
    ),
    "tsv": lambda rows: (
        "timestamp\tinput\toutput\n" + "".join("\t".join(map(str, row)) + "\r\n" for row in rows)
    ),
}


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", FORMS)
def test_rows_are_read_again_whatever_the_format(tmp_path, form, coding):
    rows = [(3, 12, 5), (1, 10, 6), (2, 11, 7)]
    path = tmp_path / f"t.{form}"
    path.write_bytes(FORMS[form](rows).encode(coding))
    assert shapes(Plain(path=str(path), sort=True)) == [
        alone(0, 10, 6),
        alone(1000, 11, 7),
        alone(2000, 12, 5),
    ]


def test_rows_of_parquet_are_read_again(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    columns = {"timestamp": [3, 1, 2], "input": [12, 10, 11], "output": [5, 6, 7]}
    parquet.write_table(pyarrow.table(columns), path)
    found = shapes(Plain(path=str(path), sort=True))
    assert [turns[0][3] for _, turns in found] == [10, 11, 12]


def test_a_file_that_changes_while_it_is_replayed_is_refused(mooncake):
    kind = mooncake(*CONVERSATIONS)
    reading = kind.sessions()
    next(reading)
    Path(kind.path).write_text("[]\n" * 400)
    with pytest.raises(ConfigError, match=r":2: has changed since it was read; leave the file"):
        next(reading)


def test_another_level_reads_a_changed_file_anew(mooncake):
    kind = mooncake(*CONVERSATIONS)
    assert len(shapes(kind)) == 4
    mooncake(*CONVERSATIONS[:2])
    assert len(shapes(kind)) == 2


@ANY_FILE
@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 99), st.integers(1, 99)), min_size=1),
    st.sampled_from(["csv", "jsonl"]),
    st.sampled_from([("s", 1000), ("ms", 1), ("us", 1e-3), ("ns", 1e-6)]),
)
def test_a_plain_trace_comes_back(tmp_path, rows, form, unit):
    rows.sort(key=lambda row: row[0])
    name, ms = unit
    path = tmp_path / f"t.{form}"
    keys = ("timestamp", "input", "output")
    with path.open("w", newline="") as file:
        if form == "csv":
            csv.writer(file).writerows([keys, *rows])
        else:
            file.writelines(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows)
    found = list(Plain(path=str(path), unit=name).sessions())
    assert [s.at_ns for s in found] == pytest.approx(
        [(at - rows[0][0]) * ms * MS for at, _, _ in rows], abs=2
    )
    assert [shape(s.turns[0])[3:5] for s in found] == [row[1:] for row in rows]


# Order.


def test_a_trace_out_of_order_is_refused_by_line_or_sorted(mooncake):
    rows = [{"timestamp": ms, "input_length": 10 + n} for n, ms in enumerate((2000, 1000, 3000))]
    kind = mooncake(*rows)
    with pytest.raises(ConfigError) as caught:
        shapes(kind)
    assert str(caught.value) == (
        f"{kind.path}:2: its time, 1, lies before that of the row above, 2; sort the file, "
        "or set sort=true"
    )
    assert shapes(mooncake(*rows, sort=True)) == [
        alone(0, 11, 1),
        alone(1000, 10, 1),
        alone(2000, 12, 1),
    ]
    assert shapes(mooncake(*rows, sort=True, start=1, stop=2)) == [alone(0, 10, 1)]
    assert shapes(mooncake(*rows, drop_bad=True)) == [alone(0, 10, 1), alone(1000, 12, 1)]


def test_turns_of_a_session_are_sorted_before_they_are_linked(mooncake):
    rows = [{"timestamp": ms, "session_id": 1, "input_length": ms} for ms in (3000, 1000, 2000)]
    ((_, turns),) = shapes(mooncake(*rows, sort=True))
    assert [(turn[0], turn[2], turn[3]) for turn in turns] == [
        ((), 0, 1000),
        ((0,), 1000, 2000),
        ((1,), 2000, 3000),
    ]


def test_a_later_turn_in_a_trace_whose_first_row_has_no_session_is_refused(mooncake):
    kind = mooncake(
        {"timestamp": 0}, {"timestamp": 1, "session_id": 7}, {"timestamp": 2, "session_id": 7}
    )
    with pytest.raises(ConfigError, match=r":3: is a later turn of a session, and the first row"):
        shapes(kind)


def test_two_readers_of_one_trace_do_not_disturb_one_another(mooncake):
    kind = mooncake(*CONVERSATIONS)
    pairs = zip(kind.sessions("s1"), kind.sessions("s2"), strict=True)
    assert all(one == other for one, other in pairs)


# Bad rows.

BAD = [
    (Mooncake, "[1]", "is not an object"),
    (Mooncake, '{"input_length": 1, "output_length": 1}', "has no timestamp"),
    (Mooncake, '{"timestamp": 0, "output_length": 1}', "has no input_length"),
    (
        Mooncake,
        '{"timestamp": "x", "input_length": 1, "output_length": 1}',
        "timestamp 'x' is not a number",
    ),
    (
        Mooncake,
        '{"timestamp": true, "input_length": 1, "output_length": 1}',
        "timestamp 'True' is not a number",
    ),
    (
        Mooncake,
        '{"timestamp": 1e300, "input_length": 1, "output_length": 1}',
        "timestamp '1e+300' is not a number",
    ),
    (
        Mooncake,
        '{"timestamp": 0, "input_length": 0, "output_length": 1}',
        "input_length 0 is not 1 to 10000000",
    ),
    (
        Mooncake,
        '{"timestamp": 0, "input_length": 1.5, "output_length": 1}',
        "input_length 1.5 is not a whole number",
    ),
    (
        Mooncake,
        '{"timestamp": 0, "input_length": 1, "output_length": 99999999999999999999}',
        "output_length '1e+20' is not a number",
    ),
    (
        Mooncake,
        '{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [1.5]}',
        "hash_ids is not a list of numbers",
    ),
    (
        Mooncake,
        '{"timestamp": 0, "input_length": 1, "output_length": 1, "session_id": [1]}',
        "session_id is neither a whole number nor a text",
    ),
    (
        Mooncake,
        '{"timestamp": 0, "input_length": 1, "output_length": 1, "delay": -5}',
        "delay -5 is less than 0",
    ),
    (
        Mooncake,
        '{"input_length": 1, "output_length": 1, "session_id": 1, "delay": 5}',
        "has no timestamp",
    ),
    (
        Bailian,
        '{"timestamp": 0, "input_length": 1, "output_length": 1, "chat_id": {}}',
        "chat_id is neither a whole number nor a text",
    ),
    (
        Plain,
        '{"timestamp": 0, "input": null, "output": 1}',
        "has no input",
    ),
    (
        Azure,
        '{"TIMESTAMP": "yesterday", "ContextTokens": 1, "GeneratedTokens": 1}',
        "TIMESTAMP 'yesterday' is not a date and time",
    ),
    (
        BurstGPT,
        '{"Timestamp": 0, "Request tokens": -1, "Response tokens": 1}',
        "Request tokens -1 is not 1 to 10000000",
    ),
]


@pytest.mark.parametrize(("kind", "row", "told"), BAD)
def test_a_bad_row_is_told_of_by_line_and_reason_or_dropped_and_counted(tmp_path, kind, row, told):
    good = {
        Mooncake: '{"timestamp": 0, "input_length": 5, "output_length": 1}',
        Bailian: '{"timestamp": 0, "input_length": 5, "output_length": 1}',
        Plain: '{"timestamp": 0, "input": 5, "output": 1}',
        Azure: '{"TIMESTAMP": "2024-05-10", "ContextTokens": 5, "GeneratedTokens": 1}',
        BurstGPT: '{"Timestamp": 0, "Request tokens": 5, "Response tokens": 1}',
    }[kind]
    path = tmp_path / "t.jsonl"
    path.write_text(f"{row}\n\n{good}\n{row}\nnope\n{good}\n")
    trace = kind(path=str(path))
    with pytest.raises(ConfigError) as caught:
        shapes(trace)
    assert str(caught.value) == f"{path}:1: {told}"
    assert trace.facts() == {}
    trace = kind(path=str(path), drop_bad=True)
    assert [turns[0][3] for _, turns in shapes(trace)] == [5, 5]
    facts = trace.facts()
    assert facts["dropped"] == 3
    assert facts["faults"][:2] == [f"{path}:1: {told}", f"{path}:4: {told}"]
    assert facts["faults"][2].startswith(f"{path}:5:1: is not JSON")
    assert trace.describe()["dropped"] == 3
    shapes(trace)
    assert trace.facts() == facts, "each reading counts anew"


@pytest.mark.parametrize("kind", [Mooncake, Bailian, Plain, Azure, BurstGPT, Weka, Otel])
def test_a_trace_without_requests_or_a_file_is_refused(tmp_path, kind):
    path = tmp_path / "t.jsonl"
    with pytest.raises(ConfigError, match="No such file"):
        shapes(kind(path=str(path)))
    path.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        shapes(kind(path=str(path)))
    path.write_text("[1]\n")
    with pytest.raises(ConfigError, match="holds no request"):
        shapes(kind(path=str(path), drop_bad=True))


def test_faults_are_listed_up_to_five_and_counted_beyond(mooncake):
    kind = mooncake({"timestamp": 0}, *[{"timestamp": -1 - n} for n in range(20)], drop_bad=True)
    assert len(shapes(kind)) == 1
    assert kind.facts()["dropped"] == 20
    assert len(kind.facts()["faults"]) == 5
