"""Refusal: what an answer that is none says, in a line."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from html import unescape
from http import HTTPStatus
from pathlib import Path

import orjson

from benchcore.client.openai import error_text, refused_field
from benchcore.text import AMPLE

_TITLE = re.compile(r"<title[^>]*>([^<]+)", re.IGNORECASE)


def refusal(
    body: bytes, status: int, content_type: bytes, encodings: Sequence[str], server: str
) -> tuple[str, str]:
    """Return what a refusal says, and the field that it names in a place of its own.

    Args:
        body: of the answer.
        status: of the answer.
        content_type: in lower case.
        encodings: by which the body is compressed, unasked.
        server: the name that the server gives itself; empty: none.
    """
    field = ""
    if encodings:
        said = f"the body is compressed ({', '.join(encodings)}), unasked"
    elif not body.strip():
        said = f"{_title('', status, server)}, and an empty body"
    elif b"html" in content_type or body.lstrip()[:1] == b"<":
        # A page has no words of its own: title and server say what it is.
        said = _title(body[:AMPLE].decode(errors="replace"), status, server)
    else:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = body[:AMPLE].decode(errors="replace")
        else:
            said, field = error_text(parsed), refused_field(parsed)
    if 300 <= status < 400:
        said = f"a redirect; give the address it leads to as --base-url. {said}"
    return said, field


def _title(page: str, status: int, server: str) -> str:
    found = _TITLE.search(page)
    title = "" if found is None else " ".join(unescape(found[1]).split())
    title = title.removeprefix(str(status)).lstrip(" -:|")
    if not title:
        try:
            title = HTTPStatus(status).phrase
        except ValueError:
            title = "no title"
    return f'"{title}" ({server})' if server else f'"{title}"'


def blame(fault: Exception) -> tuple[bool, str]:
    """Return whether a fault in reading an answer is ours, and what is said of it.

    JSON may be nested so deeply that it can be read and nothing else: that is the server's.
    """
    if isinstance(fault, RecursionError) or "recursion" in str(fault).lower():
        return False, "the JSON of the answer is nested too deeply"
    frame = traceback.extract_tb(fault.__traceback__)[-1:]
    where = f" in {Path(frame[0].filename).name}:{frame[0].lineno}" if frame else ""
    return True, (
        f"a fault of benchcore's own in reading the answer: "
        f"{type(fault).__name__}{where}: {str(fault)[:120]}"
    )
