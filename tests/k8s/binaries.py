"""The programs of a control plane: etcd of Debian, the others built from Debian's source package.

The build takes some minutes and is done once: what it makes is kept in a cache folder.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "benchcore" / "k8s"
VERSION = "1.20.2"
PROGRAMS = ("kube-apiserver", "kube-controller-manager")
BUILD_SECONDS = 1800


# A library of this version takes a map apart as Go before 1.18 did: with a later one the API server
# ends in a fault. Its next version, whose form of these lines this is, came after.
REFLECT2 = "vendor/github.com/modern-go/reflect2"
EDITS = (
    (
        "unsafe_link.go",
        "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer) *hiter",
        "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)",
    ),
    (
        "unsafe_link.go",
        "\t// rest fields are ignored\n",
        "\tpointers [6]unsafe.Pointer\n\tnumbers [4]uintptr\n",
    ),
    (
        "unsafe_map.go",
        (
            "\treturn &UnsafeMapIterator{\n"
            "\t\thiter:      mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj)),\n"
        ),
        (
            "\tvar it hiter\n"
            "\tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), &it)\n"
            "\treturn &UnsafeMapIterator{\n\t\thiter:      &it,\n"
        ),
    ),
)


class MissingError(Exception):
    """A program is not there and cannot be made; says what to do."""


def program(name: str) -> str:
    """Return where a program is; builds it where it has to be."""
    if name not in PROGRAMS:
        found = shutil.which(name)
        if found is None:
            raise MissingError(f"{name} is not there; install it, on Debian: etcd-server")
        return found
    built = CACHE / VERSION / name
    if not built.exists():
        _build(built.parent)
    return str(built)


def _build(folder: Path) -> None:
    for tool in ("apt-get", "go", "make", "rsync", "tar"):
        if shutil.which(tool) is None:
            raise MissingError(f"{tool} is not there; it is needed to build Kubernetes {VERSION}")
    print(f"building Kubernetes {VERSION}: a few minutes, once", file=sys.stderr)
    source = CACHE / "source"
    archive = _archive(source)
    tree = source / "tree"
    if not tree.exists():
        tree.mkdir()
        _run(["tar", "-xzf", str(archive), "-C", str(tree), "--strip-components=1"], source)
    for name, old, new in EDITS:
        file = tree / REFLECT2 / name
        file.write_text(file.read_text().replace(old, new))
    for name in PROGRAMS:
        environment = {
            "GOFLAGS": "-mod=vendor",
            "GOPROXY": "off",
            # There is no git in the package that would say it.
            "KUBE_GIT_VERSION": f"v{VERSION}",
            "KUBE_GIT_COMMIT": "0",
            "KUBE_GIT_TREE_STATE": "clean",
        }
        _run(["nice", "-n", "19", "make", f"WHAT=cmd/{name}"], tree, environment)
        folder.mkdir(parents=True, exist_ok=True)
        made = next((tree / "_output" / "local" / "bin").glob(f"*/*/{name}"))
        # Under its name only once it is whole.
        shutil.copy2(made, folder / f".{name}")
        (folder / f".{name}").rename(folder / name)


def _archive(source: Path) -> Path:
    """Fetch the source package, with lists of our own: the machine's may lack the sources."""
    if not (found := list(source.glob("kubernetes_*.orig.tar.gz"))):
        parts = source / "apt" / "parts"
        for folder in (parts, source / "apt" / "lists" / "partial", source / "apt" / "cache"):
            folder.mkdir(parents=True, exist_ok=True)
        for path in _source_lists():
            text = re.sub(r"^Types:.*$", "Types: deb-src", path.read_text(), flags=re.MULTILINE)
            text = re.sub(r"^deb\s", "deb-src ", text, flags=re.MULTILINE)
            (parts / path.name).write_text(text)
        options = [
            "Dir::Etc::SourceList=/dev/null",
            f"Dir::Etc::SourceParts={parts}",
            f"Dir::State::Lists={source}/apt/lists",
            f"Dir::Cache={source}/apt/cache",
            "APT::Sandbox::User=",
        ]
        apt = ["apt-get", "--quiet", *(word for one in options for word in ("-o", one))]
        _run([*apt, "update"], source)
        _run([*apt, "source", "--download-only", "kubernetes"], source)
        found = list(source.glob("kubernetes_*.orig.tar.gz"))
    if not found:
        raise MissingError("the source package kubernetes cannot be had from apt's sources")
    return found[0]


def _source_lists() -> list[Path]:
    etc = Path("/etc/apt")
    lists = [etc / "sources.list", *sorted((etc / "sources.list.d").iterdir())]
    return [path for path in lists if path.suffix in {".list", ".sources"} and path.is_file()]


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=sys.stderr,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if done.returncode:
        raise MissingError(f"{' '.join(command)} ended with {done.returncode}; see above")
