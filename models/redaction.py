"""Takes credentials out of URLs and text, for logs, errors and everything that is stored."""

import re

_ADDRESSES = frozenset({"az", "abfs", "abfss", "adl", "hf", "oci"})
"""Schemes where `container@account`, or a revision, is part of an address, and not a user."""

_HTTP = frozenset({"http", "https"})

_STARTS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,20})?://")
"""Where URLs begin in a text."""

_FOLDED = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{1,20}):/(?=[^/\s][^/\s]*@)")
"""Where one with credentials begins that was made a path."""

_HEAD = re.compile(r"[^\s'\"<>/?#]*")
"""What of a URL in a text may be its host."""

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]*\]|[^:]*)(?=:)")
"""A host, or a user, that a colon follows; an IPv6 address stands in brackets."""

_PORT = re.compile(r"\d{1,5}(?=[/\s'\"<>?#,;:.)\]}]|$)")

_SECRET = re.compile(
    r"(?i)(?<![a-z0-9])((?:aws|account|access|secret|api|auth|session|client|sas|storage)[_-]?(?:access|account)?[_-]?"
    r"(?:key[_-]?id|key|token|secret)|password|passwd|pwd|secret|token|sas|sig|signature|credentials?|authorization"
    r"|connection[_-]?string|x-(?:amz|goog)-[a-z-]+)([\"']?\s*[=:]\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"'&,;)}]+"
)
_TOKEN = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,})\b")
_URL_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s?'\"<>]*)\?[^\s'\"<>]*")


def userinfo(url: str) -> str:
    """`user:password@` of a whole URL, as a client or a careless writer would have it; "" where there is none.

    A user alone ends at the last `@` of the authority, the part before the first `/`. A password with a bare `/` has no
    place in a URL and yet is written (AWS secrets hold them): where a colon comes first, and no port after it, all to
    the last `@` is taken for credentials. So is what could be a port, where a host and a path follow that `@`.

    Source: RFC 3986, 3.2.
    """
    start = _STARTS.match(url)
    if start is None:
        return ""
    scheme, rest = start[0][:-3].lower(), url[start.end() :]
    head = re.split(r"[/?#]" if scheme in _HTTP else "/", rest, maxsplit=1)[0]
    host = _HOST.match(head)  # or a user
    if host is None or "@" in host[0]:
        return "" if "@" not in head or (host is None and scheme in _ADDRESSES) else rest[: head.rindex("@") + 1]
    credentials = rest[: rest.rfind("@") + 1]
    is_port = re.fullmatch(r":[0-9]{1,5}", head[host.end() :]) is not None
    return "" if is_port and "/" not in rest[len(credentials) :] else credentials


def without_userinfo(url: str) -> str:
    """A whole URL without users and passwords, its own and those of URLs inside it."""
    start, done = _STARTS.match(url), ""
    while start is not None:
        scheme, rest = start[0], url[start.end() :]
        while user := userinfo(scheme + rest):
            rest = rest[len(user) :]
        done, url = done + url[: start.end()], rest
        start = _STARTS.search(url)
    return done + url


def redact_url(url: str) -> str:
    """A whole URL, or a path, without what `redact` takes out of a text; white space in it is part of it."""
    return redact(without_userinfo(url))


def redact_error(error: BaseException, url: str) -> str:
    """What a store said of a URL, in one line without credentials: some repeat a part of it without its scheme."""
    text = " ".join(str(error).split())
    if user := " ".join(userinfo(url).split()):
        text = text.replace(user, "")
    return redact(text)


def redact_message(text: str) -> str:
    """A message as `redact` leaves it, of which a URL may have been taken for a path, which has one slash for two."""
    return redact(_FOLDED.sub(r"\1://", text))


def redact(text: str) -> str:
    """The text without users and passwords in URLs, query strings, known tokens, and values of parameters that hold
    secrets. It errs on the side of removing."""
    if _STARTS.match(text) and not re.search(r"\s", text):
        text = without_userinfo(text)
    text = _URL_QUERY.sub(r"\1", _without_users(text))
    text = _SECRET.sub(r"\1\2***", text)
    return _TOKEN.sub("***", text)


def _without_users(text: str) -> str:
    """A text without users and passwords in its URLs, of which nobody knows where they end."""
    starts = list(_STARTS.finditer(text))
    if not starts:
        return text
    parts = [text[: starts[0].start()]]
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        rest = text[start.end() : None if following is None else following.start()]
        parts += [start[0], rest[_user_length(start[0][:-3].lower(), rest) :]]
    return "".join(parts)


def _user_length(scheme: str, rest: str) -> int:
    """Characters that may be `user:password@` at the start of what follows `scheme://`, to the next URL at most."""
    found = _HEAD.match(rest)
    head = "" if found is None else found[0]
    if "@" in head:
        return 0 if scheme in _ADDRESSES and ":" not in head else head.rindex("@") + 1
    user, colon, _ = head.partition(":")
    line = rest.partition("\n")[0]
    end = line.rfind("@")
    password = line[len(user) + 1 : end]
    if not colon or user.startswith("[") or end <= len(user) or password[:1].isspace():
        return 0  # no password: a host alone, an IPv6 address, or the end of a URL in a sentence
    if _PORT.match(password) and (re.search(r"[\s'\"]", password) or "/" not in line[end:].split(maxsplit=1)[0]):
        return 0
    return end + 1
