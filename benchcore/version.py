"""Which distribution this is, its version, and how it is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

__version__ = "0.1.0"

DISTRIBUTION: Final = "benchcore-llm"
"""The name on PyPI. `benchcore` there is a project of somebody else's."""


def installing(extra: str) -> str:
    """Return how to install an extra, from PyPI and in a checkout."""
    return (
        f"pip install '{DISTRIBUTION}[{extra}]', "
        f"or in a checkout .venv/bin/pip install -e '.[{extra}]'"
    )


def refuse_namesake(packages: Path) -> None:
    """Refuse to run out of a folder into which the other `benchcore` has been installed too.

    Both install files into a folder `benchcore`, so each has overwritten some of the other's, and
    what would run is a mixture.

    Args:
        packages: the folder that holds the package.

    Raises:
        ImportError: the namesake is there. Within the command line, the process ends with 2.
    """
    # An installer names the folder after the normalised distribution, a hyphen, and the version.
    for found in packages.glob("benchcore-*.dist-info"):
        version = found.name.removeprefix("benchcore-").removesuffix(".dist-info")
        text = (
            f"{packages} also holds benchcore {version}, another project of that name, which has "
            f"overwritten files of {DISTRIBUTION}: run pip uninstall benchcore {DISTRIBUTION}, "
            f"then pip install {DISTRIBUTION}"
        )
        if Path(sys.argv[0]).name == "benchcore":
            sys.stderr.write(f"benchcore: {text}\n")
            raise SystemExit(2)
        raise ImportError(text)


# Here, since the namesake may have replaced the package's `__init__`, but has no such module.
refuse_namesake(Path(__file__).parent.parent)
