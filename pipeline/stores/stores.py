"""Options of stores by URL prefix: endpoint, profile, anonymous, requester pays. Opens nothing, holds no secret.

Keys and tokens come from where each store's own client looks for them: the environment, profiles, the machine's role.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from maskmill.models import remote
from maskmill.models.errors import UsageError
from maskmill.models.redaction import redact
from maskmill.pipeline.stores.names import canonical, scheme_of

OPTION = "--store"

CONNECT_SECONDS = 10
"""Longest wait for a connection."""

READ_SECONDS = 20
"""Longest wait for the next bytes of an answer: what a stalled body costs before it is asked for again."""

S3_RETRIES = 3
"""How often s3fs asks, or goes on with a body that was cut; botocore below it and `stores.backoff` above it have their
own counts, and with its default of 5 a server that answers nothing would hold a shard for half an hour."""

_KNOWN = {
    "s3": ("endpoint", "profile", "anonymous", "requester_pays"),
    "gs": ("endpoint", "anonymous", "requester_pays"),
    "az": ("endpoint", "anonymous"),
    "hf": ("endpoint", "anonymous"),
    "file": (),
}
"""Scheme -> the options that its driver has a meaning for."""

_ENDPOINT = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+(/[A-Za-z0-9._~/-]*)?", re.ASCII)
_PROFILE = re.compile(r"[A-Za-z0-9._@+-]{1,128}", re.ASCII)
_SECRET = re.compile(r"key|secret|token|passw|pwd|sas|credential|signature|user|auth", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreOptions:
    """How the objects below one prefix are asked for."""

    endpoint: str | None = field(default=None, repr=False)
    """URL of a server that speaks the store's protocol; None for the provider's own."""

    profile: str | None = field(default=None, repr=False)
    """Name of a profile in the AWS configuration files; None for the default credentials."""

    anonymous: bool = False
    """Ask without credentials, as public data allows."""

    requester_pays: bool = False
    """Agree to be charged for the requests, which some buckets ask for."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Options by prefix; it travels to replicas, and is never stored or logged."""

    by_prefix: tuple[tuple[str, StoreOptions], ...] = field(default=(), repr=False)
    """Canonical prefix without a trailing slash, and its options; longest prefix first."""

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Stores":
        """Options as users write them: `PREFIX,key=value,...`; a later text wins over an earlier one of its prefix.

        Raises:
            UsageError: no such store, an option that the store doesn't know, a wrong value, a secret.
        """
        found = dict(_parse(text) for text in texts)
        return cls(tuple(sorted(found.items(), key=lambda item: (-len(item[0]), item[0]))))

    def of(self, url: str) -> StoreOptions:
        """The options of the longest prefix that a URL lies below."""
        if not self.by_prefix:
            return StoreOptions()
        name = canonical(url)
        for prefix, options in self.by_prefix:
            # `s3://a/b` holds s3://a/b and s3://a/b/c, not s3://a/bc; `s3:/` is what is left of `s3://`.
            if name == prefix or name.startswith(prefix + "/"):
                return options
        return StoreOptions()


_used = Stores()


def use(stores: Stores) -> None:
    """Open every URL of this process with these options from now on, weights and vocabularies too."""
    global _used  # noqa: PLW0603 (what a process may read is the process's own, as its environment is)
    _used = stores
    remote.use(driver_options)


def used() -> Stores:
    """The options of this process, to hand to another."""
    return _used


def driver_options(url: str) -> dict[str, Any]:
    """Keyword arguments of the fsspec driver for a URL, in the driver's own words; timeouts and retries among them."""
    scheme = scheme_of(url)
    options = _used.of(url)
    if scheme == "s3":
        return _s3(options, url)
    if scheme == "gs":
        return _gs(options)
    if scheme == "az":
        return _az(options)
    if scheme == "hf":
        return _hf(options)
    return {}


def download_options(url: str) -> dict[str, Any]:
    """Keyword arguments of the driver's `get_file`: one stream a shard, or s3fs would hold ten parts of 50 MB each."""
    return {"max_concurrency": 1} if scheme_of(url) == "s3" else {}


def _s3(options: StoreOptions, url: str) -> dict[str, Any]:
    """Source: s3fs.S3FileSystem; botocore.config.Config for `config_kwargs`."""
    # AWS_MAX_ATTEMPTS says how many. Not `adaptive`: after one stray 503 it holds back all requests of a client, which
    # for a replica's two requests a shard is the wrong measure (twice as slow with one request in twenty refused).
    retries = {"mode": os.environ.get("AWS_RETRY_MODE", "standard")}
    found: dict[str, Any] = {
        "config_kwargs": {"retries": retries, "connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    }
    if options.endpoint is not None:
        found["endpoint_url"] = options.endpoint
    if options.profile is not None:
        found["profile"] = options.profile
    if options.anonymous:
        found["anon"] = True
    if options.requester_pays:
        found["requester_pays"] = True
    if "?versionId=" in url:
        # s3fs refuses a version unless it is told to expect one.
        found["version_aware"] = True
    return found


def _gs(options: StoreOptions) -> dict[str, Any]:
    """Source: gcsfs.GCSFileSystem; aiohttp's default would end any download after five minutes."""
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    found: dict[str, Any] = {"session_kwargs": {"timeout": timeout}}
    if options.endpoint is not None:
        found["endpoint_url"] = options.endpoint
    if options.anonymous:
        found["token"] = "anon"  # noqa: S105 (gcsfs calls it so; it is the absence of one)
    if options.requester_pays:
        found["requester_pays"] = True
    return found


def _az(options: StoreOptions) -> dict[str, Any]:
    """Source: adlfs.AzureBlobFileSystem; its `account_host` is a host without a scheme."""
    found: dict[str, Any] = {"connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    if options.endpoint is not None:
        found["account_host"] = options.endpoint.removeprefix("https://").rstrip("/")
    if options.anonymous:
        found["anon"] = True
    return found


def _hf(options: StoreOptions) -> dict[str, Any]:
    """Source: huggingface_hub.HfFileSystem; a token of False sends none."""
    found: dict[str, Any] = {}
    if options.endpoint is not None:
        found["endpoint"] = options.endpoint
    if options.anonymous:
        found["token"] = False
    return found


# --- from the command line's words -----------------------------------------------------------------------------------


def _parse(text: str) -> tuple[str, StoreOptions]:
    prefix, *words = text.strip().split(",")
    scheme = prefix.partition("://")[0] if "://" in prefix else prefix
    scheme = scheme_of(f"{scheme}://") or ""
    # What follows the scheme may hold a secret where none belongs; the error shows what is safe to show.
    shown = f"{OPTION} {redact(prefix[:200])!r}"
    if scheme not in _KNOWN:
        raise UsageError(
            f"{shown}: no store with options; expected a prefix such as 's3://bucket,anonymous' of one of "
            f"{', '.join(f'{name}://' for name in _KNOWN)}. Fix the prefix."
        )
    if redact(prefix) != prefix or "?" in prefix:
        raise UsageError(f"{shown}: holds credentials or a query. Set them in the environment and name the bucket.")
    if not words:
        raise UsageError(f"{shown}: no option. Expected a comma and {_expected(scheme)}.")
    values: dict[str, Any] = {}
    for word in words:
        name, value = _option(word.strip(), scheme, shown)
        if name in values:
            raise UsageError(f"{shown}: {name} is given twice. Keep one.")
        values[name] = value
    if values.get("anonymous") and values.get("profile"):
        raise UsageError(f"{shown}: anonymous and profile exclude each other. Keep one.")
    whole = prefix if "://" in prefix else f"{prefix}://"
    return (f"{scheme}:/" if whole.endswith("://") else canonical(whole).rstrip("/")), StoreOptions(**values)


def _option(word: str, scheme: str, shown: str) -> tuple[str, object]:
    name, given, value = word.partition("=")
    name = name.strip().replace("-", "_")
    if name not in {known.name for known in fields(StoreOptions)}:
        if _SECRET.search(name):
            raise UsageError(f"{shown}: no keys or tokens are taken here. Set them in the environment.")
        raise UsageError(f"{shown}: unknown option {redact(name[:40])!r}. Expected {_expected(scheme)}.")
    if name not in _KNOWN[scheme]:
        raise UsageError(f"{shown}: {scheme}:// knows no {name}. Expected {_expected(scheme)}.")
    if name in ("anonymous", "requester_pays"):
        flag = {"": True, "true": True, "false": False}.get(value.strip().lower() if given else "")
        if flag is None:
            raise UsageError(f"{shown}: {name} is a switch. Write it alone, or {name}=false.")
        return name, flag
    if name == "endpoint":
        return name, _endpoint(value.strip(), scheme, shown)
    if not _PROFILE.fullmatch(value.strip()):
        raise UsageError(f"{shown}: profile: expected a name of letters, digits and ._@+-. See ~/.aws/config.")
    return name, value.strip()


def _endpoint(value: str, scheme: str, shown: str) -> str:
    if not _ENDPOINT.fullmatch(value):
        raise UsageError(f"{shown}: endpoint: expected https://HOST[:PORT] without credentials or query. Fix it.")
    if scheme == "az" and not value.startswith("https://"):
        raise UsageError(
            f"{shown}: endpoint: Azure's driver speaks https:// alone. For an emulator set "
            "AZURE_STORAGE_CONNECTION_STRING in the environment."
        )
    return value


def _expected(scheme: str) -> str:
    return " or ".join(_KNOWN[scheme]) or "no option at all, local files need none"
