from benchcore.metrics.accuracy import Sample, SampleOutcome
from benchcore.runs.facts import TargetFacts
from benchcore.runs.samples import Eval
from benchcore.show.pages import accuracy_page
from tests.show.test_page import Read


def report():
    asked = [{"role": "user", "content": "First line\n<b>second</b>"}]
    sample = Sample(
        0,
        "key",
        0,
        "physics",
        "B",
        outcome=SampleOutcome.SCORED,
        extracted="B",
        score=1.0,
        prompt=asked,
        answer="Answer: B\n<script>alert(1)</script>",
    )
    target = TargetFacts(kind="server", model="<img src=x>")
    return Eval.begun("gpqa", samples=[sample], target=target, status="complete", planned=1)


def test_texts_stand_with_their_lines_and_as_text_where_they_are_asked_for():
    page = accuracy_page(report(), show_text=True)
    assert "First line\n&lt;b&gt;second&lt;/b&gt;" in page
    assert "Answer: B\n&lt;script&gt;" in page
    assert {"img", "script", "b"}.isdisjoint(tag for tag, _ in Read(page).tags)


def test_without_that_there_are_keys_alone():
    read = Read(accuracy_page(report(), show_text=False))
    assert "First line" not in read.text
    assert "key 0 physics scored 1 B B – –" in read.text
    assert "1.0000 95 % interval 0.2065 to 1.0000" in read.text


def test_like_every_page_it_fetches_nothing():
    policies = [
        attrs["content"]
        for tag, attrs in Read(accuracy_page(report(), show_text=False)).tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    (policy,) = policies
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "; script-src 'none'; " in policy
