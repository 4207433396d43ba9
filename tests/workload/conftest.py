import re
from itertools import pairwise

import pytest

from benchcore.workload.synthetic import Synthetic

# Like Llama 3's: a run of letters takes at most the one mark before it.
LETTERS_WITH_MARK = (
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class BpeCounter:
    """Counts as a server does: the prompt inside a chat template."""

    def __init__(self, tokenizer, source="server", overhead=7):
        self.tokenizer = tokenizer
        self.source = source
        self.exact = source != "usage"
        self.overhead = overhead
        self.calls = 0

    def tokens(self, text):
        return len(self.tokenizer.encode(f"user:\n{text}\nbot:").ids) + self.overhead

    async def count(self, text):
        self.calls += 1
        return self.tokens(text) - self.overhead


class WordCounter:
    """Counts words and marks; `merging` marks cost more the oftener they are there."""

    overhead = 0

    def __init__(self, template, each=1, exact=False, merging=None, over_8000_characters=0):
        self.template = template
        self.each = each
        self.exact = exact
        self.merging = merging
        self.over_8000_characters = over_8000_characters
        self.source = "server" if exact else "usage"

    def tokens(self, text):
        merged = text.count(self.merging) ** 2 if self.merging else 0
        merged += self.over_8000_characters * (len(text) > 8000)
        return self.template + self.each * len(re.findall(r"\w+|[^\w\s]", text)) + merged

    async def count(self, text):
        return self.tokens(text)


class PairCounter:
    """Counts pairs of words: what a word costs depends on its neighbour."""

    exact = True
    overhead = 3

    def __init__(self, source):
        self.source = source
        self.calls = 0

    async def count(self, text):
        self.calls += 1
        found = re.findall(r"\w+|[^\w\s]", text)
        return len(found) - sum((len(one) + len(other)) % 3 == 0 for one, other in pairwise(found))


@pytest.fixture
def counting():
    return BpeCounter


@pytest.fixture
def words():
    return WordCounter


@pytest.fixture
def pairs():
    return PairCounter


@pytest.fixture(scope="session")
def corpus():
    workloads = [Synthetic(language=name, input_tokens=300, seed=99) for name in ("en", "zh")]
    return [workload.prompt(index).text for workload in workloads for index in range(60)]


@pytest.fixture(scope="session")
def trained(corpus):
    """Train a byte-level BPE: of GPT-2's splits or Llama 3's, small or large."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    def train(splits, size):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = (
            pre_tokenizers.ByteLevel(add_prefix_space=False)
            if splits == "gpt2"
            else pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(LETTERS_WITH_MARK), "isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
        )
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(corpus, trainer)
        return tokenizer

    return {
        (splits, size): train(splits, size) for splits in ("gpt2", "llama3") for size in (300, 3000)
    }
