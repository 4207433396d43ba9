import json
import re

import pytest

from benchcore.base.errors import ConfigError
from benchcore.workload.jsonl import PromptFile


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        path = tmp_path / "prompts.jsonl"
        path.write_bytes(
            b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
        )
        return path

    return write


def refused(path):
    with pytest.raises(ConfigError) as caught:
        PromptFile(path)
    return str(caught.value).replace(str(path), "FILE")


async def test_lines_become_prompts_in_the_order_of_the_file(write):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{}]}]
    path = write(
        '{"prompt": "One", "output_tokens": 7, "input_tokens": 1}',
        "",
        json.dumps({"messages": messages, "max_tokens": 9, "extra": {"top_k": 1}}),
        "   ",
        '{"prompt": "天气"}\r',
    )
    workload = PromptFile(path, output_tokens=50)
    await workload.prepare(None)
    one, two, three = (workload.prompt(index, "c1") for index in range(3))
    assert (one.text, one.output_tokens, one.input_tokens, one.extra) == ("One", 7, 1, {})
    assert (two.messages, two.output_tokens, two.extra) == (messages, 9, {"top_k": 1})
    assert (three.text, three.output_tokens, three.input_tokens) == ("天气", 50, None)
    assert workload.name == "prompts"
    assert len(workload) == 3


def test_prompts_begin_again_when_used_up_and_it_says_so(write):
    workload = PromptFile(write('{"prompt": "a"}', '{"prompt": "b"}'), seed=3)
    assert [workload.prompt(index).text for index in range(2)] == ["a", "b"]
    assert workload.describe() == {
        "name": "prompts",
        "kind": "jsonl",
        "file": str(workload.path),
        "prompts": 2,
        "output_tokens": None,
        "seed": 3,
        "order": "file",
        "distinct": 2,
        "asked": 2,
        "most_asked": 2,
        "wrapped": False,
        "lengths": {"fit": "given", "source": "file"},
    }
    assert workload.prompt(2).text == "a"
    assert workload.describe()["wrapped"] is True


def test_without_a_length_the_server_decides(write):
    assert PromptFile(write('{"prompt": "a"}')).prompt(0).output_tokens is None


def test_drawn_output_lengths_are_the_same_again_and_differ_between_streams(write):
    path = write('{"prompt": "a"}')
    one, other = (PromptFile(path, output_tokens="uniform:1:1000", seed=2) for _ in range(2))
    drawn = [one.prompt(index, "c1").output_tokens for index in range(20)]
    assert drawn == [other.prompt(index, "c1").output_tokens for index in range(20)]
    assert drawn != [one.prompt(index, "c2").output_tokens for index in range(20)]


def test_shuffled_is_each_prompt_once_from_another_place_in_each_stream(write):
    path = write(*(json.dumps({"prompt": str(number)}) for number in range(100)))
    workload = PromptFile(path, order="shuffled", seed=1)
    orders = [
        [workload.prompt(index, level).text for index in range(100)] for level in ("c1", "c8")
    ]
    assert orders[0] != orders[1]
    for order in orders:
        assert order != sorted(order, key=int)
        assert sorted(order, key=int) == [str(number) for number in range(100)]
    again = PromptFile(path, order="shuffled", seed=1)
    assert [again.prompt(index, "c1").text for index in range(100)] == orders[0]


def test_a_byte_order_mark_is_no_fault(write):
    assert PromptFile(write(b'\xef\xbb\xbf{"prompt": "a"}')).prompt(0).text == "a"


def test_a_bad_line_17_is_named(write):
    lines = ['{"prompt": "fine"}'] * 20
    lines[16] = '{"prompt": "oops}'
    assert refused(write(*lines)).startswith("FILE:17: is not JSON: ")


def test_a_line_that_is_not_utf8_is_named(write):
    path = write('{"prompt": "a"}', b'{"prompt": "\xff"}')
    assert refused(path) == "FILE:2: byte 13 is not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('["a"]', 'is a list; write an object, such as {"prompt": "Hi"}'),
        ("12", 'is 12; write an object, such as {"prompt": "Hi"}'),
        ("{}", "has neither prompt nor messages; give one"),
        ('{"promt": "a", "prompt": "a"}', "unknown key 'promt'; did you mean prompt?"),
        (
            '{"zzz": 1, "prompt": "a"}',
            (
                "unknown key 'zzz'; a line takes prompt, messages, output_tokens, max_tokens, "
                "input_tokens, extra"
            ),
        ),
        ('{"prompt": ""}', "prompt is ''; write a text that is not empty"),
        ('{"prompt": null}', "prompt is null; write a text that is not empty"),
        ('{"prompt": "a", "messages": []}', "has both prompt and messages; keep one"),
        ('{"messages": []}', "messages is an empty list; write a list of one message or more"),
        (
            '{"messages": ["Hi"]}',
            'messages[0] is not an object with a role; write {"role": "user", "content": "Hi"}',
        ),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "user"}]}',
            "messages[1] has no content; write a text or a list of parts",
        ),
        (
            '{"prompt": "a", "output_tokens": 1, "max_tokens": 1}',
            "has both output_tokens and max_tokens; keep one",
        ),
        (
            '{"prompt": "a", "output_tokens": 0}',
            "output_tokens is 0; write a whole number from 1",
        ),
        (
            '{"prompt": "a", "max_tokens": true}',
            "max_tokens is true; write a whole number from 1",
        ),
        (
            '{"prompt": "a", "input_tokens": {}}',
            "input_tokens is an object; write a whole number from 1",
        ),
        ('{"prompt": "a", "extra": []}', "extra is an empty list; write an object of request"),
    ],
)
def test_each_fault_says_what_would_be_right(write, line, says):
    assert refused(write(line)).startswith(f"FILE:1: {says}")


def test_a_message_of_tool_calls_needs_no_content(write):
    line = '{"messages": [{"role": "assistant", "content": null, "tool_calls": []}]}'
    assert len(PromptFile(write(line))) == 1


def test_all_faults_are_told_at_once(write):
    told = refused(write("[]", '{"prompt": 1, "outputs": 5}', "x"))
    assert [re.match(r"FILE:(\d+): ", line)[1] for line in told.split("\n")] == list("1223")


def test_of_many_faults_ten_are_told(write):
    told = refused(write(*["{}"] * 25)).split("\n")
    assert len(told) == 11
    assert told[9:] == ["FILE:10: has neither prompt nor messages; give one", "and 15 more"]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_prompts_is_refused(write, content):
    assert refused(write(content)).startswith("FILE: holds no prompts; give one JSON object")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    told = refused(tmp_path / "none.jsonl")
    assert told == "FILE: No such file or directory; give a file of JSON lines"


def test_an_order_that_is_none_is_refused(write):
    with pytest.raises(ConfigError, match="order 'random' is not one of file, shuffled"):
        PromptFile(write('{"prompt": "a"}'), order="random")


def test_bad_lines_are_left_out_on_request_and_described(write):
    workload = PromptFile(write('{"prompt": "a"}', "[]", '{"prompt": "b"}'), drop_bad=True)
    assert [workload.prompt(index).text for index in range(3)] == ["a", "b", "a"]
    described = workload.describe()
    assert described["dropped"] == 1
    assert described["faults"] == [
        f'{workload.path}:2: is an empty list; write an object, such as {{"prompt": "Hi"}}'
    ]
