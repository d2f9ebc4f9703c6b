import hashlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.shards.listing import expand
from maskmill.pipeline.stores.urls import canonical, filesystem, hash16, quoted, stem
from tests.object_store import ObjectStore, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStore]:
    with s3_server() as store:
        for key in ("run/b.tar", "run/a.tar", "run/notes.txt", "run/deep/c.tar", "odd/x?1.tar", "odd/x#2.tar"):
            store.put(key, b"x")
        for key in ("train.v1/a.tar", "train.v1/b.tar", "br[1].tar", "br1.tar", "both/a.tar", "both", "fold[1]/a.tar"):
            store.put(key, b"x")
        store.put("lists/all.txt", b"# shards\n\n  s3://shards/run/{a,b}.tar  \ns3://shards/run/gone.tar\n")
        yield store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b.tar", "a.tar", "c.txt", "sub/d.tar", "odd[1].tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("S3://Bucket/Key.tar", "s3://Bucket/Key.tar"),
        ("s3a://b/k.tar", "s3://b/k.tar"),
        ("gcs://b/k.tar", "gs://b/k.tar"),
        ("abfs://c/k.tar", "az://c/k.tar"),
        ("abfss://c@account.dfs.core.windows.net/k.tar", "az://c@account.dfs.core.windows.net/k.tar"),
        ("s3://key:sec/ret@b/k.tar", "s3://b/k.tar"),
        ("s3://b/k.tar?versionId=3", "s3://b/k.tar"),
        ("s3://b/k#1?.tar", "s3://b/k#1?.tar"),
        ("HTTPS://user:pw@Host.org/K.tar?sig=x#f", "https://host.org/K.tar"),
        ("hf://datasets/u/r@main/k.tar", "hf://datasets/u/r@main/k.tar"),
        ("/a/./b/../c//k.tar", "/a/c/k.tar"),
        ("file:///a/k.tar", "/a/k.tar"),
        ("FILE:///a/k?x=1.tar", "/a/k?x=1.tar"),
    ],
)
def test_a_shard_has_one_name(url: str, name: str) -> None:
    assert canonical(url) == name
    assert canonical(name) == name


def test_a_relative_name_is_absolute(folder: Path) -> None:
    assert canonical("sub/../a.tar") == f"{folder}/a.tar"
    assert canonical("~/a.tar") == f"{Path.home()}/a.tar"


def test_the_hash_is_the_start_of_sha256() -> None:
    assert hash16("s3://b/k.tar") == hashlib.sha256(b"s3://b/k.tar").hexdigest()[:16]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://b/part-00.tar", "part-00"),
        ("/x/a b{1}.TAR.gz", "a_b_1_"),
        ("/x/..tar", "shard"),
        ("/x/é.tgz", "_"),
        ("/x/" + "n" * 300 + ".tar", "n" * 80),
        ("https://h/", "h"),
    ],
)
def test_a_stem_is_a_safe_file_name(url: str, name: str) -> None:
    assert stem(url) == name


def test_arguments_keep_their_order_and_globs_are_sorted(folder: Path) -> None:
    names = expand(["sub/d.tar", "[ab].tar", "gone-{1..2}.tar"])
    assert names == [f"{folder}/{name}" for name in ("sub/d.tar", "a.tar", "b.tar", "gone-1.tar", "gone-2.tar")]


def test_a_directory_is_its_tars(folder: Path) -> None:
    assert expand(["."]) == [f"{folder}/{name}" for name in ("a.tar", "b.tar", "odd[1].tar")]


def test_a_name_is_a_file_then_a_folder_then_a_pattern(folder: Path) -> None:
    for name in ("odd1.tar", "train.v1/x.tar", "fold[1]/y.tar", "z.tar/w.tar"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    names = ("odd[1].tar", "odd[12].tar", "train.v1", "fold[1]", "z.tar")
    found = ["odd[1].tar", "odd1.tar", "train.v1/x.tar", "fold[1]/y.tar", "z.tar/w.tar"]
    assert [expand([name]) for name in names] == [[f"{folder}/{name}"] for name in found]


def test_a_list_may_come_from_a_pipe(folder: Path) -> None:
    reads, writes = os.pipe()
    os.write(writes, b"a.tar\nb.tar\n")
    os.close(writes)
    assert expand([f"@/dev/fd/{reads}"]) == [f"{folder}/a.tar", f"{folder}/b.tar"]
    os.close(reads)


def test_a_shard_named_twice_is_one(folder: Path) -> None:
    assert expand(["a.tar", "./a.tar", f"file://{folder}/a.tar", "[a].tar"]) == [f"{folder}/a.tar"]
    assert expand(["s3://b/k.tar", "S3A://b/k.tar"]) == ["s3://b/k.tar"]


def test_two_inputs_under_one_name_are_wrong_usage_and_tell_no_secret() -> None:
    with pytest.raises(UsageError) as raised:
        expand(["https://h/k.tar?sig=SECRET1", "https://u:SECRET2@h/k.tar"])
    assert "https://h/k.tar" in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_a_list_may_hold_patterns_comments_and_blank_lines(folder: Path) -> None:
    (folder / "list.txt").write_text("\ufeff# first\n\n  a.tar \r\nsub/*.tar\n{b,x}.tar\n")
    assert expand(["@list.txt"]) == [f"{folder}/{name}" for name in ("a.tar", "sub/d.tar", "b.tar", "x.tar")]


@pytest.mark.parametrize("argument", ["*.zip", "@none.txt", "@empty.txt", "empty", "@binary.txt", "@nested.txt"])
def test_what_matches_nothing_is_wrong_usage(folder: Path, argument: str) -> None:
    (folder / "empty.txt").write_text("# nothing\n")
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "nested.txt").write_text("@empty.txt\n")
    (folder / "empty").mkdir()
    with pytest.raises(UsageError) as raised:
        expand([argument])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "argument",
    [
        "pipe:cat /etc/passwd",
        "PIPE:touch pwned",
        "data:,x",
        "pipe://touch pwned",
        "nosuch://b/k.tar",
        "github://o:r@/k.tar",
        "zip://a.tar::s3://b/k.zip",
        "simplecache::s3://b/k.tar",
        "reference://x",
        "s3://key:secret@b/k.tar",
        "",
        "a\x00b.tar",
        "a\udcff.tar",
        "n" * 5000,
    ],
)
def test_what_names_no_file_is_refused(folder: Path, argument: str) -> None:
    with pytest.raises(UsageError) as raised:
        expand([argument])
    assert "secret" not in str(raised.value)
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(("url", "package"), [("gs://b/k.tar", "gcsfs"), ("az://c/k.tar", "adlfs")])
def test_a_missing_driver_is_named_with_its_pip_line(url: str, package: str) -> None:
    pytest.importorskip("fsspec")
    try:
        __import__(package)
    except ImportError:
        with pytest.raises(UsageError, match=f"pip install {package}"):
            filesystem(url)
    else:
        pytest.skip(f"{package} is installed")


@pytest.mark.parametrize(
    ("argument", "keys"),
    [
        ("s3://shards/run/*.tar", ["run/a.tar", "run/b.tar"]),
        ("s3a://shards/run/**/*.tar", ["run/a.tar", "run/b.tar", "run/deep/c.tar"]),
        ("s3://shards/run/", ["run/a.tar", "run/b.tar"]),
        ("s3://shards/run", ["run/a.tar", "run/b.tar"]),
        ("s3://shards/run/{a,gone}.tar", ["run/a.tar", "run/gone.tar"]),
        ("s3://shards/run/?.tar", ["run/a.tar", "run/b.tar"]),
        ("@s3://shards/lists/all.txt", ["run/a.tar", "run/b.tar", "run/gone.tar"]),
        ("s3://shards/odd/*.tar", ["odd/x#2.tar", "odd/x?1.tar"]),
        ("s3://shards/train.v1", ["train.v1/a.tar", "train.v1/b.tar"]),
        ("s3://shards/br[1].tar", ["br[1].tar"]),
        ("s3://shards/br[12].tar", ["br1.tar"]),
        ("s3://shards/fold[1]", ["fold[1]/a.tar"]),
        ("s3://shards/both", ["both"]),
        ("s3://shards/both/", ["both/a.tar"]),
        ("s3://shards/gone.v2", ["gone.v2"]),
    ],
)
def test_a_bucket_is_listed_like_a_folder(s3: ObjectStore, argument: str, keys: list[str]) -> None:
    assert [canonical(name) for name in expand([argument])] == [f"s3://shards/{key}" for key in keys]


@pytest.mark.parametrize("argument", ["s3://shards/none/*.tar", "s3://shards/lists/", "@s3://shards/none.txt"])
def test_nothing_in_a_bucket_is_wrong_usage(s3: ObjectStore, argument: str) -> None:
    with pytest.raises(UsageError):
        expand([argument])


@pytest.mark.parametrize("url", ["/tmp/my out", "s3://b/a;touch x;.tar", "/tmp/it's", "$(touch x).tar"])
def test_a_command_that_is_offered_takes_any_name_as_one_word(url: str) -> None:
    assert shlex.split(f"maskmill query {quoted(url)} SQL") == ["maskmill", "query", url, "SQL"]
