"""Accuracy: an eval's folder, with a line for each sample as soon as it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from benchcore.base.errors import ConfigError
from benchcore.base.files import GrowingFile, read_json, replace_file
from benchcore.metrics.accuracy import Sample

if TYPE_CHECKING:
    from pathlib import Path


SAMPLES = "samples.jsonl"
ACCURACY = "accuracy.json"


class SampleFile:
    """`samples.jsonl`, which grows by whole lines.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = GrowingFile(folder / SAMPLES)

    def write(self, sample: Sample, **beside: Any) -> None:
        """Write a sample at once.

        Args:
            sample: with what came of it.
            **beside: what else its line says, such as the level of a climb.

        Raises:
            OSError: it cannot be written.
        """
        entry = {**beside, **sample.to_json()}
        self._file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_samples(folder: Path, samples: list[Sample]) -> None:
    """Write `samples.jsonl` anew.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    lines = [orjson.dumps(one.to_json(), option=orjson.OPT_APPEND_NEWLINE) for one in samples]
    replace_file(folder / SAMPLES, b"".join(lines))


def read_samples(folder: Path) -> list[Sample]:
    """Return the samples of a run in the order of asking, without a last line that was cut.

    The file has them in the order in which they ended.

    Raises:
        ConfigError: they cannot be read.
    """
    path = folder / SAMPLES
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    found = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            found.append(Sample.from_json(orjson.loads(line)))
        except (orjson.JSONDecodeError, ValueError) as error:
            raise ConfigError(f"{path}:{number}: is no sample: {error}") from None
    return sorted(found, key=lambda sample: sample.index)


def read_accuracy(folder: Path) -> dict[str, Any]:
    """Return what `accuracy.json` holds.

    Raises:
        ConfigError: it is not there, or is not what it should be.
    """
    path = folder / ACCURACY
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("task"), str):
        raise ConfigError(f"{path}: is not of an eval")
    return found
