"""Instructions about language, found out with the package `langdetect`: `language:*`."""

from __future__ import annotations

from typing import Any

from benchcore.errors import ConfigError
from benchcore.stages.accuracy.instructions.given import Given
from benchcore.version import installing


def load_langdetect() -> Any:
    """Return the package `langdetect`, made to say the same of the same text each time.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import langdetect
    except ImportError:
        raise ConfigError(
            "IFEval finds out languages with langdetect, which is not installed: "
            f"{installing('ifeval')}"
        ) from None
    langdetect.DetectorFactory.seed = 0
    return langdetect


def is_in(language: str, text: str) -> bool:
    """Return whether text is in a language, such as `en`; true where that cannot be told.

    Args:
        language: code as `langdetect` writes it: ISO 639-1, `zh-cn` and `zh-tw`.
        text: what is looked at.

    Raises:
        ConfigError: `langdetect` is not installed.
    """
    langdetect = load_langdetect()
    try:
        return bool(langdetect.detect(text) == language)
    except langdetect.LangDetectException:
        # Text without letters: the reference counts it as followed.
        return True


def response_language(given: Given, response: str) -> bool:
    """Check that the response is in `language`."""
    return is_in(given.text("language"), response)
