"""Puts a report's data into its page: one HTML file that asks for nothing else. What the data are is not known here.

The page's own script and style are allowed by their hashes and nothing else is, so that no text of a data set can
become a program; the script writes such text as text only.
"""

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

_STYLES = ("page.css", "images.css", "small.css")
_SCRIPTS = (
    "words.js", "masks.js", "marks.js", "sheet.js", "route.js", "large.js", "charts.js", "classes.js", "facts.js",
    "start.js",
)  # fmt: skip
"""In the order in which they stand in the page: one style and one script, so that two hashes say what may run."""

_PLACE = re.compile(r"\{\{(policy|style|script|data)\}\}")


def page(data: dict[str, Any]) -> bytes:
    """The page that shows these data; the scripts in assets/ say what they expect of them."""
    style, script = ("\n".join(map(_asset, names)) for names in (_STYLES, _SCRIPTS))
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    parts = {"policy": policy, "style": style, "script": script, "data": embedded(data)}
    # In one pass: what the data say is never taken for a place.
    return _PLACE.sub(lambda place: parts[place[1]], _asset("page.html")).encode()


def embedded(value: object) -> str:
    """JSON that can stand inside an HTML element: ASCII, and none of HTML's characters."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def short(text: str, most: int) -> str:
    """A text of at most `most` characters; a longer one ends in an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _asset(name: str) -> str:
    return files("maskmill.pipeline.report").joinpath("assets", name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
