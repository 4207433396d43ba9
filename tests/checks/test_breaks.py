import pytest

from benchcore.checks.catalogue import installed_suites
from benchcore.runs.checks import Verdict
from benchcore.sim.breaks import BREAKS, known_break

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
    assert report.summary.engine == "benchcore-sim"


async def fails_alone(check_simulator, case_id, *cases):
    """Break a check and hold that it is the only one of those asked for that fails."""
    # Buffers between client and server fill only with time; the check ends as soon as they have.
    slow = {"stall_seconds": 60} if case_id == "isolation.slow_reader_stalls_nobody" else {}
    report = await check_simulator(case_id, cases=cases, **slow)
    assert failed(report) == [case_id]
    (result,) = [one for one in report.results if one.case_id == case_id]
    assert result.expected
    assert result.got
    assert result.evidence


# The same few thousand lines 261 times: to measure their coverage takes longer than to run them.
@pytest.mark.no_cover
@pytest.mark.parametrize("case_id", IDS)
async def test_the_break_of_a_check_makes_it_alone_fail_in_its_suite(check_simulator, case_id):
    suite = case_id.partition(".")[0]
    await fails_alone(check_simulator, case_id, "smoke.*", f"{suite}.*")


@pytest.mark.full
@pytest.mark.parametrize("case_id", IDS)
async def test_the_break_of_a_check_makes_it_alone_fail_of_all(check_simulator, case_id):
    await fails_alone(check_simulator, case_id)
