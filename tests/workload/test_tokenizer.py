import sys

import pytest

from benchcore.base.errors import ConfigError
from benchcore.workload.synthetic import Synthetic
from benchcore.workload.token_costs import LocalTokenizer


@pytest.fixture
def file(trained, tmp_path):
    path = tmp_path / "tokenizer.json"
    trained["llama3", 3000].save(str(path))
    return path


async def test_a_local_tokenizer_counts_and_fits_lengths_exactly(file, trained):
    counter = LocalTokenizer(file, overhead=11)
    assert (counter.source, counter.exact, counter.overhead) == ("tokenizer", True, 11)
    text = "About the river，天空很蓝."
    assert await counter.count(text) == len(trained["llama3", 3000].encode(text).ids)
    workload = Synthetic(input_tokens=256, language="mixed")
    await workload.prepare(counter)
    assert workload.describe()["lengths"]["fit"] == "exact"
    assert await counter.count(workload.prompt(0).text) == 256 - 11


async def test_a_folder_of_a_model_is_taken_too(file):
    assert await LocalTokenizer(file.parent).count("") == 0


async def test_special_tokens_are_counted_unless_told_not_to(trained, tmp_path):
    from tokenizers import Tokenizer, processors

    tokenizer = Tokenizer.from_str(trained["gpt2", 300].to_str())
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    with_it, without = LocalTokenizer(path), LocalTokenizer(path, special_tokens=False)
    assert await with_it.count("a river") == await without.count("a river") + 1


async def test_truncation_and_padding_in_the_file_do_not_falsify_counts(trained, tmp_path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(trained["gpt2", 300].to_str())
    plain = len(tokenizer.encode("a river " * 50).ids)
    path = tmp_path / "tokenizer.json"
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=5000)
    tokenizer.save(str(path))
    assert await LocalTokenizer(path).count("a river " * 50) == plain


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": 3}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"tokenizer\.json: is not a tokenizer\.json"):
        LocalTokenizer(path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"is not UTF-8; give a tokenizer\.json"):
        LocalTokenizer(path)


def test_a_folder_without_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer\.json: No such file or directory; give a"):
        LocalTokenizer(tmp_path)


def test_without_the_package_the_extra_is_named(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"pip install 'benchcore-llm\[tokenizers\]'"):
        LocalTokenizer(file)
