import hashlib
import os
import subprocess
import sys

from benchcore.base import seeds


def test_a_seed_is_the_head_of_a_sha256_over_its_path():
    digest = hashlib.sha256(b"7/arrivals/r4/1").digest()
    assert seeds.derive(7, "arrivals", "r4", 1) == int.from_bytes(digest[:8], "big")


def test_each_purpose_has_its_own_stream():
    paths = [("prompts",), ("order",), ("arrivals",), ("arrivals", "r4"), ("arrivals", "r4", 2)]
    drawn = {seeds.stream(0, *path).random() for path in paths}
    drawn |= {seeds.stream(1, *path).random() for path in paths}
    assert len(drawn) == 2 * len(paths)


def test_a_stream_is_the_same_in_a_process_with_other_hashes():
    code = "from benchcore.base import seeds; print(seeds.stream(3, 'prompts', 5).random())"
    drawn = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert drawn == {repr(seeds.stream(3, "prompts", 5).random())}
