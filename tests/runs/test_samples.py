"""Tests of the samples a run leaves behind."""

from __future__ import annotations

from benchcore.metrics.accuracy import Sample
from benchcore.runs.samples import SAMPLES, SampleFile, read_samples


def test_samples_are_read_in_the_order_of_asking(tmp_path):
    file = SampleFile(tmp_path)
    for index in (2, 0, 1):
        file.write(Sample(index, f"q{index}", 0, "", "A"))
    file.close()
    assert [sample.index for sample in read_samples(tmp_path)] == [0, 1, 2]


def test_a_broken_last_line_is_passed_over(tmp_path):
    file = SampleFile(tmp_path)
    file.write(Sample(0, "q0", 0, "", "A"))
    file.close()
    with (tmp_path / SAMPLES).open("ab") as raw:
        raw.write(b'{"index": 1, "ques')
    assert [sample.question for sample in read_samples(tmp_path)] == ["q0"]


def test_a_folder_without_samples_has_none(tmp_path):
    assert read_samples(tmp_path) == []
