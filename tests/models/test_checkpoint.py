"""Checkpoints from files, stores and a hub: the released form, its twin, and files that are wrong or hostile."""

import argparse
import os
import pickle
import socket
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy
import pytest
import torch

from maskmill.models import checkpoint
from maskmill.models.errors import UsageError

SHAPES = {"a.weight": (2, 3), "a.bias": (3,), "scale": ()}


def state() -> dict[str, torch.Tensor]:
    return {
        "a.weight": torch.arange(6.0).reshape(2, 3),
        "a.bias": torch.tensor([1.0, -2.0, 0.5]),
        "scale": torch.tensor(2.0),
    }


@pytest.fixture
def released(tmp_path) -> Path:
    path = tmp_path / "released.pth"
    torch.save({"model": state() | {"criterion.empty_weight": torch.ones(4)}}, path)
    return path


def refused(location: object) -> str:
    with pytest.raises(UsageError) as raised:
        checkpoint.load(str(location))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_released_form_a_plain_one_and_the_twin_are_one(tmp_path, released):
    torch.save(state(), tmp_path / "plain.pt")
    checkpoint.save_safetensors(state(), tmp_path / "twin.safetensors")
    hashes = set()
    for path in (released, tmp_path / "plain.pt", tmp_path / "twin.safetensors"):
        own = checkpoint.fitted(checkpoint.load(str(path)), SHAPES, ignored=["criterion.empty_weight"], source="x")
        assert all(torch.equal(own[name], tensor) for name, tensor in state().items())
        hashes.add(checkpoint.weights_hash(own))
    assert len(hashes) == 1


def test_weights_are_readable_by_whom_other_files_are(tmp_path):
    checkpoint.save_safetensors(state(), tmp_path / "saved.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "saved.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_hash_sees_names_shapes_types_and_bytes_and_not_the_memory():
    first = checkpoint.weights_hash(state())
    assert len(first) == 64
    assert first == checkpoint.weights_hash(dict(reversed(state().items())))
    strided = torch.zeros(3, 2).copy_(state()["a.weight"].T).T
    assert not strided.is_contiguous()
    assert first == checkpoint.weights_hash(state() | {"a.weight": strided})
    others = [
        {"a.weight": state()["a.weight"] + 1e-6},
        {"a.weight": state()["a.weight"].reshape(3, 2)},
        {"a.weight": state()["a.weight"].double()},
        {"b": torch.zeros(1)},
    ]
    assert len({first, *(checkpoint.weights_hash(state() | other) for other in others)}) == 5


def test_any_fsspec_url_will_do(released):
    with fsspec.open("memory://weights/released.pth", "wb") as file:
        file.write(released.read_bytes())
    assert torch.equal(checkpoint.load("memory://weights/released.pth")["scale"], torch.tensor(2.0))
    assert torch.equal(checkpoint.load(released.as_uri())["scale"], torch.tensor(2.0))


def test_what_does_not_fit_is_counted_and_named_in_one_line():
    wrong = {"a.weight": torch.zeros(3, 2), "scale": torch.tensor(2)} | {f"more.{i}": torch.zeros(1) for i in range(5)}
    with pytest.raises(UsageError) as raised:
        checkpoint.fitted(wrong, SHAPES, source="s3://key:secret@bucket/w.pth?sig=secret")
    text = str(raised.value)
    assert "\n" not in text
    assert "secret" not in text
    assert "1 missing (a.bias)" in text
    assert "5 unexpected (more.0, more.1, more.2, ...)" in text
    assert "2 of another shape (a.weight [3, 2] instead of [2, 3], scale [] of int64 instead of [])" in text


@pytest.mark.parametrize(
    "location",
    ["nowhere.pth", "nowhere.safetensors", "weights.onnx", "weights", "memory://nowhere.pth", "zz://a/b.pth"],
)
def test_what_is_not_there_or_no_checkpoint_is_wrong_usage(location, tmp_path):
    assert location in refused(tmp_path / location if "://" not in location else location)


class Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("wrap", [lambda bomb: bomb, lambda bomb: {"model": {"a": bomb}}], ids=["bare", "within"])
def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path, wrap):
    trace = tmp_path / "ran"
    torch.save(wrap(Bomb(trace)), tmp_path / "zip.pth")
    torch.save(wrap(Bomb(trace)), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(wrap(Bomb(trace))))
    for name in ("zip.pth", "legacy.pth"):
        assert "expected names and tensors" in refused(tmp_path / name)
    assert "none of torch.save's" in refused(tmp_path / "bare.pt")
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_trainings_save_beside_the_weights_is_left_out_in_one_line(tmp_path, caplog, zipped):
    trace = tmp_path / "ran"
    model = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    saved = {
        "model": model.state_dict() | {"note": "best"},
        "optimizer": optimiser.state_dict(),
        "best": numpy.float64(0.5),
        "curve": numpy.arange(3.0),
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
        "hook\n\x1b[31m": Bomb(trace),
    }
    torch.save(saved, tmp_path / "run.pth", _use_new_zipfile_serialization=zipped)
    loaded = checkpoint.load(str(tmp_path / "run.pth"))
    assert loaded.keys() == {"weight", "bias"}
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())
    (line,) = caplog.messages
    assert line.endswith("run.pth': only tensors are read, left out: optimizer, best (numpy._core.multiarray.scalar), "
                         "curve (numpy._core.multiarray._reconstruct), ...")  # fmt: skip
    assert not trace.exists()


def test_a_released_file_says_nothing(released, caplog):
    checkpoint.load(str(released))
    assert caplog.messages == []


def test_foreign_names_reach_no_terminal_raw(tmp_path, caplog):
    torch.save({"a": torch.ones(1), "b\n\x1b[31m": 1}, tmp_path / "a.pth")
    checkpoint.load(str(tmp_path / "a.pth"))
    assert caplog.messages[0].endswith(r"left out: b\n\x1b[31m")
    with pytest.raises(UsageError, match=r"1 unexpected \(c\\n\)"):
        checkpoint.fitted({"c\n": torch.ones(1)}, {}, source="x")


@pytest.mark.parametrize("inner", ["model_state_dict", "module", "net", "model_ema"])
def test_weights_stand_where_trainings_put_them(tmp_path, inner):
    torch.save({inner: state(), "epoch": 3}, tmp_path / "last.ckpt")
    assert checkpoint.load(str(tmp_path / "last.ckpt")).keys() == SHAPES.keys()


def test_a_whole_module_is_refused_with_what_to_save(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    assert "found a whole torch.nn.modules.linear.Linear. Save a state_dict()" in refused(tmp_path / "module.pth")


def test_a_number_beyond_32_bits_is_not_finite():
    large = state() | {"scale": torch.tensor(1e300, dtype=torch.float64)}
    with pytest.raises(UsageError, match=r"1 tensors hold NaN or infinity \(scale\)"):
        checkpoint.fitted(large, SHAPES, source="x")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_that_was_cut_is_refused_by_its_header_already(tmp_path, zipped):
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:200_000])
    with pytest.raises(UsageError, match=r"no whole file of torch\.save's"):
        checkpoint.headers(str(tmp_path / "a.pth"))


@pytest.mark.parametrize("prefixes", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."])
def test_what_wrappers_put_before_every_name_is_taken_off(tmp_path, prefixes):
    wrapped = {prefixes + name: tensor for name, tensor in state().items()}
    torch.save({"state_dict": wrapped}, tmp_path / "wrapped.pth")
    checkpoint.save_safetensors(wrapped, tmp_path / "wrapped.safetensors")
    for name in ("wrapped.pth", "wrapped.safetensors"):
        loaded = checkpoint.load(str(tmp_path / name))
        assert checkpoint.weights_hash(loaded) == checkpoint.weights_hash(state())


def test_a_prefix_that_some_names_lack_stays(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "mixed.pth")
    assert checkpoint.load(str(tmp_path / "mixed.pth")).keys() == {"module.a", "b"}


def test_the_dict_that_holds_tensors_is_taken_whatever_stands_beside_it(tmp_path):
    torch.save({"model": {"depth": 3}, "state_dict": state()}, tmp_path / "both.pth")
    assert checkpoint.load(str(tmp_path / "both.pth")).keys() == SHAPES.keys()


def test_tensors_without_data_are_named(tmp_path):
    torch.save({"model": state() | {"a.bias": torch.empty(3, device="meta")}}, tmp_path / "meta.pth")
    text = refused(tmp_path / "meta.pth")
    assert "1 tensors without data (a.bias)" in text
    assert "meta device" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(value):
    weights = state() | {"a.bias": torch.tensor([1.0, value, 2.0])}
    with pytest.raises(UsageError, match=r"^--init 'w.pth': 1 tensors hold NaN or infinity \(a.bias\)"):
        checkpoint.fitted(weights, SHAPES, source="w.pth", option="--init")
    assert checkpoint.fitted(state() | {"mask": torch.tensor(value)}, SHAPES, ignored=["mask"], source="w.pth")


def test_shapes_are_checked_before_there_are_numbers():
    outlines = {name: tensor.to("meta") for name, tensor in state().items()}
    assert checkpoint.fitted(outlines, SHAPES, source="w.pth").keys() == SHAPES.keys()


def test_an_error_names_the_option_that_named_the_file(tmp_path):
    for location in ("CLIP", "none.pth", "memory://none.pth", "hf://owner.pth", "zz://a/b.pth"):
        with pytest.raises(UsageError, match=f"^--init '{location}': "):
            checkpoint.load(location, option="--init")


def test_a_small_file_that_would_take_gigabytes_is_refused_before(tmp_path):
    torch.save({"a": torch.ones(1).expand(2**20, 2**20)}, tmp_path / "wide.pth")
    assert f"{4 * 2**40} bytes, expected at most" in refused(tmp_path / "wide.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_cut_short_is_refused(tmp_path, suffix, share):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    big = {name: torch.zeros(100) for name in "abc"}
    torch.save(big, whole) if suffix == ".pth" else checkpoint.save_safetensors(big, whole)
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    assert "cut" in refused(cut)


def test_a_file_that_would_unzip_to_more_than_it_is_is_refused_before(tmp_path):
    torch.save({"model": {"a": torch.zeros(1_000_000)}}, tmp_path / "plain.pth")
    path = tmp_path / "bomb.pth"
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    assert path.stat().st_size < 10_000
    assert "compressed" in refused(path)


def test_a_torchscript_archive_is_told_from_a_state_dict(tmp_path):
    path = tmp_path / "ViT-B-16.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ViT-B-16/constants.pkl", pickle.dumps(()))
        archive.writestr("ViT-B-16/data.pkl", pickle.dumps({}))
    assert "a TorchScript archive" in refused(path)


@pytest.mark.parametrize("held", [[1, 2], {"model": [1]}, {"a": 1}, {"epoch": 3, "model": {"a": "b"}}])
def test_what_holds_no_state_dict_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "other.pth")
    assert "expected names and tensors" in refused(tmp_path / "other.pth")


def test_a_malformed_hub_url_says_the_form():
    for url in ("hf://owner.pth", "hf://owner/file.pth"):
        assert "hf://OWNER/REPO/FILE" in refused(url)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's file service as one download needs."""

    files: dict[str, bytes]

    def answer(self, *, body: bool) -> None:
        found = self.files.get(self.path)
        self.send_response(404 if found is None else 200)
        if found is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"abc"')
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        if body and found:
            self.wfile.write(found)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *_: object) -> None:
        pass


HUB_SCRIPT = """
import sys
from maskmill.models import checkpoint
for url in sys.argv[1:]:
    try:
        print(sorted(checkpoint.load(url)))
    except Exception as error:
        print(type(error).__name__, error)
"""


def ask_hub(endpoint: str, home: Path, *urls: str) -> list[str]:
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": "hf_secret", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT, *urls],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "hf_secret" not in done.stdout + done.stderr
    return done.stdout.splitlines()


def test_files_of_the_hub(tmp_path, released):
    Hub.files = {
        "/owner/repo/resolve/main/san.pth": released.read_bytes(),
        "/owner/repo/resolve/v2/san.pth": released.read_bytes(),
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        good, revised, missing = ask_hub(
            endpoint, tmp_path, "hf://owner/repo/san.pth", "hf://owner/repo@v2/san.pth", "hf://owner/repo/other.pth"
        )
    finally:
        server.shutdown()
        server.server_close()
    assert good == revised == str(sorted([*SHAPES, "criterion.empty_weight"]))
    assert missing.startswith("UsageError --weights 'hf://owner/repo/other.pth'")


@pytest.mark.slow  # the hub's client tries again for a while
def test_a_hub_that_does_not_answer_is_the_environments_failure(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (away,) = ask_hub(endpoint, tmp_path, "hf://owner/repo/san.pth")
    assert away.startswith("EnvironmentFailure --weights 'hf://owner/repo/san.pth'")
