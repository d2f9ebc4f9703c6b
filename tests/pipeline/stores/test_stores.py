"""Options of stores reach the drivers in the drivers' own words, for the URLs below their prefix and no others."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskmill.models import checkpoint
from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.shards.shard import describe
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.stores import StoreOptions, Stores
from maskmill.pipeline.stores.urls import filesystem
from tests.object_store import s3_server


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = stores.used()
    yield
    stores.use(before)


def test_the_longest_prefix_wins_on_the_boundaries_of_paths() -> None:
    found = Stores.parse(
        ["s3,requester_pays", "s3://data,anonymous", "s3a://data/mine/,profile=work", "s3://data/a.tar,profile=one"]
    )
    assert found.of("s3://data/x.tar") == StoreOptions(anonymous=True)
    assert found.of("S3A://data/mine/x.tar") == StoreOptions(profile="work")
    assert found.of("s3://data/mine") == StoreOptions(profile="work")
    assert found.of("s3://data/mined/x.tar") == StoreOptions(anonymous=True)
    assert found.of("s3://data/a.tar") == StoreOptions(profile="one")
    assert found.of("s3://database/x.tar") == StoreOptions(requester_pays=True)
    assert found.of("gs://data/x.tar") == StoreOptions()
    assert found.of("/data/x.tar") == StoreOptions()


def test_a_later_option_replaces_an_earlier_one_of_its_prefix() -> None:
    found = Stores.parse(["s3://data,profile=file", "s3://data/,profile=line"])
    assert found.of("s3://data/x.tar") == StoreOptions(profile="line")


def test_options_travel_and_are_not_shown() -> None:
    found = Stores.parse(["s3://data,endpoint=https://inner.example:9000,profile=work"])
    assert pickle.loads(pickle.dumps(found)) == found
    assert "inner" not in repr(found)
    assert "work" not in repr(found.of("s3://data/x"))


@pytest.mark.parametrize(
    ("text", "url", "expected"),
    [
        ("s3://b,endpoint=http://h:9000", "s3://b/k", {"endpoint_url": "http://h:9000"}),
        ("s3://b,profile=work", "s3://b/k", {"profile": "work"}),
        ("s3://b,anonymous,requester-pays=true", "s3://b/k", {"anon": True, "requester_pays": True}),
        ("gs://b,anonymous,endpoint=http://h:4443", "gs://b/k", {"token": "anon", "endpoint_url": "http://h:4443"}),
        ("gs://b,requester_pays", "gcs://b/k", {"requester_pays": True}),
        ("az://c,anonymous,endpoint=https://a.example", "abfs://c/k", {"anon": True, "account_host": "a.example"}),
        ("hf,anonymous,endpoint=https://hub.example", "hf://u/r/k", {"token": False, "endpoint": "https://hub.example"}),
    ],
)  # fmt: skip
def test_options_are_said_in_the_drivers_words(text: str, url: str, expected: dict[str, object]) -> None:
    stores.use(Stores.parse([text]))
    found = stores.driver_options(url)
    assert {name: found.get(name) for name in expected} == expected
    stores.use(Stores())
    assert not {*expected} & {*stores.driver_options(url)}


def test_drivers_are_made_with_their_options_and_with_bounds_on_waiting() -> None:
    stores.use(Stores.parse(["s3://b,anonymous", "gs://b,anonymous", "az://c@account.blob.core.windows.net,anonymous"]))
    s3, _ = filesystem("s3://b/k.tar")
    assert (s3.anon, s3.config_kwargs["read_timeout"]) == (True, stores.READ_SECONDS)
    gs, _ = filesystem("gs://b/k.tar")
    assert gs.session_kwargs["timeout"].sock_read == stores.READ_SECONDS
    assert gs.session_kwargs["timeout"].total is None
    az, _ = filesystem("az://c@account.blob.core.windows.net/k.tar")
    assert (az.anon, az.account_name) == (True, "account")
    hf, _ = filesystem("hf://datasets/u/r/k.tar")
    assert hf.protocol


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3://b",
        "ftp://h,anonymous",
        "bucket,anonymous",
        "s3://b,anonimous",
        "s3://b,anonymous=maybe",
        "s3://b,anonymous,anonymous",
        "s3://b,anonymous,profile=work",
        "s3://b,key=HIDDEN",
        "s3://b,secret=HIDDEN",
        "s3://b,token=HIDDEN",
        "s3://b,sas_token=HIDDEN",
        "s3://b,profile=a/../HIDDEN",
        "s3://me:HIDDEN@b,anonymous",
        "s3://b,endpoint=https://me:HIDDEN@h",
        "s3://b,endpoint=https://h?sig=HIDDEN",
        "s3://b,endpoint=h:9000",
        "gs://b,profile=work",
        "az://c,requester_pays",
        "az://c,endpoint=http://127.0.0.1:10000",
        "hf://u/r,profile=work",
        "file:///data,anonymous",
    ],
)
def test_what_a_store_does_not_know_is_wrong_usage_and_told_without_secrets(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        Stores.parse([text])
    assert "\n" not in str(raised.value)
    assert "HIDDEN" not in str(raised.value)


def test_shards_weights_and_vocabularies_are_read_with_the_same_options(tmp_path: Path) -> None:
    import torch

    # Within the server's `with`, so that the environment is put back in the order in which it was changed.
    with s3_server() as store, pytest.MonkeyPatch.context() as patch:
        # Nothing but --store says where the server is.
        patch.delenv("AWS_ENDPOINT_URL")
        stores.use(Stores.parse([f"s3://shards,endpoint={store.address}"]))
        assert describe(store.put("a.tar", b"abc")).size == 3
        vocabulary = Vocabulary.load(store.put("names.txt", b"cat\ndog\n"))
        assert [entry.name for entry in vocabulary] == ["cat", "dog"]
        checkpoint.save_safetensors({"w": torch.ones(2)}, tmp_path / "w.safetensors")
        weights = checkpoint.load(store.put("w.safetensors", (tmp_path / "w.safetensors").read_bytes()))
        assert weights["w"].tolist() == [1.0, 1.0]


def test_the_command_line_and_the_yaml_file_say_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from maskmill.jobs.cli import run

    file = tmp_path / "options.yaml"
    file.write_text("store: ['s3://data,profile=file', 's3://other,anonymous']\n")
    nowhere = str(tmp_path / "nowhere")
    run(["status", "--store", "s3://data,profile=line", nowhere, "--config", str(file)])
    assert stores.used().of("s3://data/x") == StoreOptions(profile="line")
    assert stores.used().of("s3://other/x") == StoreOptions(anonymous=True)
    run(["status", nowhere, "--store=s3://data,requester_pays"])
    assert stores.used().of("s3://data/x") == StoreOptions(requester_pays=True)
    assert stores.used().of("s3://other/x") == StoreOptions()
    capsys.readouterr()
    assert run(["verify", nowhere, "--store", "s3://data,secret=HIDDEN"]) == 2
    told = capsys.readouterr().err
    assert "environment" in told
    assert "HIDDEN" not in told
    assert run(["--help"]) == 0
    assert "--store" in capsys.readouterr().out
