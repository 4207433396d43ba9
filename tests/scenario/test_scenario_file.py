"""Scenarios as they are read: extends, run types, stages, providers, matrices."""

import pytest

from benchcore.base.errors import ConfigError
from benchcore.config.scenario import Choice
from benchcore.scenario.matrix import load_matrix
from benchcore.scenario.scenario_file import find_scenario, load_scenario, scenarios_folder

SIMULATOR = "id: a\nlaunch: {simulator: {}}\n"


@pytest.fixture
def write(tmp_path):
    def make(text, name="a.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return make


def load(path, run_type="pr", environ=None, **fields):
    return load_scenario(path, run_type, environ=environ or {}, **fields)


def faults(path, run_type="pr", **fields):
    with pytest.raises(ConfigError) as told:
        load(path, run_type, **fields)
    return [line.replace(f"{path.parent}/", "") for line in str(told.value).splitlines()]


def names(loaded):
    return [stage.name for stage in loaded.stages]


FRAME = ["launch", "health", "gate", "sinks", "cleanup"]


def test_stages_run_in_their_order_and_only_what_is_named_besides_the_frame(write):
    assert names(load(write(SIMULATOR))) == FRAME
    text = (
        f"{SIMULATOR}stages: {{accuracy: {{task: mmlu}}, functional: , gate: false, perf: true}}\n"
    )
    assert names(load(write(text))) == [
        *("launch", "health", "functional", "perf", "accuracy", "sinks", "cleanup")
    ]


@pytest.mark.parametrize(
    ("run_type", "found"),
    [
        ("pr", {"suite": False, "concurrency": (1, 8), "requests": 64, "preset": "debug"}),
        ("daily", {"suite": True, "concurrency": (1, 8, 64), "requests": None, "preset": "full"}),
    ],
)
def test_what_is_not_said_is_the_run_types(write, run_type, found):
    text = f"{SIMULATOR}stages: {{functional: {{}}, perf: {{}}, accuracy: {{}}}}\n"
    settings = load(write(text), run_type).settings
    assert settings["functional"].suite == found["suite"]
    assert settings["perf"].concurrency == found["concurrency"]
    assert settings["perf"].requests == found["requests"]
    assert settings["accuracy"].preset == found["preset"]


def test_what_is_said_replaces_the_defaults_of_its_kind(write):
    text = f"""{SIMULATOR}
stages:
  perf: {{rate: [2], duration_seconds: 5}}
  accuracy: {{limit: 7}}
"""
    settings = load(write(text)).settings
    assert (settings["perf"].concurrency, settings["perf"].rate) == ((), (2,))
    assert (settings["perf"].requests, settings["perf"].duration_seconds) == (None, 5)
    assert (settings["accuracy"].limit, settings["accuracy"].preset) == (7, None)


def test_a_run_type_says_what_differs_there(write):
    text = f"""{SIMULATOR}
stages:
  perf:
    concurrency: [4]
    requests: 9
    pr: {{requests: 3}}
    daily: {{concurrency: [4, 8]}}
  accuracy: {{task: mmlu, pr: false}}
"""
    pr, daily = load(write(text)), load(write(text), "daily")
    assert (pr.settings["perf"].concurrency, pr.settings["perf"].requests) == ((4,), 3)
    assert (daily.settings["perf"].concurrency, daily.settings["perf"].requests) == ((4, 8), 9)
    assert "accuracy" not in pr.settings
    assert daily.settings["accuracy"].task == "mmlu"


def test_every_fault_is_told_at_once_with_its_line_and_the_nearest_key(write):
    text = """\
id: a b
modle: x
launch: {simulator: {}, local: {command: "'"}}
slos: [ttft]
stages:
  functinal: {}
  perf:
    concurrency: [8, 1]
    requests: -1
    workloads: short
    daily: {drain: 5}
  accuracy: 3
"""
    assert faults(write(text), "daily") == [
        "a.yaml:1: id: string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$'",
        "a.yaml:2: modle: is not known; did you mean model?",
        "a.yaml:3: launch.local.command: cannot be split into words: No closing quotation",
        (
            "a.yaml:4: slos: SLO 'ttft' is not METRIC:DURATION with METRIC one of ttft, "
            "ttft_from_schedule, tpot, e2e, e2e_from_schedule, icl, itl, such as ttft:500ms"
        ),
        "a.yaml:6: stages.functinal: is not known; did you mean functional?",
        "a.yaml:9: stages.perf.requests: input should be greater than or equal to 1",
        "a.yaml:10: stages.perf.workloads: is not known; did you mean workload?",
        "a.yaml:11: stages.perf.drain: is not known; did you mean drain_seconds?",
        "a.yaml:12: stages.accuracy: give its settings, true or false",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "id: a\n",
            (
                "a.yaml:1: the file: give target.base_url, target.provider or launch, so that "
                "there is a server to ask"
            ),
        ),
        (
            f"{SIMULATOR}target: {{base_url: h}}\n",
            "a.yaml:1: the file: a scenario has either a target's address or a launch, not both",
        ),
        (
            "id: a\nlaunch: {}\n",
            "a.yaml:2: launch: give one of local, kubernetes and simulator",
        ),
        (
            f"{SIMULATOR}stages: {{perf: {{concurrency: [8, 1]}}}}\n",
            "a.yaml:3: stages.perf: concurrency 8,1 does not climb; did you mean 1,8?",
        ),
        (
            f"{SIMULATOR}stages: {{perf: {{concurrency: [8], rate: [1]}}}}\n",
            "a.yaml:3: stages.perf: levels are of concurrency or of rate: give one of them",
        ),
        (f"{SIMULATOR}stages: [perf]\n", "a.yaml:3: stages: give settings by the name of a stage"),
        (
            f"{SIMULATOR}stages: {{perf: {{pr: 3}}}}\n",
            "a.yaml:3: stages.perf.pr: give settings, true or false",
        ),
        (
            "id: a\ntarget: {base_url: h, api_key_env: A, api_key_file: b}\n",
            "a.yaml:2: target: give api_key_env or api_key_file, not both",
        ),
        (f"{SIMULATOR}extends: gone.yaml\n", "a.yaml:3: extends: gone.yaml: does not exist"),
        (f"{SIMULATOR}extends: [b]\n", "a.yaml:3: extends: name one file, relative to this one"),
        (
            f"{SIMULATOR}extends: a.yaml\n",
            "a.yaml:3: extends: a.yaml extends this scenario itself; take one of them out",
        ),
        (
            "id: a\ntarget: {provider: p}\n",
            "a.yaml:2: target.provider: providers.yaml: does not exist; it holds the providers",
        ),
    ],
)
def test_one_line_says_what_is_wrong(write, text, fault):
    assert faults(write(text)) == [fault]


def test_a_chain_of_scenarios_that_comes_back_is_told(write):
    write("extends: a.yaml\n", "b.yaml")
    path = write("extends: b.yaml\nid: a\n")
    assert faults(path) == [
        "b.yaml:1: extends: a.yaml extends this scenario itself; take one of them out"
    ]


def test_a_scenario_is_laid_over_the_one_that_it_extends(write):
    write(
        "id: base\nquant: fp16\nlabels: {team: x}\nlaunch: {simulator: {profile: fast}}\n", "b.yaml"
    )
    write("extends: b.yaml\nid: middle\ngpus: 2\n", "c.yaml")
    scenario = load(write("extends: c.yaml\nid: own\nlabels: {tier: y}\n")).scenario
    assert (scenario.id, scenario.quant, scenario.gpus) == ("own", "fp16", 2)
    assert scenario.labels == {"team": "x", "tier": "y"}
    assert scenario.launch.simulator.profile == "fast"


PROVIDERS = """\
providers:
  house:
    base_url: http://gpu0:8000
    model: m
    api_key_env: HOUSE_KEY
    headers: {x-team: a, x-kind: b}
    dialect: vllm
    rate_limit: 2
"""


def test_a_provider_is_put_in_and_what_the_scenario_says_counts(write):
    write(PROVIDERS, "providers.yaml")
    loaded = load(write("id: a\ntarget: {provider: house, headers: {x-kind: c}, rate_limit: 5}\n"))
    assert loaded.base_url == "http://gpu0:8000"
    assert loaded.scenario.model == "m"
    assert loaded.asking.api_key_env == "HOUSE_KEY"
    assert loaded.asking.headers == {"x-team": "a", "x-kind": "c"}
    assert (loaded.asking.dialect, loaded.asking.rate_limit) == ("vllm", 5)
    loaded = load(write("id: a\nmodel: own\ntarget: {provider: house, api_key_file: key}\n"))
    assert loaded.scenario.model == "own"
    assert (loaded.asking.api_key_env, loaded.asking.api_key_file) == (None, "key")


def test_what_a_server_takes_is_said_by_its_provider_and_its_scenario(write):
    write(
        "providers:\n  house:\n    base_url: http://gpu0:8000\n    omit: [seed]\n"
        "    rename: {max_tokens: max_completion_tokens}\n    path: /api/v3/chat/completions\n",
        "providers.yaml",
    )
    loaded = load(write("id: a\ntarget: {provider: house, rename: {top_p: topP}}\n"))
    asking = loaded.asking
    assert asking.omit == ("seed",)
    assert asking.rename == {"max_tokens": "max_completion_tokens", "top_p": "topP"}
    assert asking.path == "/api/v3/chat/completions"


def test_an_unknown_provider_is_told_with_the_nearest(write):
    write(PROVIDERS, "providers.yaml")
    assert faults(write("id: a\ntarget: {provider: hous}\n")) == [
        "a.yaml:2: target.provider: 'hous' is not in providers.yaml; did you mean house?"
    ]


def test_a_choice_picks_stages_and_levels(write):
    text = f"{SIMULATOR}stages: {{functional: {{}}, perf: {{rate: [1]}}, accuracy: {{}}}}\n"
    loaded = load(write(text), choice=Choice(stages=("perf",), concurrency=(2, 4)))
    assert names(loaded) == ["launch", "health", "perf", "gate", "sinks", "cleanup"]
    assert (loaded.settings["perf"].concurrency, loaded.settings["perf"].rate) == ((2, 4), ())
    found = faults(
        write(f"{SIMULATOR}stages: {{perf: {{}}}}\n"), choice=Choice(stages=("accuracy",))
    )
    assert found == ["a.yaml:1: has no stage accuracy for pr; it has perf"]


def test_a_variable_that_is_not_set_hides_no_other_fault_and_is_told_once(write):
    text = (
        f"{SIMULATOR}gpus: ${{GONE}}\nstages: {{perf: {{concurency: [1], requests: '${{N}}'}}}}\n"
    )
    assert faults(write(text)) == [
        "a.yaml:3: gpus: the variable GONE is not set; set it, or write ${GONE:-default}",
        "a.yaml:4: stages.perf.requests: the variable N is not set; set it, or write ${N:-default}",
        "a.yaml:4: stages.perf.concurency: is not known; did you mean concurrency?",
    ]


def test_what_is_wrong_in_the_night_is_told_by_day(write):
    text = f"{SIMULATOR}stages:\n  perf: {{}}\n  accuracy:\n    daily: {{taks: mmlu}}\n"
    assert faults(write(text)) == [
        "a.yaml:6: stages.accuracy.taks: is not known; did you mean task?"
    ]


@pytest.mark.parametrize("name", ["launch", "health", "cleanup"])
def test_what_every_run_needs_cannot_be_left_out(write, name):
    found = [f"a.yaml:3: stages.{name}: cannot be left out"]
    assert faults(write(f"{SIMULATOR}stages: {{{name}: false}}\n")) == found
    assert faults(write(f"{SIMULATOR}stages: {{{name}: {{daily: false}}}}\n")) == found


def test_an_heir_that_has_something_else_replaces_it(write):
    write(f"{SIMULATOR}stages: {{perf: {{concurrency: [1], requests: 5}}}}\n", "b.yaml")
    text = "extends: b.yaml\nlaunch: {local: {command: serve}}\nstages: {perf: {rate: [2]}}\n"
    loaded = load(write(text))
    assert loaded.scenario.launch.simulator is None
    assert loaded.scenario.launch.local.command == ("serve",)
    assert (loaded.settings["perf"].concurrency, loaded.settings["perf"].rate) == ((), (2,))
    assert loaded.settings["perf"].requests == 5


def test_levels_of_a_scenario_without_a_climb_are_a_fault(write):
    path = write(f"{SIMULATOR}stages: {{functional: {{}}}}\n")
    assert faults(path, choice=Choice(concurrency=(2,))) == [
        "a.yaml:1: has no climb for pr to have levels"
    ]


def test_a_digest_tells_two_scenarios_of_one_name_apart(write):
    text = f"{SIMULATOR}stages: {{perf: {{requests: 5}}}}\n"
    one = load(write(text)).digest
    assert load(write(f"# a comment\n{text}")).digest == one
    assert load(write(text.replace("5", "6"))).digest != one
    assert load(write(text), "daily").digest != one


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("id: a\nlabels: &x {b: *x}\n", "a.yaml:2: labels.b: an alias leads back to itself"),
        (f"id: {'[' * 3000}\n", "a.yaml: is nested too deeply"),
    ],
)
def test_files_that_go_round_or_too_deep_are_one_line(write, text, fault):
    (found,) = faults(write(text))
    assert found.startswith(fault)


def test_an_alias_bomb_is_not_unfolded(write):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (found,) = faults(write("\n".join(lines)))
    assert found == "a.yaml: holds over 100000 keys, aliases counted each time"


MATRIX = "name: m\ninclude: ['s-*.yaml']\n"


def matrix(path, run_type="pr", only=()):
    return load_matrix(path, run_type, only=only, environ={})


def test_a_matrix_orders_by_priority_and_skips_what_it_says(write):
    for name, priority in (("a", 0), ("b", 2), ("c", 1)):
        rest = f"priority: {priority}\nlaunch: {{simulator: {{}}}}\nstages: {{perf: {{}}}}\n"
        write(f"id: {name}\n{rest}", f"s-{name}.yaml")
    path = write(
        f"{MATRIX}run_types: {{pr: {{c: {{skip: too big}}, a: {{rate: [3]}}}}}}\n", "m.yaml"
    )
    found = matrix(path)
    assert [entry.loaded.scenario.id for entry in found.entries] == ["b", "a"]
    assert found.skipped == {"c": "too big"}
    assert found.entries[1].loaded.settings["perf"].rate == (3,)
    assert found.entries[0].loaded.settings["perf"].concurrency == (1, 8)
    daily = matrix(path, "daily", only=["c"])
    assert [entry.loaded.scenario.id for entry in daily.entries] == ["c"]
    assert daily.skipped == {"a": "not among --only", "b": "not among --only"}


def test_the_faults_of_all_scenarios_of_a_matrix_are_told_at_once(write):
    write("id: a\nlaunch: {simulator: {}}\nnot: 1\n", "s-a.yaml")
    write("id: b\n", "s-b.yaml")
    write("id: b\nlaunch: {simulator: {}}\n", "s-c.yaml")
    path = write(f"{MATRIX}run_types: {{pr: {{d: {{}}}}}}\n", "m.yaml")
    with pytest.raises(ConfigError) as told:
        matrix(path, only=["e"])
    folder = f"{path.parent}/"
    assert [line.replace(folder, "") for line in str(told.value).splitlines()] == [
        "s-c.yaml: id b is that of s-b.yaml too; rename one",
        "m.yaml:3: run_types.pr.d: is not a scenario of the matrix; known are a, b",
        "--only e: is not a scenario of the matrix; known are a, b",
    ]
    path = write(MATRIX, "m.yaml")
    (path.parent / "s-c.yaml").unlink()
    with pytest.raises(ConfigError) as told:
        matrix(path)
    lines = [line.replace(folder, "") for line in str(told.value).splitlines()]
    assert [line.partition(": ")[0] for line in lines] == ["s-a.yaml:3", "s-b.yaml:1"]


def test_a_scenario_that_is_broken_does_not_stop_the_others(write):
    write("id: a\nlaunch: {simulator: {}}\nnot: 1\n", "s-a.yaml")
    write("id: [", "s-b.yaml")
    write("id: c\nlaunch: {simulator: {}}\n", "s-c.yaml")
    found = matrix(write(MATRIX, "m.yaml"))
    assert [entry.loaded.scenario.id for entry in found.entries] == ["c"]
    assert list(found.broken) == ["a", "s-b"]
    assert "s-a.yaml:3: not: is not known" in found.broken["a"]
    assert "s-b.yaml:1: is not YAML" in found.broken["s-b"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name: m\ninclude: ['x-*.yaml']\n", "m.yaml:2: include: x-*.yaml: there is no such file"),
        ("name: m\n", "m.yaml:1: include: is missing"),
        (f"{MATRIX}run_type: {{}}\n", "m.yaml:3: run_type: is not known; did you mean run_types?"),
        (
            "name: m\ninclude: ['']\n",
            "m.yaml:2: include.0: string should have at least 1 character",
        ),
        (
            f"{MATRIX}run_types: {{daily: {{b: {{}}}}}}\n",
            "m.yaml:3: run_types.daily.b: is not a scenario of the matrix; known are a",
        ),
        (
            f"{MATRIX}run_types: {{pr: {{a: {{rate: [1], concurrency: [1]}}}}}}\n",
            "m.yaml:3: run_types.pr.a: levels are of concurrency or of rate: give one of them",
        ),
    ],
)
def test_a_fault_of_a_matrix_is_told(write, text, fault):
    write(SIMULATOR, "s-a.yaml")
    path = write(text, "m.yaml")
    with pytest.raises(ConfigError) as told:
        matrix(path)
    assert str(told.value).replace(f"{path.parent}/", "").startswith(fault)


def test_ids_may_hold_variables_and_files_may_be_named_from_the_root(write, tmp_path):
    write("id: ${WHO:-me}\nlaunch: {simulator: {}}\nstages: {perf: {}}\n", "s-a.yaml")
    text = (
        f"name: m\ninclude: ['{tmp_path}/**/s-*.yaml']\nrun_types: {{pr: {{me: {{rate: [1]}}}}}}\n"
    )
    found = matrix(write(text, "m.yaml"), only=["me"])
    assert [entry.loaded.scenario.id for entry in found.entries] == ["me"]


def test_scenarios_that_extend_one_another_are_told(write):
    write("extends: s-b.yaml\n", "s-a.yaml")
    write("extends: s-a.yaml\n", "s-b.yaml")
    with pytest.raises(ConfigError, match="extends this scenario itself"):
        matrix(write(MATRIX, "m.yaml"))


SHIPPED = sorted(path.stem for path in scenarios_folder().glob("*.yaml") if path.stem != "matrix")


@pytest.mark.parametrize("run_type", ["pr", "daily"])
@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_can_be_read(name, run_type):
    loaded = load(find_scenario(name), run_type, {"BENCHCORE_BASE_URL": "http://gpu0:8000"})
    assert loaded.scenario.id == name
    assert {"functional", "perf"} <= set(loaded.settings)


def test_the_five_first_scenarios_are_there():
    assert {
        *("local-single", "k8s-hybrid", "k8s-prefill-decode", "guided-quantised", "running")
    } <= set(SHIPPED)


def test_an_unknown_scenario_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'simulater' is not known; did you mean simulator\\?"):
        find_scenario("simulater")
    with pytest.raises(ConfigError, match=r"gone\.yaml: does not exist"):
        find_scenario("gone.yaml")


def test_variables_that_stages_name_for_keys_are_known(write):
    text = (
        f"{SIMULATOR}stages: {{functional: {{expired_key_env: OLD}}, sinks: {{password_env: P}}}}\n"
    )
    assert load(write(text)).secret_names == ["OLD", "P"]


@pytest.mark.parametrize("run_type", ["pr", "daily"])
@pytest.mark.parametrize(
    ("field", "value"), [("shape", "hold:1/5s"), ("user_shape", "hold:2/5s"), ("speed", [2])]
)
def test_every_kind_of_load_replaces_every_other(write, run_type, field, value):
    """Those of the run type, those that are inherited, and those that a matrix picks instead."""
    stages = f"stages: {{perf: {{{field}: {value}}}}}\n"
    loaded = load(write(SIMULATOR + stages), run_type)
    perf = loaded.settings["perf"]
    said = getattr(perf, field)
    assert (said, perf.concurrency) == (tuple(value) if field == "speed" else value, ())
    write(f"{SIMULATOR}stages: {{perf: {{concurrency: [1]}}}}\n", "b.yaml")
    heir = load(write(f"extends: b.yaml\n{stages}"), run_type).settings["perf"]
    assert (getattr(heir, field), heir.concurrency) == (said, ())
    picked = load(write(SIMULATOR + stages), run_type, choice=Choice(concurrency=(4,)))
    perf = picked.settings["perf"]
    assert (perf.concurrency, getattr(perf, field) or None) == ((4,), None)
