"""Check what would be published: what the wheel and the sdist hold, and that the wheel works.

Called by `make release` with the folder of the built files.
"""

import platform
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def check_wheel(path):
    names = set(zipfile.ZipFile(path).namelist())
    for folder in ("workloads", "scenarios"):
        for file in (ROOT / folder).rglob("*"):
            packed = f"benchcore/_data/{folder}/{file.relative_to(ROOT / folder)}"
            if file.is_dir() or file.suffix == ".pyc":
                continue
            assert packed in names, f"{path.name} lacks {packed}"
    for file in (ROOT / "benchcore" / "templates").iterdir():
        assert f"benchcore/templates/{file.name}" in names, f"{path.name} lacks {file.name}"
    for file in (ROOT / "benchcore" / "show" / "assets").iterdir():
        assert f"benchcore/show/assets/{file.name}" in names, f"{path.name} lacks {file.name}"
    assert "benchcore/py.typed" in names, f"{path.name} says nothing of its types"
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"benchcore"}, tops
    for license_file in ("LICENSE", "benchcore/show/assets/uPlot.LICENSE"):
        assert any(name.endswith(f"licenses/{license_file}") for name in names)


def check_sdist(path):
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile", "tests/release.py"):
        assert name in names, f"{path.name} lacks {name}"
    assert not any(name.startswith(("results/2", ".venv", ".real")) for name in names)


def check_native(wheels):
    """Hold that there is a pure wheel, and one with the native reader for each machine."""
    library = "benchcore/client/native/_reader.so"
    held = {
        path.stem.rpartition("-py3-none-")[2]: library in zipfile.ZipFile(path).namelist()
        for path in wheels
    }
    assert held == {"any": False, "manylinux2014_x86_64": True, "manylinux2014_aarch64": True}, held


def check_installed(wheel):
    """Install the wheel alone in an empty place and measure the simulator there."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(f"{folder}/venv", with_pip=True)
        pip = [f"{folder}/venv/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        lock = ["--require-hashes", "-r", str(ROOT / "requirements.lock")]
        subprocess.run([*pip, *lock], check=True)
        subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
        command = [f"{folder}/venv/bin/benchcore", "climb", "--workload", "year1"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        assert "stress-c10" in done.stdout
        assert len(list(Path(folder, "results").iterdir())) == 1
        # Scenarios and templates are there without a checkout; so is the way to a cluster's extra.
        for command in (
            ("run", "--scenario", "simulator", "--quiet"),
            ("new", "scenario", "mine"),
            ("plan", "--scenario", "mine"),
        ):
            subprocess.run(
                [f"{folder}/venv/bin/benchcore", *command],
                cwd=folder,
                check=True,
                capture_output=True,
            )
        asked = [f"{folder}/venv/bin/benchcore", "clean"]
        done = subprocess.run(asked, cwd=folder, check=False, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert "pip install 'benchcore-llm[k8s]'" in done.stderr, done.stderr


def main():
    dist = Path(sys.argv[1])
    wheels = sorted(dist.glob("*.whl"))
    (sdist,) = dist.glob("*.tar.gz")
    for wheel in wheels:
        check_wheel(wheel)
    check_sdist(sdist)
    check_native(wheels)
    for wheel in wheels:
        if wheel.stem.endswith(("-any", f"_{platform.machine()}")):
            check_installed(wheel)
    names = ", ".join(path.name for path in (*wheels, sdist))
    print(f"{names} are fit to be published")


if __name__ == "__main__":
    main()
