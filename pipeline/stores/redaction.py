"""Takes credentials out of text, for logs, errors and everything that is stored."""

import re

PASSWORD = re.compile(r"(?<=://)[^\s/@:]{0,200}:(?!\d{1,5}(?:/|$))[^\s'\"]{0,1000}@")
"""`user:password@` of a URL. A password may hold `/` (AWS secrets do), so it ends at the last @; a port is none.
Lengths are bounded, or hostile text would cost the square of its own."""

USER = re.compile(r"(?<=://)[^\s/@:'\"]{0,200}@")
"""`user@` of a URL."""

_PUBLIC_USER = re.compile(rf"(?i)(?<!abfs://)(?<!abfss://)(?<!az://)(?<!adl://){USER.pattern}")
"""The same, but for Azure's URLs, where `container@account` is an address."""

_SECRET = re.compile(
    r"(?i)(?<![a-z0-9])((?:aws|account|access|secret|api|auth|session|client|sas|storage)[_-]?(?:access|account)?[_-]?"
    r"(?:key[_-]?id|key|token|secret)|password|passwd|pwd|secret|token|sas|sig|signature|credentials?|authorization"
    r"|connection[_-]?string|x-(?:amz|goog)-[a-z-]+)([\"']?\s*[=:]\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"'&,;)}]+"
)
_TOKEN = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,})\b")
_URL_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s?'\"<>]*)\?[^\s'\"<>]*")


def redact(text: str) -> str:
    """The text without users and passwords in URLs, query strings, known tokens, and values of parameters that hold
    secrets. It errs on the side of removing."""
    text = PASSWORD.sub("", text)
    text = _PUBLIC_USER.sub("", text)
    text = _URL_QUERY.sub(r"\1", text)
    text = _SECRET.sub(r"\1\2***", text)
    return _TOKEN.sub("***", text)
