from prometheus_client import generate_latest

from benchcore.publish.prometheus import functional_metrics
from benchcore.runs.checks import CheckResult, Verdict
from benchcore.runs.facts import TargetFacts
from tests.run_folders import ended_checks


def lines(*verdicts, prefix="benchcore_"):
    results = [
        CheckResult.begun(f"sse.c{number}", "sse", "a check", verdict=verdict)
        for number, verdict in enumerate(verdicts)
    ]
    report = ended_checks(results, target=TargetFacts(model="m"))
    text = generate_latest(functional_metrics(report, prefix)).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_figures_have_the_names_of_the_contract():
    assert lines(Verdict.PASS, Verdict.FLAKY, Verdict.FAIL, Verdict.SKIP, Verdict.UNSUPPORTED) == [
        'benchcore_functional_cases{model="m"} 3.0',
        'benchcore_functional_cases_passed{model="m"} 2.0',
        'benchcore_functional_cases_failed{model="m"} 1.0',
        'benchcore_functional_pass_ratio{model="m"} 0.6666666666666666',
        'benchcore_functional_case_pass{case_id="sse.c0",model="m",suite="sse"} 1.0',
        'benchcore_functional_case_pass{case_id="sse.c1",model="m",suite="sse"} 1.0',
        'benchcore_functional_case_pass{case_id="sse.c2",model="m",suite="sse"} 0.0',
    ]


def test_a_ratio_of_nothing_is_left_out():
    assert lines(Verdict.SKIP, prefix="x_") == [
        'x_functional_cases{model="m"} 0.0',
        'x_functional_cases_passed{model="m"} 0.0',
        'x_functional_cases_failed{model="m"} 0.0',
    ]


def test_what_was_not_judged_has_no_figure_of_its_own():
    assert lines(Verdict.PASS, Verdict.UNSETTLED, Verdict.ERROR, prefix="x_") == [
        'x_functional_cases{model="m"} 1.0',
        'x_functional_cases_passed{model="m"} 1.0',
        'x_functional_cases_failed{model="m"} 0.0',
        'x_functional_pass_ratio{model="m"} 1.0',
        'x_functional_case_pass{case_id="sse.c0",model="m",suite="sse"} 1.0',
    ]
