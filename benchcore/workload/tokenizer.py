"""LocalTokenizer: counts tokens by a `tokenizer.json`, without the server."""

from pathlib import Path

from benchcore.errors import ConfigError
from benchcore.version import installing


class LocalTokenizer:
    """A token counter over a `tokenizer.json`, by the optional package `tokenizers`.

    Args:
        path: the file, or the model's folder that holds it.
        overhead: tokens that the endpoint's chat template adds to a prompt.
        special_tokens: count those that the tokenizer puts around every text, such as the one that
            begins a sequence: what a completions endpoint does.

    Raises:
        ConfigError: the package is not installed, or the file is not a tokenizer.
    """

    source = "tokenizer"
    exact = True

    def __init__(self, path: str | Path, *, overhead: int = 0, special_tokens: bool = True) -> None:
        self.path = Path(path)
        self.overhead = overhead
        self._special_tokens = special_tokens
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ConfigError(
                f"tokenizer {path}: the package `tokenizers` is not installed; "
                f"{installing('tokenizers')}"
            ) from None
        file = self.path / "tokenizer.json" if self.path.is_dir() else self.path
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"tokenizer {file}: {error.strerror}; give a tokenizer.json or its folder"
            ) from None
        except UnicodeDecodeError:
            raise ConfigError(f"tokenizer {file}: is not UTF-8; give a tokenizer.json") from None
        try:
            self._tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # noqa: BLE001 - the package raises nothing narrower
            raise ConfigError(
                f"tokenizer {file}: is not a tokenizer.json of the package `tokenizers`: {error}"
            ) from None
        # A file may ask for both, and either would falsify a count.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    async def count(self, text: str) -> int:
        """Return the number of tokens of `text`."""
        return self.tokens(text)

    def tokens(self, text: str) -> int:
        """Return the number of tokens of `text`, for those who cannot wait."""
        encoding = self._tokenizer.encode(text, add_special_tokens=self._special_tokens)
        return len(encoding.ids)
