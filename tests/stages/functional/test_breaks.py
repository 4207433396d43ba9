import pytest

from benchcore.metrics.functional import Verdict
from benchcore.sim.breaks.catalogue import BREAKS, known_break
from benchcore.stages.functional.catalogue import installed_suites

IDS = sorted(case_id for suite in installed_suites().values() for case_id in suite.checks)

pytestmark = pytest.mark.functional


def failed(report):
    return [result.case_id for result in report.results if result.verdict is Verdict.FAIL]


def test_there_are_at_least_ninety_checks_and_a_break_for_each():
    assert len(IDS) >= 90
    assert sorted(BREAKS) == IDS


def test_an_unknown_break_is_refused_with_the_nearest_known_one():
    with pytest.raises(ValueError, match=r"'sse\.one_dnoe'; did you mean sse\.one_done\?"):
        known_break("sse.one_dnoe")


@pytest.mark.parametrize("strict", [True, False])
async def test_the_simulator_passes_every_check_and_nothing_is_skipped(check_simulator, strict):
    report = await check_simulator(strict=strict)
    wrong = [result.to_json() for result in report.results if result.verdict is not Verdict.PASS]
    assert wrong == []
    assert [result.case_id for result in report.results if result.tolerated] == []
    assert report.ok
    assert report.engine == "benchcore-sim"


@pytest.mark.parametrize("case_id", IDS)
async def test_the_break_of_a_check_makes_exactly_that_check_fail(check_simulator, case_id):
    # A stream that is not read fills the buffers between client and server only with time.
    slow = {"stall_seconds": 3} if case_id == "isolation.slow_reader_stalls_nobody" else {}
    report = await check_simulator(case_id, **slow)
    assert failed(report) == [case_id]
    (result,) = [one for one in report.results if one.case_id == case_id]
    assert result.expected
    assert result.got
    assert result.evidence
