"""A labeled run for reports, whose shards say what people with bad intentions might write into theirs."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.models.segmenter import Segmenter
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.table.vocabulary_table import from_table
from tests import plain_run

SCRIPT = (
    "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'> {{data}} {{script}} \u202egnp.exe"
)
"""A caption that would be a program in a page that takes it for HTML."""

CLASS = "<img src=x onerror=alert(1)>"
"""The same as a class name."""


def shard_of_strangers(scene_shard: Path, path: Path) -> Path:
    """Four images of a shard of scenes under hostile keys and captions, and one that is none."""
    import tarfile

    with tarfile.open(scene_shard) as archive:
        images = [archive.extractfile(member).read() for member in archive if member.name.endswith(".jpg")]
    members: dict[str, bytes] = {}
    for number, image in enumerate(images[:4]):
        members[f"<b onclick=alert({number})>{number}.jpg"] = image
        members[f"<b onclick=alert({number})>{number}.txt"] = SCRIPT.encode()
    members["broken.jpg"] = b"\xff\xd8\xff nothing"
    return plain_run.write_tar(path, members)


@pytest.fixture(scope="session")
def strangers(tiny: Segmenter, scenes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a run over two shards of scenes and one of strangers; tests read it only."""
    folder = tmp_path_factory.mktemp("report")
    hostile = shard_of_strangers(scenes[0], folder / "strangers.tar")
    out = folder / "out"
    plain_run.label(tiny, [*scenes, hostile], Output.of(str(out)))
    vocabulary = pq.read_table(out / "vocabulary.parquet")
    names = vocabulary["name"].to_pylist()
    found = pq.read_table(out / "ledger.parquet")["class_counts"].to_pylist()
    most = max((entry for row in found for entry in row), key=lambda entry: entry["segments"])["vocab_id"]
    names[most] = CLASS
    renamed = vocabulary.set_column(1, vocabulary.schema.field(1), pa.array(names))
    pq.write_table(renamed, out / "vocabulary.parquet")
    recorded = json.loads((out / "run.json").read_text())
    recorded["identity"]["vocabulary"] = from_table(renamed).hash
    (out / "run.json").write_text(json.dumps(recorded))
    return out


def label_file(out: Path, shard: Path) -> Path:
    """The label file of a shard."""
    return Path(Output.of(str(out)).label(Shard(url=str(shard), source=str(shard)).label_name))
