import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from maskmill.models.errors import UsageError
from maskmill.models.redaction import redact, userinfo, without_userinfo
from maskmill.pipeline.stores.names import canonical
from maskmill.pipeline.stores.urls import check

MARK = "SeCrEt"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://user:pass@host/a.tar", "https://host/a.tar"),
        ("https://user@host/a.tar", "https://host/a.tar"),
        ("s3://AKIAABCDEFGHIJKLMNOP:ab/cd+e@bucket/k.tar", "s3://bucket/k.tar"),
        ("https://host:8080/p@q.tar", "https://host:8080/p@q.tar"),
        ("https://[::1]:9000/b/p@q.tar", "https://[::1]:9000/b/p@q.tar"),
        ("see https://h/a.tar?X-Amz-Signature=abc&x=y now", "see https://h/a.tar now"),
        ("abfs://container@account.dfs.core.windows.net/a.tar", "abfs://container@account.dfs.core.windows.net/a.tar"),
        ("hf://datasets/u/r@main/k.tar", "hf://datasets/u/r@main/k.tar"),
        ("hf://gpt2@main/k.tar", "hf://gpt2@main/k.tar"),
        ("s3://bucket: Access Denied for arn@aws", "s3://bucket: Access Denied for arn@aws"),
        ("http://localhost:9000: refused, ask ops@example.com", "http://localhost:9000: refused, ask ops@example.com"),
        ("from https://u:p'w@h/a to ftp://v:12/34@i/b", "from https://h/a to ftp://i/b"),
        ("aws_secret_access_key=wJalr/K7 rest", "aws_secret_access_key=*** rest"),
        ('{"password": "hunter2", "n": 1}', '{"password": "***", "n": 1}'),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("token hf_abcdefghijklmnopqrstuv", "token ***"),
        ("key 'a/b.jpg' of 3 keys: fine", "key 'a/b.jpg' of 3 keys: fine"),
    ],
)
def test_credentials_leave_and_the_rest_stays(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("https://u:pa'ss\"w d@h/k.tar", "u:pa'ss\"w d@"),
        (f"https://u:{'p' * 3000}@h/k.tar", f"u:{'p' * 3000}@"),
        ("https://u:12345/67@h/k.tar", "u:12345/67@"),
        ("https://u:12345:67@h/k.tar", "u:12345:67@"),
        ("https://u:1@h/k.tar", "u:1@"),
        ("https://u:a?b#c@h/k.tar", "u:a?b#c@"),
        ("https://u:a@b@h/k.tar", "u:a@b@"),
        ("https://h:443/a/p@q.tar", ""),
        ("https://h/a:b@c/d.tar", ""),
        ("s3://bucket/a:b@c/d.tar", ""),
        ("/folder/x:y@z.tar", ""),
    ],
)
def test_a_password_is_found_whatever_is_in_it(url: str, user: str) -> None:
    assert userinfo(url) == user
    assert without_userinfo(url) == url.replace(user, "")


def refusal(url: str) -> str | None:
    """Why a URL isn't opened; None if it is."""
    try:
        check(url)
    except UsageError as error:
        return str(error)
    return None


passwords = st.text(st.sampled_from("01289/:?#@%&='\" \t\\abZ+~[]é"), max_size=12)


@given(
    st.sampled_from(["https", "HTTP", "ftp", "sftp", "s3", "S3A", "gs", "az", "hf", "webhdfs"]),
    st.text("abc1-_.%", max_size=6),
    passwords,
    passwords,
    st.sampled_from(["host.example.org", "bucket", "127.0.0.1", "[::1]"]),
    st.sampled_from(["", ":8080"]),
    st.sampled_from(["/k.tar", "/a/b@c/k.tar", "/a b/k.tar", "/x/https://v:SeCrEt@w/k.tar"]),
)
@example("https", "u", "12345/", "", "host.example.org", "", "/k.tar")
@example("https", "u", "123:", "", "host.example.org", "", "/k.tar")
@example("s3", "u", "'", '" ', "bucket", "", "/k.tar")
def test_no_table_and_no_error_shows_a_password(
    scheme: str, user: str, before: str, after: str, host: str, port: str, path: str
) -> None:
    # Two URLs in one word are two; a user has no `/`.
    url = f"{scheme}://{user}:{before}{MARK}{after}@{host}{port}{path}"
    assert MARK not in canonical(url)
    assert canonical(canonical(url)) == canonical(url)
    assert MARK not in without_userinfo(url)
    refused = refusal(url)
    if refused is None:
        # What is opened may be shown by a library, in a sentence of its own.
        assert MARK not in redact(url)
        assert MARK not in redact(f"can't connect to {url} just now")
    else:
        assert MARK not in refused
        assert "\n" not in refused


@given(st.text(max_size=60), st.text("/:@ ab1", max_size=20))
def test_what_has_no_userinfo_keeps_its_name(text: str, path: str) -> None:
    assume("://" not in text and not {"@", ":"} & set(text))
    assert without_userinfo(text) == text
    assume("://" not in path)
    url = f"https://host.example.org/{path}"
    assert without_userinfo(url) == url


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ["a", "://a:", "secret=", "x@", "https://a?", "aws_", "://", "a://b:1/@", ":// @"])
def test_long_hostile_text_takes_no_time_to_speak_of(unit: str) -> None:
    redact(unit * (20_000 // len(unit)))
