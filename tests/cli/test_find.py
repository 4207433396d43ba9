"""`benchcore find` on a simulated server whose knee is known, and `benchcore verify`."""

import hashlib
import json
import shutil

import pytest

from benchcore.sim import SimOptions, SimProfile, SimulatorProcess
from tests.conftest import Benchcore

pytestmark = [pytest.mark.integration, pytest.mark.perf]

SLOS = ("--slo", "ttft:p90:70ms", "--slo", "itl:p90:60ms", "--slo", "failures:10%")
SHORT = (
    "--requests",
    60,
    "--warmup",
    8,
    "--input-tokens",
    32,
    "--output-tokens",
    4,
    "--idle",
    "0s",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a search on a server that runs eight requests at once."""
    # Beyond eight users a request waits for one that has some 60 ms to go.
    results = tmp_path_factory.mktemp("found")
    with SimulatorProcess(SimOptions(profile=SimProfile.named("knee"))) as server:
        done = Benchcore(results).process(
            *("find", "--base-url", server.base_url, *SLOS, *SHORT, "--seed", 3),
            *("--from", 8, "--to", 32, "--output", results, "--no-progress"),
        )
    made = next(results.glob("*-find"))
    (results / "stdout").write_text(done.stdout)
    return made


def certificate(folder):
    return json.loads((folder / "certificate.json").read_text())


def test_it_finds_the_knee(folder):
    found = certificate(folder)
    held = {one["level"] for one in found["levels"] if one["decision"] == "held"}
    refuted = {one["level"] for one in found["levels"] if one["decision"] == "refuted"}
    assert max(held, default=8) <= 13
    assert min(refuted, default=16) >= 9
    if all(one["validity"] == "valid" for one in found["visits"]):  # the machine was calm
        assert 8 in held
        assert refuted
        assert found["ended"] == "settled"
        assert 8 <= found["at_least"] < found["refuted"] <= 16
        assert f"capacity ≥ {found['at_least']} users at 95 % confidence" in found["says"]
    assert found["says"] in (folder.parent / "stdout").read_text()
    assert found["visits"][0]["name"] == "c8"
    assert found["visits"][-1]["name"] == "c8"  # the first level came again
    assert found["seeds"] == {"seed": 3}


def test_it_says_what_it_rests_on(folder):
    found = certificate(folder)
    run = json.loads((folder / "run.json").read_text())
    assert set(found["sha256"]) == {"run.json", "requests.csv", "attainment.csv"}
    rows = (folder / "requests.csv").read_bytes()
    assert found["sha256"]["requests.csv"] == hashlib.sha256(rows).hexdigest()
    assert [one["name"] for one in found["visits"]] == [one["level"] for one in run["levels"]]
    assert found["versions"] == run["versions"]
    assert found["rule"]["objectives"] == ["ttft:p90:70ms", "itl:p90:60ms", "failures:10%"]
    for visit, level in zip(found["visits"], run["levels"], strict=True):
        assert visit["shares"]["ttft:p90:70ms"]["count"] == level["ok"]
        assert visit["shares"]["itl:p90:60ms"]["count"] == level["metrics"]["itl"]["count"]


def test_the_page_shows_it(folder):
    page = (folder / "report.html").read_text()
    assert "What does it hold?" in page
    assert certificate(folder)["says"] in page


def test_its_folder_is_verified(folder, benchcore):
    done = benchcore.run("verify", folder)
    assert done.returncode == 0, done.stderr
    found = certificate(folder)
    rows = len((folder / "requests.csv").read_text().splitlines()) - 1
    assert done.stdout.splitlines() == [
        found["says"],
        f"verified: {len(found['visits'])} levels, computed again from {rows} rows",
    ]
    assert json.loads(benchcore.run("verify", folder, "--json").stdout) == found


def rewritten(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def slower_row(copy):
    """Let one measured request have its first token a second later."""
    path = copy / "requests.csv"
    lines = path.read_text().splitlines(keepends=True)
    names = lines[0].strip().split(",")
    at = next(n for n, line in enumerate(lines) if ",window," in line)
    cells = lines[at].split(",")
    place = names.index("first_token_seconds")
    cells[place] = f"{float(cells[place]) + 1:.9f}"
    lines[at] = ",".join(cells)
    path.write_text("".join(lines))


def with_its_digest(copy, name="requests.csv"):
    digest = hashlib.sha256((copy / name).read_bytes()).hexdigest()
    rewritten(copy / "certificate.json", lambda data: data["sha256"].update({name: digest}))


def slower_row_and_its_digest(copy):
    slower_row(copy)
    with_its_digest(copy)


def another_gap_and_its_digest(copy):
    path = copy / "attainment.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].rsplit(",", 1)[0] + ",0\n"
    path.write_text("".join(lines))
    with_its_digest(copy, "attainment.csv")


def one_row_less(copy):
    path = copy / "requests.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def another_verdict(copy):
    """Change the verdict of the first level, whichever it was on a machine that may be busy."""

    def change(data):
        level = data["levels"][0]
        level["validity"] = "valid" if level["validity"] == "suspect" else "suspect"

    rewritten(copy / "run.json", change)


def of_certificate(key, value):
    return lambda copy: rewritten(copy / "certificate.json", lambda data: data.update({key: value}))


def no_digests(copy):
    rewritten(copy / "certificate.json", lambda data: data["sha256"].clear())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (slower_row, "requests.csv has changed since the certificate was made"),
        (one_row_less, "requests.csv has changed since the certificate was made"),
        (slower_row_and_its_digest, "does not agree with its rows: "),
        (another_gap_and_its_digest, "does not agree with its rows: "),
        (another_verdict, "run.json has changed since the certificate was made"),
        (no_digests, "run.json has changed since the certificate was made"),
        (of_certificate("at_least", 500), "at_least is 500, and "),
        (of_certificate("refuted", 2), "refuted is 2, and "),
        (of_certificate("says", "capacity ≥ 9000 users"), "says is 'capacity ≥ 9000 users', and"),
        (of_certificate("edge", None), "certificate.json"),
        (of_certificate("versions", {"benchcore": "0"}), "versions.benchcore is '0', and "),
        (lambda copy: (copy / "requests.csv").unlink(), "requests.csv is missing"),
        (lambda copy: (copy / "run.json").unlink(), "run.json is missing"),
        (lambda copy: (copy / "attainment.csv").unlink(), "attainment.csv is missing"),
    ],
)
def test_a_folder_that_was_changed_is_refused(folder, benchcore, tmp_path, spoil, why):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    spoil(copy)
    done = benchcore.run("verify", copy)
    assert done.returncode == 5, done.stdout
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert why in done.stderr


def test_what_is_no_folder_of_a_search_is_told(folder, benchcore, tmp_path):
    for path, why in (
        (tmp_path / "nowhere", "is no folder"),
        (tmp_path, "has no certificate.json"),
    ):
        done = benchcore.run("verify", path)
        assert done.returncode == 2
        assert done.stderr == f"benchcore: {path}: {why}; name the folder of benchcore find\n"
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "certificate.json").write_text("[]")
    assert benchcore.run("verify", tmp_path / "copy").returncode == 2


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "Missing option '--slo'"),
        (("--slo", "ttft"), "'ttft' is neither METRIC:PERCENTILE:DURATION"),
        (("--slo", "ttft:p0:1s"), "'ttft:p0:1s' is neither METRIC:PERCENTILE:DURATION"),
        (("--slo", "ttft:500"), "needs a unit"),
        (("--slo", "failures:0"), "is not a share above 0"),
        (("--slo", "ttft:1s", "--from", "9", "--to", "4"), "--from 9 is above --to 4"),
        (("--slo", "ttft:1s", "--from", "1.5"), "users are whole"),
        (("--slo", "ttft:1s", "--confidence", "20%"), "is not a confidence of 50 % or more"),
        (("--slo", "ttft:1s", "--budget", "0"), "a budget must be above 0"),
        (("--slo", "ttft:1s", "--rate", "--mode", "closed"), "leave --mode out"),
    ],
)
def test_options_that_make_no_search_are_told(benchcore, options, why):
    done = benchcore.process("find", "--base-url", "http://127.0.0.1:9", *options)
    assert done.returncode == 2
    assert why in done.stderr


def test_a_dry_run_says_between_what_it_searches(benchcore):
    done = benchcore.process(
        *("find", "--base-url", "http://127.0.0.1:9", "--slo", "ttft:500ms", "--rate"),
        *("--from", 2, "--to", 40, "--dry-run"),
    )
    assert done.returncode == 0, done.stderr
    assert "levels r2 to r40" in done.stdout
    assert "from 2 requests/s to 40 at most" in done.stdout
    assert "to hold: ttft:p99:500ms, failures:1%" in done.stdout


def test_a_server_that_has_no_such_figure_is_told(folder, benchcore, simulator):
    done = benchcore.process(
        *("find", "--base-url", simulator.base_url, "--slo", "ttft:1s", "--no-stream"),
        *("--requests", 20, "--warmup", 1, "--output-tokens", 2, "--no-progress"),
    )
    assert done.returncode == 2
    assert "ttft:p99:1000ms: no request of c1 has this figure" in done.stderr
