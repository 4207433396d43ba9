import sys
from pathlib import Path

import pytest
import yaml

from benchcore.base.errors import ConfigError
from benchcore.climbs.plan import climb_config
from benchcore.workload import named
from benchcore.workload.jsonl import PromptFile
from benchcore.workload.named import load_workload
from benchcore.workload.synthetic import Synthetic

SHIPPED = {
    "short": (128, 128, {"concurrency": [1], "requests": 5, "warmup": 0}),
    "long": (200, 200, {"concurrency": [1], "requests": 3, "warmup": 0}),
    "stress": (256, 256, {"concurrency": [10], "requests": 10, "warmup": 0, "stagger": False}),
}


def content(part):
    prompt = part.workload.prompt(0)
    return (prompt.input_tokens, prompt.output_tokens, part.load)


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(path, **overrides):
    with pytest.raises(ConfigError) as caught:
        load_workload(path, **overrides)
    told = str(caught.value)
    return told.replace(str(path), "FILE") if isinstance(path, Path) else told


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_workload_is_what_its_name_promises(name):
    spec = load_workload(name)
    assert (spec.name, [part.name for part in spec.parts]) == (name, [name])
    assert content(spec.parts[0]) == SHIPPED[name]
    assert spec.parts[0].workload.name == name
    assert Path(spec.source).name == f"{name}.yaml"


def test_year1_is_the_union_of_the_three():
    spec = load_workload("year1")
    assert [part.name for part in spec.parts] == ["short", "long", "stress"]
    assert [content(part) for part in spec.parts] == list(SHIPPED.values())


def test_a_shipped_workload_is_described_in_a_line():
    assert load_workload("stress").description == "256 tokens in, 256 out, 10 requests all at once"


def test_packed_data_is_found_before_the_folder_of_a_checkout(monkeypatch, tmp_path):
    package = tmp_path / "benchcore"
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / "mine.yaml").write_text("description: a checkout")
    monkeypatch.setattr(named.resources, "files", lambda name: package)
    assert load_workload("mine").description == "a checkout"
    (package / "_data" / "workloads").mkdir(parents=True)
    (package / "_data" / "workloads" / "mine.yaml").write_text("description: a wheel")
    assert load_workload("mine").description == "a wheel"


def test_an_unknown_name_is_told_the_nearest_or_what_there_is():
    assert refused("shrot") == (
        "workload 'shrot' is unknown; did you mean short? "
        "(a file, or a kind with its keys, can be given, too)"
    )
    told = refused("nothing")
    assert told.startswith("workload 'nothing' is unknown; known are long, short, stress, year1, ")
    assert "jsonl" in told
    assert told.endswith(" (a file, or a kind with its keys, can be given, too)")


def test_overrides_count_in_every_part_and_none_is_no_override():
    spec = load_workload("year1", input_tokens=64, output_tokens=None, seed=9, ignore_eos=True)
    prompts = [part.workload.prompt(0) for part in spec.parts]
    assert [prompt.input_tokens for prompt in prompts] == [64, 64, 64]
    assert [prompt.output_tokens for prompt in prompts] == [128, 200, 256]
    assert all(prompt.extra["ignore_eos"] for prompt in prompts)
    assert {part.workload.seed for part in spec.parts} == {9}


def test_an_override_that_is_none_of_the_keys_or_wrong_is_refused():
    assert refused("short", languag="en").startswith("languag: unknown; did you mean language?")
    assert refused("short", language="fr") == "language: input should be 'en', 'zh' or 'mixed'"
    assert refused("short", file="x.jsonl").startswith(
        "file: short is of kind synthetic, which takes input_tokens, output_tokens, language"
    )


def test_a_file_of_ones_own_sets_everything(write):
    path = write(
        "description: mine\ninput_tokens: uniform:300:400\noutput_tokens: 50\nlanguage: zh\n"
        "seed: 4\nignore_eos: true\nshared_prefix_tokens: 100\n"
        "load: {rate: [0.5, 2], duration: 60s, arrival: poisson, requests:}\n"
    )
    spec = load_workload(path)
    (part,) = spec.parts
    described = part.workload.describe()
    assert (spec.name, spec.description, spec.source) == ("mine", "mine", str(path))
    assert isinstance(part.workload, Synthetic)
    assert part.load == {"rate": [0.5, 2], "duration": "60s", "arrival": "poisson"}
    for key, value in yaml.safe_load(path.read_text()).items():
        if key not in ("description", "load"):
            assert str(described[key]) == str(value)


@pytest.mark.parametrize(
    ("load", "levels"),
    [
        ("shape: 'ramp:1..4/5s'", {"shape": "ramp:1..4/5s"}),
        ("user_shape: 'hold:2/5s'", {"user_shape": "hold:2/5s"}),
        ("speed: [1, 2]", {"speed": (1, 2)}),
    ],
)
def test_a_file_may_ask_for_any_kind_of_load(write, load, levels):
    (part,) = load_workload(write(f"load: {{{load}}}\n")).parts
    config = climb_config({}, part.load, 0)
    assert {name: getattr(config, name) for name in levels} == levels
    assert climb_config({"concurrency": (3,)}, part.load, 0).levels == (3,)


def test_prompts_of_a_file_are_found_beside_the_workload(write, monkeypatch, tmp_path):
    write('{"prompt": "Hi"}', "p.jsonl")
    path = write("name: asked\nkind: jsonl\nfile: p.jsonl\norder: shuffled\noutput_tokens: 8\n")
    monkeypatch.chdir("/")
    workload = load_workload(path, seed=5).parts[0].workload
    assert isinstance(workload, PromptFile)
    assert (workload.name, workload.seed, workload.order) == ("asked", 5, "shuffled")
    assert workload.prompt(0).output_tokens == 8
    assert refused(path, language="zh") == (
        "language: asked is of kind jsonl, which takes file, output_tokens, seed, order, drop_bad"
    )


def test_a_file_of_json_lines_is_a_workload_by_itself(write):
    path = write('{"prompt": "Hi"}', "asked.jsonl")
    spec = load_workload(path, output_tokens=8)
    assert (spec.name, spec.parts[0].name, spec.parts[0].load) == ("asked", "asked", {})
    assert spec.parts[0].workload.prompt(0).output_tokens == 8


def test_a_fault_in_a_file_of_prompts_names_that_file(write, tmp_path):
    write("{}", "p.jsonl")
    told = refused(write("kind: jsonl\nfile: p.jsonl\n"))
    assert told.startswith(f"{tmp_path / 'p.jsonl'}:1: has neither prompt nor messages")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: synthetic\ninput_token: 5\n", "2: input_token: unknown key; did you mean input_"),
        ("load:\n  concurency: [1]\n", "2: load.concurency: unknown key; did you mean concurr"),
        ("load:\n  requests: 0\n", "2: load.requests: input should be greater than or equal to 1"),
        ("load:\n  concurrency: [1, x]\n", "2: load.concurrency.1: input should be a valid integ"),
        ("load: {concurrency: 5}\n", "1: load.concurrency: input should be a valid list"),
        (
            "\nload: {duration: []}\n",
            "2: load.duration: input should be a valid string or input should be a valid number",
        ),
        ("input_tokens: 5x\n", "1: input_tokens: length '5x' is not a number of tokens"),
        ("ignore_eos: 1\n", "1: ignore_eos: input should be a valid boolean"),
        ("kind: synthetc\n", "1: kind: kind 'synthetc' is unknown; did you mean synthetic?"),
        ("name: x\nkind: jsonl\n", "2: kind: jsonl needs file; add it"),
        ("options: {languag: 1}\n", "1: options.languag: unknown; did you mean language?"),
        ("seed: 1\nseed: 2\n", "2: seed: appears twice, first on line 1; keep one"),
        ("parts: [sort]\n", "1: parts.0: workload 'sort' is unknown; did you mean short?"),
        (
            "parts: [mine.yaml]\n",
            "1: parts.0: mine.yaml contains this workload itself; take it out",
        ),
        ("parts:\n- short\n- short\n", "3: parts.1: part 'short' appears twice"),
        ("parts: []\n", "1: parts: list should have at least 1 item"),
        ("parts: [short]\nseed: 4\n", "2: seed: a union has only name, description and parts"),
        ("- a\n", "1: holds no keys; write `key: value` lines"),
        ("", "1: holds no keys"),
        ("a: 1\nb: [\n", "3: is not YAML: while parsing a flow node"),
        ("1: 3\n", "1: 1: keys should be strings"),
        ("x: &a [*a]\n", "1: x.0: an alias leads back to itself"),
    ],
)
def test_a_fault_says_file_line_key_and_what_would_be_right(write, text, says):
    assert refused(write(text)).startswith(f"FILE:{says}")


def test_a_fault_without_a_line_names_the_file(write):
    assert refused(write("name: 2024-15-45\n")) == "FILE: is not YAML: month must be in 1..12"
    assert refused(write("input_tokens: 5\nshared_prefix_tokens: 9\n")).startswith(
        "FILE: shared_prefix_tokens 9 must be 0 to 4"
    )
    assert refused(write("name: \x07\n")).startswith("FILE: is not YAML: unacceptable character")


def test_all_faults_are_told_in_the_order_of_the_file(write):
    told = refused(write("languge: en\nload: {requests: 0}\ninput_tokens: x\n")).split("\n")
    assert [line[:12] for line in told] == ["FILE:1: lang", "FILE:2: load", "FILE:3: inpu"]


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    assert refused(tmp_path / "no.yaml") == "FILE: No such file or directory; give a YAML file"
    assert refused(tmp_path / "no").startswith("workload FILE: the name of a workload file must")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: x\ndescription: caf\xe9\n")
    assert refused(path) == "FILE:2: is not UTF-8; save the file as UTF-8"


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    (tmp_path / "their_load.py").write_text(
        "class Echo:\n"
        "    def __init__(self, *, words, seed=0, **others):\n"
        "        self.words, self.seed, self.others = words, seed, others\n"
    )
    info = tmp_path / "their_load-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-load\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[benchcore.workloads]\necho = their_load:Echo\ngone = their_load:Gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("their_load", None)


def test_a_kind_of_another_package_is_found_by_its_entry_point(third_party, write):
    path = write("kind: echo\nseed: 3\noptions: {words: [a, b], speed: 2}\n")
    workload = load_workload(path).parts[0].workload
    assert (workload.words, workload.seed) == (["a", "b"], 3)
    assert workload.others == {"speed": 2, "name": "mine"}
    assert refused(write("kind: echo\n")) == "FILE:1: kind: echo needs options.words; add it"


def test_a_kind_that_does_not_load_is_refused(third_party, write):
    told = refused(write("kind: gone\n"))
    assert told.startswith("FILE:1: kind: kind gone of their_load:Gone: cannot be loaded: ")
