"""Pages of metrics: what is read of one, and of the next one whatever has changed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from benchcore.observe.families import PageReader

NAMES = st.from_regex(r"[a-z_:][a-z0-9_:]{0,6}", fullmatch=True).filter(lambda name: name != "e")
TEXTS = st.text(alphabet='ab"\\ },{=\n#é', max_size=6)
SERIES = st.tuples(
    NAMES, st.dictionaries(st.from_regex(r"[a-d]", fullmatch=True), TEXTS, max_size=3)
)
VALUES = st.floats(allow_nan=False)


def written(series):
    name, labels = series
    inside = ",".join(
        f'{key}="{value.translate({92: chr(92) * 2, 34: chr(92) + chr(34), 10: chr(92) + "n"})}"'
        for key, value in labels.items()
    )
    return f"{name}{{{inside}}}" if labels else name


def page_of(values):
    return "".join(f"{written(key)} {value!r}\n" for key, value in values).encode()


def known(reader):
    """What a reader holds, as a page is thought of."""
    return {
        (series.name, tuple(sorted(series.labels.items()))): value
        for series, value in zip(reader.series, reader.values, strict=True)
        if not math.isnan(value)
    }


PAGES = st.lists(
    st.dictionaries(
        SERIES.map(lambda series: (series[0], tuple(sorted(series[1].items())))), VALUES, max_size=6
    ),
    min_size=1,
    max_size=5,
)


@given(PAGES)
def test_after_each_page_what_is_held_is_what_the_page_says(pages):
    reader = PageReader()
    for page in pages:
        before = known(reader)
        changes = reader.read(
            page_of([((name, dict(labels)), v) for (name, labels), v in page.items()])
        )
        assert known(reader) == page
        # Whoever follows the changes alone knows the same.
        for change in changes:
            series = reader.series[change.place]
            key = (series.name, tuple(sorted(series.labels.items())))
            if change.text:
                before[key] = float(change.text)
            else:
                del before[key]
        assert before == page


@given(
    st.dictionaries(NAMES, st.lists(st.floats(0, 10), max_size=4), max_size=3), st.text(max_size=5)
)
def test_a_page_of_the_library_is_read_as_the_library_reads_it(histograms, label):
    registry = CollectorRegistry()
    made = {}
    for number, (name, values) in enumerate(histograms.items()):
        made[name] = Histogram(f"{name}{number}", "text", ["l"], registry=registry).labels(label)
        for value in values:
            made[name].observe(value)
    Gauge("zz_gauge", "of\nlines", registry=registry).set(-2.5)
    Counter("zz_count", "it", registry=registry).inc(3)
    page = generate_latest(registry)
    reader = PageReader()
    reader.read(page)
    assert known(reader) == {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_anything_at_all_can_be_read(first, second):
    reader = PageReader()
    for page in (first, second, first):
        reader.read(page)
        assert len(reader.values) == len(reader.series)


TYPED = (
    b"# TYPE a_total counter\na_total %d\n# TYPE g gauge\ng %d\n"
    b'# TYPE h histogram\nh_bucket{le="+Inf"} %d\nh_count %d\nh_sum %d\n'
)


@pytest.mark.parametrize(
    ("values", "restarts"),
    [
        ((5, 5, 5, 5, 5), 0),
        ((6, 1, 6, 6, 1), 0),  # a gauge falls, and so may a sum of what is negative
        ((4, 5, 5, 5, 5), 1),
        ((5, 5, 4, 5, 5), 1),
        ((0, 0, 0, 0, 0), 1),
    ],
)
def test_a_counter_that_fell_is_a_restart(values, restarts):
    reader = PageReader()
    reader.read(TYPED % (5, 5, 5, 5, 5))
    reader.read(TYPED % values)
    assert reader.restarts == restarts


def test_another_process_is_a_restart_whatever_its_counters_say():
    page = b"# TYPE a_total counter\na_total %d\nprocess_start_time_seconds %d.5\n"
    reader = PageReader()
    for counter, started, restarts in ((5, 100, 0), (6, 100, 0), (9, 160, 1), (9, 160, 1)):
        reader.read(page % (counter, started))
        assert reader.restarts == restarts


def test_an_openmetrics_page_with_times_and_exemplars_is_read_too():
    reader = PageReader()
    reader.read(
        b"# TYPE r counter\nr_total 3.0 1700000000.5\n"
        b'h_bucket{le="1"} 4 # {trace="a b} 9"} 0.5 1700000000\n# EOF\n'
    )
    assert known(reader) == {("r_total", ()): 3.0, ("h_bucket", (("le", "1"),)): 4.0}


def test_only_lines_that_changed_are_told():
    reader = PageReader()
    reader.read(b'a{x="1"} 1\na{x="2"} 2\n')
    assert [(change.place, change.text) for change in reader.read(b'a{x="1"} 1\na{x="2"} 3\n')] == [
        (1, "3")
    ]
    assert reader.read(b'a{x="1"} 1\na{x="2"} 3\n') == []
    # One takes the place of another on a page of as many lines.
    changes = reader.read(b'a{x="1"} 1\na{x="3"} 7\n')
    assert [(change.place, change.text) for change in changes] == [(2, "7"), (1, "")]
