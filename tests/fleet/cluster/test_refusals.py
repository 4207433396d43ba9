"""What a fleet refuses, and that it talks over TLS with the cluster's own certificates."""

import json
import subprocess
import sys

import pytest

import benchcore
from benchcore.base.errors import ConfigError
from benchcore.fleet.dask_crew import DaskCrew, placing
from benchcore.fleet.hosts import digest
from benchcore.workload.traces import Mooncake

pytestmark = [pytest.mark.integration, pytest.mark.slow]


async def refusal(address, *args):
    """Return why a fleet is refused, and leave nothing behind."""
    crew = DaskCrew(address, *args)
    try:
        with pytest.raises(ConfigError) as caught:
            await crew.start(None)
    finally:
        await crew.close()
    return str(caught.value)


async def test_a_host_whose_file_differs_is_refused(hosts, tmp_path):
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"timestamp": 0, "input_length": 4, "output_length": 2, "hash_ids": [1]}\n')
    files = Mooncake(path=str(trace)).files()
    assert files == [str(trace)]
    crew = DaskCrew(hosts.address, 2, files)
    try:
        await crew.start(None)
        assert len(crew.workers) == 2
    finally:
        await crew.close()
    # On one machine all see the same file: one that we alone have is that of our own folder.
    said = await refusal(hosts.address, 2, ["pyproject.toml"])
    assert "pyproject.toml: No such file or directory" in said
    assert "fleet host" in said
    assert "(127.0.0." in said
    (hosts.folder / "pyproject.toml").write_text("other")
    said = await refusal(hosts.address, 2, ["pyproject.toml"])
    (hosts.folder / "pyproject.toml").unlink()
    assert "pyproject.toml is not the file that is here: its SHA-256 begins with d9298a10" in said
    assert f"and {digest('pyproject.toml')[:12]} here" in said


async def test_a_host_with_another_version_is_refused(hosts, monkeypatch):
    monkeypatch.setattr("benchcore.fleet.hosts.__version__", "9.9")
    said = await refusal(hosts.address)
    assert "has benchcore 0.1.0, and this is 9.9; install the same everywhere" in said


async def test_more_workers_than_threads_are_refused(hosts):
    assert "--workers 5: the cluster at tcp://127.0.0.1:" in await refusal(hosts.address, 5)


async def test_a_scheduler_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("benchcore.fleet.dask_crew.CONNECT_SECONDS", 0.5)
    said = await refusal("tcp://127.0.0.1:1")
    assert said.startswith("--fleet tcp://127.0.0.1:1: no Dask scheduler can be reached there")
    assert "no Dask scheduler can be reached" in await refusal("nonsense://x:1")


def test_workers_go_to_one_host_after_another():
    cores = {"tcp://a:1": 2, "tcp://a:2": 1, "tcp://b:1": 2}
    assert placing(cores, None, "x") == [
        *("tcp://a:1", "tcp://b:1", "tcp://a:1", "tcp://b:1", "tcp://a:2")
    ]
    assert placing(cores, 3, "x") == ["tcp://a:1", "tcp://b:1", "tcp://a:1"]


def test_without_dask_a_fleet_says_what_to_install():
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from benchcore.cli.main import main; sys.argv[1:] = sys.argv[1:]; main()"
    )
    asked = ["climb", "--base-url", "http://127.0.0.1:1", "--fleet", "tcp://x:1", "--no-progress"]
    done = subprocess.run(
        [sys.executable, "-c", code, *asked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--fleet needs Dask: pip install 'benchcore-llm[fleet]'" in done.stderr


async def test_workers_auto_is_not_for_a_fleet():
    with pytest.raises(ValueError, match="workers auto goes by what this machine can drive"):
        benchcore.ClimbConfig(concurrency=(1,), workers="auto", fleet="tcp://x:1")


@pytest.fixture
def certificates(tmp_path):
    """Return the variables of Dask that name a CA and a certificate of its own."""
    ca, key, cert, asked = (tmp_path / name for name in ("ca.pem", "key.pem", "cert.pem", "a.csr"))
    new = f"-newkey rsa:2048 -nodes -keyout {tmp_path}"
    for command in (
        f"req -x509 {new}/ca.key -days 2 -subj /CN=authority -out {ca}",
        f"req {new}/key.pem -subj /CN=fleet -out {asked}",
        f"x509 -req -in {asked} -CA {ca} -CAkey {tmp_path}/ca.key -CAcreateserial -out {cert}",
    ):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True)
    prefix = "DASK_DISTRIBUTED__COMM__"
    names = {f"{prefix}TLS__CA_FILE": str(ca), f"{prefix}REQUIRE_ENCRYPTION": "true"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        names[f"{prefix}TLS__{role}__KEY"] = str(key)
        names[f"{prefix}TLS__{role}__CERT"] = str(cert)
    return names


async def test_a_fleet_talks_over_tls(receiver, certificates, cluster_with):
    cluster = cluster_with("127.0.0.2", env=certificates, tls=["--protocol", "tls"])
    assert cluster.address.startswith("tls://")
    # Dask reads its variables once, as it is imported: so does a process of its own.
    asked = ["climb", "--base-url", receiver.base_url, "--concurrency", "2", "--requests", "20"]
    more = ["--input-tokens", "8", "--output-tokens", "4", "--no-progress", "--json"]
    command = [sys.executable, "-m", "benchcore", *asked, *more, "--fleet", cluster.address]
    command += ["--output", str(cluster.folder / "out")]
    env = cluster.env
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode in (0, 4), done.stderr  # 4: a busy machine measures itself
    level = json.loads(done.stdout)["levels"][0]
    assert level["ok"] == 20
    assert level["workers"][0]["address"].startswith("tls://127.0.0.2:")
    # Who has no certificate is not let in.
    plain = {name: value for name, value in env.items() if name not in certificates}
    done = subprocess.run(command, capture_output=True, text=True, env=plain, check=False)
    assert done.returncode == 2
    assert "no Dask scheduler can be reached" in done.stderr
