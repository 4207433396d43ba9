"""Sources: fetched from a real server on loopback, once, and checked."""

import hashlib

import pytest
from aiohttp import web

from benchcore.base.errors import ConfigError
from benchcore.evals.data import task_rows
from benchcore.evals.task import Source, cache_folder, fetch, find_task

DATA = b"question\tanswer\n1\t2\n"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def place():
    """A server of files; counts what it was asked for."""
    asked = []

    async def get(request):
        asked.append(request.path)
        if request.path == "/gone.tsv":
            raise web.HTTPNotFound
        return web.Response(body=DATA)

    app = web.Application()
    app.add_routes([web.get("/{name}", get)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}", asked
    await runner.cleanup()


async def test_a_file_is_fetched_once(place, tmp_path):
    url, asked = place
    source = Source("x.tsv", f"{url}/x.tsv", SHA256)
    folder = tmp_path / "cache"
    assert (await fetch(source, folder)).read_bytes() == DATA
    assert await fetch(source, folder) == folder / "x.tsv"
    assert asked == ["/x.tsv"]


async def test_another_file_is_refused_and_not_kept(place, tmp_path):
    url, _ = place
    source = Source("x.tsv", f"{url}/x.tsv", "0" * 64)
    with pytest.raises(ConfigError, match=f"is not the file that it should be .SHA-256 {SHA256}"):
        await fetch(source, tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_an_unknown_hash_is_noted_and_held_from_then_on(place, tmp_path):
    url, _ = place
    source = Source("x.tsv", f"{url}/x.tsv")
    path = await fetch(source, tmp_path)
    assert (tmp_path / "x.tsv.sha256").read_text().strip() == SHA256
    path.write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"x\.tsv: has changed"):
        await fetch(source, tmp_path)


async def test_what_cannot_be_fetched_is_said_with_what_to_do(place, tmp_path):
    url, _ = place
    with pytest.raises(ConfigError, match="answers 404; get the file where there is a network"):
        await fetch(Source("gone.tsv", f"{url}/gone.tsv"), tmp_path)
    with pytest.raises(ConfigError, match="cannot be fetched"):
        await fetch(Source("x.tsv", "http://127.0.0.1:1/x.tsv"), tmp_path)


async def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("BENCHCORE_CACHE", raising=False)
    assert cache_folder() == tmp_path / "benchcore" / "eval"
    monkeypatch.setenv("BENCHCORE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "eval"


async def test_a_folder_of_files_is_data_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "mgsm_de.tsv").write_text("Wieviel?\t1,000\n")
    rows = await task_rows(find_task("mgsm"), "de", str(tmp_path))
    assert rows.rows == [{"question": "Wieviel?", "answer": "1,000", "group": "de"}]
    with pytest.raises(ConfigError, match=r"has no mgsm_fr\.tsv"):
        await task_rows(find_task("mgsm"), "de,fr", str(tmp_path))
    one = await task_rows(find_task("mgsm"), "de", str(tmp_path / "mgsm_de.tsv"))
    assert one.rows == rows.rows


@pytest.mark.parametrize(
    ("name", "variant", "known"),
    [
        ("gpqa", "diamond", True),
        ("gpqa", "main", False),
        ("mmlu", "", False),
        ("mmlu_pro", "", True),
        ("mmlu_pro_cot", "", True),
        ("gsm8k", "", True),
        ("math500", "", True),
        ("ifeval", "", True),
        ("mgsm", "de", True),
        ("mgsm", "th", False),
    ],
)
def test_which_hashes_are_known(name, variant, known):
    (source,) = find_task(name).sources(variant)
    assert (len(source.sha256) == 64) is known
    assert source.url.startswith("https://")
