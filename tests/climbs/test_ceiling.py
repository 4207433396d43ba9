"""What one worker can drive: kept for climbs, and what they make of it."""

import json

import pytest

import benchcore
from benchcore.base.errors import ConfigError
from benchcore.climbs import ceiling
from benchcore.climbs.ceiling import Ceiling, Load, known_ceiling, load_of, workers_for
from benchcore.climbs.climb import Climb
from benchcore.climbs.plan import Part, steps
from benchcore.climbs.probe import ProbeResult
from benchcore.config.climb import ClimbConfig
from benchcore.show.progress import Silent
from benchcore.workload.synthetic import Synthetic

HERE = Ceiling(cpu_per_token=10e-6, cpu_per_request=300e-6)
FOUND = ProbeResult("m", models_listed=True, e2e_seconds=0.5, output_tokens=100)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "benchcore" / "ceiling.json"


def step(**settings):
    workload = Synthetic(input_tokens=8, output_tokens=4)
    (one,) = steps([Part("s", workload, ClimbConfig(**settings))])
    return one


@pytest.mark.parametrize(
    ("settings", "tokens", "requests"),
    [
        ({"concurrency": (64,)}, 12800.0, 128.0),
        ({"concurrency": (64,), "think_time_seconds": 0.5}, 6400.0, 64.0),
        ({"rate": (20,)}, 2000.0, 20.0),
        ({"shape": "ramp:1..30/10s"}, 3000.0, 30.0),
    ],
)
def test_a_level_asks_for_what_a_server_as_fast_as_alone_would_give(settings, tokens, requests):
    assert load_of(step(**settings), FOUND) == Load(tokens, requests)


def test_what_the_probe_did_not_see_is_unknown():
    assert load_of(step(rate=(1,)), ProbeResult("m", models_listed=True)) is None


def test_a_share_is_of_what_keeps_a_level_valid():
    # 0.45 s of 0.9 s of processor time a second.
    assert HERE.share(Load(30_000.0, 500.0)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("loads", "processors", "workers"),
    [
        ([], 8, 1),
        ([None], 8, 1),
        ([Load(30_000.0, 0.0)], 8, 1),
        ([Load(54_000.0, 0.0)], 8, 1),  # just what is comfortable
        ([Load(55_000.0, 0.0)], 8, 2),
        ([Load(1_000.0, 0.0), Load(200_000.0, 0.0)], 8, 4),
        ([Load(10_000_000.0, 0.0)], 8, 7),
        ([Load(10_000_000.0, 0.0)], 1, 1),
    ],
)
def test_as_many_workers_as_the_largest_load_needs(monkeypatch, loads, processors, workers):
    monkeypatch.setattr(ceiling, "usable_processors", lambda: processors)
    assert workers_for(loads, HERE) == workers


def test_a_ceiling_is_kept_for_the_climbs_to_come(cache):
    assert known_ceiling() is None
    assert ceiling.save_ceiling(HERE) == cache
    assert known_ceiling() == HERE


@pytest.mark.parametrize(
    "change",
    [
        {"version": "0.0.0"},
        {"processor": "another"},
        {"reader": "another"},
        {"cpu_per_token": "fast"},
        {"cpu_per_token": -1},
        {"cpu_per_request": None},
    ],
)
def test_that_of_another_machine_or_version_is_none(cache, change):
    ceiling.save_ceiling(HERE)
    cache.write_text(json.dumps(json.loads(cache.read_text()) | change))
    assert known_ceiling() is None


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"version": 1}'])
def test_a_file_that_is_none_is_nothing_known(cache, text):
    ceiling.save_ceiling(HERE)
    cache.write_text(text)
    assert known_ceiling() is None


class Heard(Silent):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def machine(url, workers, known, heard):
    workload = Synthetic(input_tokens=8, output_tokens=4)
    config = ClimbConfig(concurrency=(4,), requests=12, workers=workers, idle_seconds=0, seed=1)
    return Climb(
        benchcore.Target(url), [Part("s", workload, config)], progress=heard, ceiling=known
    )


async def test_auto_needs_to_know_what_a_worker_can_drive(simulator):
    with pytest.raises(ConfigError, match="run benchcore doctor once, or give a number"):
        await machine(simulator.base_url, "auto", None, Heard())()


async def test_auto_starts_no_other_process_where_one_will_do(simulator):
    heard = Heard()
    run = await machine(simulator.base_url, "auto", Ceiling(1e-7, 1e-6), heard)()
    assert "workers auto: 1" in heard.said
    assert run.levels[0].workers is None
    assert run.levels[0].ok == 12


async def test_auto_starts_as_many_as_the_load_needs(simulator, monkeypatch):
    monkeypatch.setattr(ceiling, "usable_processors", lambda: 3)
    heard = Heard()
    run = await machine(simulator.base_url, "auto", Ceiling(1.0, 1.0), heard)()
    assert "workers auto: 2" in heard.said
    assert [one.worker for one in run.levels[0].workers] == [1, 2]
    assert run.levels[0].ok == 12


async def test_a_level_above_the_ceiling_is_told_beforehand(simulator, monkeypatch):
    monkeypatch.setattr(ceiling, "usable_processors", lambda: 3)
    heard = Heard()
    await machine(simulator.base_url, 1, Ceiling(1.0, 1.0), heard)()
    (line,) = [one for one in heard.said if one.startswith("c4: ")]
    assert "of what 1 worker(s) of this machine can drive; give --workers 2" in line
    quiet = Heard()
    await machine(simulator.base_url, 1, Ceiling(1e-7, 1e-6), quiet)()
    assert not [one for one in quiet.said if one.startswith("c4: ")]
