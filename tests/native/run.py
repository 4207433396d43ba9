"""Run the native reader under AddressSanitizer and UBSan: `make test-native`."""

import argparse
import random
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "native"
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CORPUS = ROOT / "tests" / "real" / "captures"


def main() -> int:
    """Compile and run; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    given = parser.parse_args()
    compiler = shutil.which("cc")
    if compiler is None:
        print("make test-native needs a C compiler (apt install gcc libc6-dev)", file=sys.stderr)
        return 2
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "fuzz"
    command = [compiler, "-std=gnu11", "-Wall", *SANITIZED, "-o", program, HERE / "fuzz.c"]
    subprocess.run(command, check=True)
    files = sorted(CORPUS.glob("*.http"))
    print(f"seed {given.seed}, {given.seconds} s, {len(files)} files of real bytes", flush=True)
    command = [program, str(given.seed), str(given.seconds), *files]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
