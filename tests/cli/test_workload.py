"""`benchcore workload`: what it prints, its page, its JSON and its exit codes."""

import json
import re
from pathlib import Path

import pytest

from benchcore.cli.main import run

FIXTURES = Path(__file__).parent.parent / "fixtures" / "workloads"


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*args):
        code = run(["workload", *map(str, args)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_a_good_file_ends_with_what_a_climb_takes(call, tmp_path):
    (tmp_path / "a.json").write_text('[{"conversations": [{"from": "human", "value": "Hi"}]}]')
    code, out, err = call("validate", "a.json")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "a.json: JSON, read as sharegpt",
        "columns: conversations",
        "1 session(s), 1 request(s) can be used",
        "benchcore climb --workload sharegpt,path=a.json",
    ]


def test_bad_rows_end_with_2_unless_they_are_dropped(call, tmp_path):
    (tmp_path / "a.csv").write_text("question,n\nWhy?,3\nHow?\nWho?,x\n")
    columns = ("--columns", "prompt=question;output_tokens=n")
    code, out, err = call("validate", "a.csv", *columns)
    assert (code, err) == (2, "")
    assert out == (
        "a.csv: CSV, read as dataset\n"
        "columns: question, n\n"
        "1 session(s), 1 request(s) can be used\n"
        "2 row(s) cannot be used:\n"
        "  a.csv:3: has 1 cells, and the header has 2\n"
        "  a.csv:4: n 'x' is not a number of tokens\n"
    )
    code, out, _ = call("validate", "a.csv", *columns, "--drop-bad")
    assert code == 0
    assert out.splitlines()[3] == "2 row(s) are left out:"
    assert out.splitlines()[-1] == (
        "benchcore climb --workload "
        "'dataset,path=a.csv,columns=prompt=question;output_tokens=n,drop_bad=true'"
    )


def test_the_first_twenty_bad_rows_are_listed_and_all_counted(call, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "x", "id": 1}\n' * 2 + "{\n" * 1234)
    code, out, _ = call("validate", "a.jsonl")
    lines = out.splitlines()
    assert (code, lines[3], lines[-1]) == (2, "1,234 row(s) cannot be used:", "  and 1,214 more")
    assert len(lines) == 4 + 20 + 1


def test_a_file_of_which_no_row_is_good_is_refused_even_so(call, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"messages": 5, "id": 1}\n')
    code, out, _ = call("validate", "a.jsonl", "--drop-bad")
    assert (code, out.splitlines()[-1]) == (2, "a.jsonl: holds no prompt")


def test_validate_as_json(call, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "x"}\n{"prompt": 5}\n')
    code, out, _ = call("validate", "a.jsonl", "--json")
    assert code == 2
    assert json.loads(out) == {
        "path": "a.jsonl",
        "format": "jsonl",
        "kind": "jsonl",
        "columns": ["prompt"],
        "sessions": 1,
        "requests": 1,
        "bad_rows": 1,
        "faults": ["a.jsonl:2: prompt is 5; write a text that is not empty"],
        "fault": None,
    }


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["validate", "none.jsonl"], "none.jsonl"),
        (["validate", "x.jsonl"], "x.jsonl: no kind of workload knows its columns (x)"),
        (["validate", "x.jsonl", "--kind", "shared"], "kind 'shared' is unknown"),
        (["describe", "none"], "workload 'none' is unknown"),
        (["describe", "none.jsonl"], "none.jsonl: No such file or directory"),
        (["describe", "bad.jsonl"], "bad.jsonl:2: unknown key 'promt'; did you mean prompt?"),
        (["describe", "conversation,turn=3"], "turn: "),
        (["describe", "short", "--tokenizer", "none.json"], "tokenizer none.json: No such file"),
        (["describe", "short", "--html", "none/a.html"], "--html none/a.html: cannot be written"),
    ],
)
def test_what_cannot_be_read_or_written_is_told_in_a_line(call, tmp_path, args, says):
    (tmp_path / "x.jsonl").write_text('{"x": 1}\n')
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a"}\n{"promt": "a", "prompt": "b"}\n')
    code, out, err = call(*args)
    assert (code, out) == (2, "")
    assert err.startswith("benchcore: ")
    assert says in err
    assert err.count("\n") == 1


def test_describe_fits_80_columns_and_says_what_is_asked(call):
    code, out, err = call("describe", FIXTURES / "bailian.jsonl")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "bailian (bailian): 3 session(s), 5 request(s)",
        "",
        "of mean min p50 p90 p99 max",
        "input tokens 5 39.0 16 35 64 64 64",
        "output tokens 5 5.20 3 5 8 8 8",
        "turns per session 3 1.67 1 1 3 3 3",
        "",
        "class requests share mean input mean output",
        "text 3 60.0 % 37.0 5.67",
        "image 1 20.0 % 64.0 5.00",
        "search 1 20.0 % 20.0 4.00",
        "",
        "arrivals: 0.53/s over 3.75 s, at most 1.07/s within 1.88 s",
        "gaps: coefficient of variation 0.60 (Poisson: 1)",
        f"0.00 s {'█' * 36} 1.07/s",
        f"1.88 s {'█' * 18} 0.53/s",
        "",
        "lengths: as the workload says",
        "prefix cache: a perfect one would hold 49.2 % of the input",
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("short", "synthetic,input_tokens=uniform:10:500", "search_qa", "lesson_pack"),
        *("memory_chat,think_time=1", "prefix,groups=3,popularity=zipf:1"),
        "conversation,turns=9,input_tokens=90000,output_tokens=90000,think_time=100000",
    ],
)
def test_every_kind_without_a_file_is_described(call, name):
    code, out, err = call("describe", name, "--limit", 200)
    assert (code, err) == (0, "")
    assert ": the first 200 session(s)" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_mixture_and_a_union_are_described_by_their_parts(call, tmp_path):
    (tmp_path / "mix.yaml").write_text(
        "kind: mixture\nmix:\n"
        "  - {workload: 'prefix,groups=2', class: rag, weight: 3}\n"
        "  - {workload: 'conversation,turns=2', class: chat}\n"
    )
    code, out, _ = call("describe", "mix.yaml", "--json", "--limit", 400)
    (part,) = json.loads(out)["parts"]
    assert code == 0
    assert set(part["classes"]) == {"rag", "chat"}
    assert part["classes"]["rag"]["requests"] + part["classes"]["chat"]["requests"] / 2 == 400
    code, out, _ = call("describe", "year1", "--json", "--limit", 3)
    described = json.loads(out)
    assert (code, described["name"]) == (0, "year1")
    assert [part["name"] for part in described["parts"]] == ["short", "long", "stress"]
    assert [part["whole"] for part in described["parts"]] == [False] * 3


def test_texts_whose_length_nobody_knows_are_told_to_be_estimated(call, tmp_path):
    (tmp_path / "a.txt").write_text("one two three\n")
    _, out, _ = call("describe", "a.txt")
    assert "input lengths: estimated from words and marks (--tokenizer counts them)" in out
    assert "output: 1 request(s) leave the length to the server" in out


def test_a_tokenizer_counts_them(call, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.txt").write_text("one two\n")
    _, out, _ = call("describe", "a.txt", "--tokenizer", "tokenizer.json", "--json")
    (part,) = json.loads(out)["parts"]
    assert part["input_tokens"]["mean"] == len("one two")
    assert part["tokens_counted_by"] == {"tokenizer": 1}


def test_the_page_opens_offline_and_takes_names_as_text(call, tmp_path):
    rows = [
        {
            "timestamp": n * 1000,
            "input_length": 10 + n,
            "output_length": 5,
            "session_id": str(n % 3),
        }
        for n in range(9)
    ]
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({**row, "class": "<b>&"}) + "\n" for row in rows)
    )
    code, out, _ = call("describe", "a.jsonl", "--html", "page.html")
    assert (code, out.splitlines()[-1]) == (0, "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure ") == 3
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page.partition("</main>")[0]
    assert "default-src 'none'" in page
    assert 'http-equiv="Content-Security-Policy"' in page
    assert "Sessions per second over time" in page


def test_the_words_of_a_file_do_not_reach_the_terminal(call, tmp_path):
    (tmp_path / "a.csv").write_text("prompt,\x1b[31mred\nWhy?,1\n")
    _, out, _ = call("validate", "a.csv")
    assert "\x1b" not in out
    assert "columns: prompt, \N{REPLACEMENT CHARACTER}[31mred" in out


def test_the_keys_of_a_description_are_those_of_the_contract(call):
    _, out, _ = call("describe", FIXTURES / "bailian.jsonl", "--json")
    described = json.loads(out)
    (part,) = described["parts"]
    contract = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
    (said,) = (one for one in contract.split("\n\n") if "workload describe --json" in one)
    for key in (*described, *part, *part["input_tokens"], *part["arrivals"]):
        assert re.search(rf"\b{key}\b", said), key
    _, out, _ = call("validate", FIXTURES / "bailian.jsonl", "--json")
    for key in json.loads(out):
        assert re.search(rf"\b{key}\b", said), key
