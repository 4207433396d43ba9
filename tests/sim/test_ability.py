import random

import pytest

from benchcore.sim.ability import attempt
from benchcore.sim.profile import SimProfile

ABLE = SimProfile.named("fast", ability=1.0)
LOST = SimProfile.named("fast", ability=0.0)
CHOICES = "How many?\n12 + 30 = ?\n\nA) 43\nB) 52\nC) 42\nD) 39"


def tried(prompt, profile, batch=1, seed=0):
    return attempt(prompt, profile, batch, random.Random(seed))


@pytest.mark.parametrize(
    ("prompt", "right", "wrong"),
    [
        ("12 + 30 = ?", "Answer: 42", "Answer: 43"),
        ("50 − 8 = ?", "Answer: 42", "Answer: 43"),
        ("6 × 7 = ?", "Answer: 42", "Answer: 43"),
        ("After ####, as in #### 1. 6 × 7 = ?", "#### 42", "#### 43"),
        ('in the format of "Antwort:" only. 6 × 7 = ?', "Antwort: 42", "Antwort: 43"),
        ('以 "答案: " 的形式 6 × 7 = ?', "答案: 42", "答案: 43"),
        (CHOICES, "Answer: C", "Answer: A"),
    ],
)
def test_an_able_model_is_right_and_another_wrong(prompt, right, wrong):
    assert tried(prompt, ABLE).text.endswith(right)
    assert tried(prompt, ABLE).worth == "right"
    assert tried(prompt, LOST).text.endswith(wrong)
    assert tried(prompt, LOST).worth == "wrong"


@pytest.mark.parametrize(
    "prompt", ["", "Tell me a story.", "12 + 30 = 42", "1 + 1 = ?\nA) 3\nB) 4"]
)
def test_what_it_cannot_know_it_leaves(prompt):
    assert tried(prompt, ABLE) is None


def test_without_an_ability_it_knows_what_anybody_does():
    assert tried("6 × 7 = ?", SimProfile()) is not None


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ("Do not use any commas.", "Rivers carry water to the sea"),
        ("Write in all lowercase letters.", "rivers carry water to the sea"),
        ("Include the word harbour.", "Rivers carry water to the sea harbour"),
        (
            "At least this: exactly 3 bullet points",
            "* Rivers carry water to the sea\n* and on\n* and on",
        ),
        ("at least 9 words", "Rivers carry water to the sea on on on"),
        ("End with the phrase: the end.", "Rivers carry water to the sea\nthe end"),
    ],
)
def test_it_does_what_instructions_say(order, text):
    assert tried(f"Write about rivers. {order}", ABLE).text == text
    assert tried(f"Write about rivers. {order}", LOST).text == "Well, I would RATHER not, really."


def test_fates_come_in_the_fractions_that_are_set():
    profile = SimProfile.named("fast", ability=0.5, ability_cut=0.1, ability_unparsable=0.2)
    found = [tried("6 × 7 = ?", profile, seed=seed).worth for seed in range(4000)]
    shares = {worth: found.count(worth) / 4000 for worth in ("right", "wrong", "cut", "unparsable")}
    assert shares == pytest.approx(
        {"right": 0.5, "wrong": 0.2, "cut": 0.1, "unparsable": 0.2}, abs=0.025
    )


def test_above_a_batch_size_some_of_the_right_ones_become_wrong_and_no_others_change():
    profile = SimProfile.named("fast", ability=0.8, ability_batch=8, ability_beyond=0.5)
    for seed in range(300):
        below, above = (tried("6 × 7 = ?", profile, batch, seed).worth for batch in (8, 9))
        assert (below, above) in {("right", "right"), ("right", "wrong"), ("wrong", "wrong")}
    lost = [
        seed
        for seed in range(300)
        if tried("6 × 7 = ?", profile, 8, seed) != tried("6 × 7 = ?", profile, 9, seed)
    ]
    assert 60 < len(lost) < 120


@pytest.mark.parametrize(
    "fields",
    [
        {"ability": 0.9, "ability_cut": 0.2},
        {"ability": 0.5, "ability_cut": 0.3, "ability_unparsable": 0.3},
        {"ability": 0.1, "ability_batch": 4, "ability_beyond": 0.9, "ability_cut": 0.2},
    ],
)
def test_fractions_that_are_more_than_one_are_refused(fields):
    with pytest.raises(ValueError, match="more than 1 together"):
        SimProfile.named("fast", **fields)
