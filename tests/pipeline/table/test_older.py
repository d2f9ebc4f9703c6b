"""Label files of schema version 1, as the program of that time wrote them: whatever reads a table reads them."""

import json
import shutil
from io import BytesIO
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from maskmill.models import zoo
from maskmill.models.errors import UsageError
from maskmill.pipeline import run
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.config import JobConfig, LabelConfig, ModelConfig, ReplicaConfig
from maskmill.pipeline.dataset import LabeledImages
from maskmill.pipeline.evaluation.table import evaluate_table
from maskmill.pipeline.export.destination import Destination
from maskmill.pipeline.export.export import Export, export
from maskmill.pipeline.ledger.status import settle, status
from maskmill.pipeline.output import Output
from maskmill.pipeline.query import ask
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.report.config import ReportConfig
from maskmill.pipeline.report.report import report
from maskmill.pipeline.retry import Given, configuration
from maskmill.pipeline.retry_choice import choose
from maskmill.pipeline.shards.shard import describe, describe_many
from maskmill.pipeline.showing.show import places, show, show_all
from maskmill.pipeline.stats import lines, stats, to_json
from maskmill.pipeline.synthesis.shards import synthesize
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.footer import FooterError, check_file
from maskmill.pipeline.table.label_table import LabelTable, ShardRows
from maskmill.pipeline.table.older import SCHEMAS, current, is_labels
from maskmill.pipeline.table.schema import LABELS, SCHEMA_VERSION
from maskmill.pipeline.table.sealed import check_sealed
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.truth.labels import open_labels
from maskmill.pipeline.verify import verify
from tests.plain_run import label
from tests.version_1 import DATA, LABEL_FILE, SHARD, put_run, put_shard

OLD = pq.read_table(DATA / "open" / "labels" / LABEL_FILE)
"""The stored rows, as pyarrow alone reads them."""

CONFIG = LabelConfig(model=ModelConfig(model="san-tiny"))
"""What the stored run was labeled with."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """The stored run, resumed by today's code over two more shards: label files of both versions. Only read."""
    folder = tmp_path_factory.mktemp("mixed")
    out = put_run("open", folder)
    more = synthesize(folder / "more", 2, 3, 5)
    label(zoo.load("san-tiny", device="cpu"), [SHARD, *more], Output.of(str(out)), CONFIG)
    return out


@pytest.fixture(params=["open", "sealed", "mixed", "mixed sealed"])
def out(request, tmp_path, mixed) -> Path:
    """Tables that hold files of version 1; the last one holds rows of such files."""
    if request.param == "mixed":
        put_shard()
        return mixed
    if request.param == "mixed sealed":
        compact(Output.of(str(mixed)), Output.of(str(tmp_path / "sealed")), scratch=tmp_path)
        return tmp_path / "sealed"
    return put_run(request.param, tmp_path)


def segments_of(out: Path) -> list[dict]:
    """Segments of all label files of a table in the files' order, by pyarrow alone."""
    return [
        segment
        for path in sorted((out / "labels").iterdir())
        for segments in pq.ParquetFile(path).read()["segments"].to_pylist()
        for segment in segments or ()
    ]


def test_the_stored_file_is_of_version_1_and_has_what_it_had():
    path = DATA / "open" / "labels" / LABEL_FILE
    assert json.loads(pq.read_metadata(path).metadata[b"maskmill"])["schema_version"] == 1 < SCHEMA_VERSION
    assert OLD.schema.equals(SCHEMAS[1])
    assert is_labels(OLD.schema)
    assert "agreement" not in {field.name for field in OLD.schema.field("segments").type.value_type}
    assert check_file(path).counts.segments == sum(map(len, OLD["segments"].to_pylist())) == 12
    assert check_sealed(DATA / "sealed" / "labels" / "part-000000.parquet").rows == 4


def test_the_table_of_now_is_the_last_version():
    assert SCHEMAS[SCHEMA_VERSION].equals(LABELS)
    assert list(SCHEMAS) == [1, 2]
    assert not is_labels(LABELS.remove(0))


def test_rows_get_null_for_what_their_version_lacks_and_keep_the_rest():
    (batch,) = OLD.combine_chunks().to_batches()
    for rows in (batch, batch.slice(1, 2), batch.slice(4)):
        made = current(rows)
        assert made.schema.equals(LABELS)
        made.validate(full=True)
        expected = rows.to_pylist()
        for row in expected:
            for segment in row["segments"]:
                segment["agreement"] = None
        assert made.to_pylist() == expected


def test_rows_of_failed_samples_and_rows_without_segments_stay_so():
    segments = pa.array([None, [], [{"vocab_id": 3}], None], SCHEMAS[1].field("segments").type)
    batch = pa.RecordBatch.from_arrays([segments], ["segments"])
    made = current(batch).to_pydict()["segments"]
    assert (made[0], made[1], made[3]) == (None, [], None)
    assert made[2][0]["vocab_id"] == 3
    assert made[2][0]["agreement"] is None


def test_only_what_is_asked_for_is_added():
    (batch,) = OLD.combine_chunks().to_batches()
    score = "segments.list.element.score"
    part = pq.ParquetFile(DATA / "open" / "labels" / LABEL_FILE).read(columns=["key", score]).to_batches()[0]
    assert current(part, ["key", score]).schema.equals(part.schema)
    both = current(part, ["key", score, "segments.list.element.agreement"])
    assert [field.name for field in both.schema.field("segments").type.value_type] == ["score", "agreement"]
    assert current(batch.select(["key"])).schema.names == ["key"]
    # A file of today, of whose segments one field was read: its agreement wasn't asked for, and isn't made up.
    (new,) = pa.Table.from_batches([current(batch)]).to_batches()
    assert current(new).equals(new)


def test_a_table_gives_its_rows_with_todays_columns(out):
    table = LabelTable(Output.of(str(out)))
    whole = [
        row
        for url in table.files
        for batch in table.batches(ShardRows(url=url, first=0, count=None), LABELS.names, 3)
        for row in batch.to_pylist()
    ]
    assert all(segment["agreement"] is None for row in whole for segment in row["segments"])
    stored = [row for row in whole if row["shard"] == SHARD]
    assert [row["masks"] for row in stored] == OLD["masks"].to_pylist()


def test_it_is_verified_to_the_last_mask(out):
    found = verify(Output.of(str(out)), deep=True)
    assert found.problems == ()
    assert found.masks == len(segments_of(out))
    assert found.status.all_done


def test_it_is_asked_in_sql_with_null_where_there_is_no_agreement(out):
    expected = sorted((segment["vocab_id"], segment["score"]) for segment in segments_of(out))
    with ask(str(out), "SELECT vocab_id, score, agreement FROM segments ORDER BY ALL") as answer:
        rows = list(answer.rows)
    assert [row[:2] for row in rows] == expected
    assert {row[2] for row in rows} == {None}
    for view in ("labels", "samples", "classes", "failures", "ledger"):
        with ask(str(out), f"SELECT count(*) FROM {view}") as answer:
            assert next(iter(answer.rows))


def test_in_a_store_it_is_asked_alike(mixed):
    store = fsspec.filesystem("memory")
    store.put(str(mixed), "/schema-v1/stored", recursive=True)
    statement = "SELECT vocab_id, score, agreement FROM segments WHERE agreement IS NULL ORDER BY ALL"
    with ask("memory://schema-v1/stored", statement) as answer:
        rows = list(answer.rows)
    assert rows == sorted((segment["vocab_id"], segment["score"], None) for segment in segments_of(mixed))


def test_it_is_added_up(out):
    found = stats(Output.of(str(out)))
    assert int(found.sums.segments.sum()) == len(segments_of(out))
    assert to_json(found)["agreement"] == {"segments": 0, "mean": None}
    assert not any(line.startswith("agreement") for line in lines(found))


def test_it_is_read_for_training(out, tmp_path):
    images = list(LabeledImages(str(out), scratch=tmp_path))
    assert sum(len(image.class_ids) for image in images) == len(segments_of(out))
    kept = list(LabeledImages(str(out), scratch=tmp_path, keep=SegmentFilter(min_score=0.9)))
    assert sum(len(image.class_ids) for image in kept) == sum(s["score"] >= np.float32(0.9) for s in segments_of(out))


def test_it_is_trained_on(out, tmp_path):
    output = Output.of(str(out))
    keep = SegmentFilter().bound(vocabulary_of_run(output), "general")
    with open_labels(describe(SHARD), LabelTable(output), keep, tmp_path, ReadLimits()) as pairs:
        assert [len(pair.masks) for pair in pairs] == [len(segments) for segments in OLD["segments"].to_pylist()]


def test_it_is_shown(out, tmp_path):
    key = OLD["key"][0].as_py()
    found = show(str(out), key, tmp_path / "a.png", shard=SHARD)
    assert [segment.score for segment in found.segments] == [s["score"] for s in OLD["segments"][0].as_py()]
    assert {segment.agreement for segment in found.segments} == {None}
    output = Output.of(str(out))
    chosen, bound = places(output, (), SegmentFilter(min_score=0.5), limit=2)
    assert len(show_all(output, chosen, tmp_path / "b.png", bound)) == 2


def test_it_is_reported(out):
    made = report(str(out), SegmentFilter(), ReportConfig(images=4))
    assert made.notes == ()
    assert made.shown > 0


def test_it_is_exported(out, tmp_path):
    made = export(
        Export(
            output=Output.of(str(out)),
            destination=Destination.of(str(tmp_path / "coco")),
            format="coco",
            keep=SegmentFilter(),
            images=False,
            skip_empty=False,
        ),
        scratch=tmp_path,
        workers=1,
    )
    written = json.loads((tmp_path / "coco" / "instances.json").read_text())["annotations"]
    assert len(written) == made.segments == len(segments_of(out))
    assert {annotation["agreement"] for annotation in written} == {None}


def test_it_is_evaluated(out, tmp_path):
    put_shard()
    classes = pq.read_metadata(out / "vocabulary.parquet").num_rows
    found = evaluate_table([describe(SHARD)], Output.of(str(out)), classes, scratch=tmp_path)
    assert found.images == 4
    # As the program of version 1 counted them.
    assert (found.counts.trace(), found.counts.sum(), found.failed) == (63_342, 65_536, 0)


def test_a_bound_on_agreement_is_refused_not_silently_empty(out):
    with (
        pytest.raises(UsageError, match="labeled without --agreement"),
        ask(str(out), "SELECT * FROM segments", SegmentFilter(min_agreement=0.5)),
    ):
        pass


def test_nothing_of_a_resumed_run_is_to_be_labeled_again(mixed):
    now = status(Output.of(str(mixed)))
    assert now.all_done
    assert len(now) == 3
    versions = {
        json.loads(pq.read_metadata(path).metadata[b"maskmill"])["schema_version"]
        for path in (mixed / "labels").iterdir()
    }
    assert versions == {1, 2}
    assert choose(Output.of(str(mixed))).shards == ()
    footers = [check_file(path) for path in (mixed / "labels").iterdir()]
    assert {footer.fingerprint for footer in footers} == {run.require(Output.of(str(mixed)))["fingerprint"]}


def test_a_retry_takes_up_what_the_older_program_recorded(mixed):
    now = configuration(Output.of(str(mixed)), given=Given(), replica=ReplicaConfig(), job=JobConfig())
    assert now.inference == CONFIG.inference
    assert now.inference.agreement is None


def test_the_ledger_is_rebuilt_from_footers_of_both_versions(mixed, tmp_path):
    copy = Path(shutil.copytree(mixed, tmp_path / "copy"))
    before = settle(Output.of(str(copy))).segments
    (copy / "ledger.parquet").unlink()
    assert settle(Output.of(str(copy))).segments == before == len(segments_of(copy))


def test_a_shard_of_version_1_is_labeled_again_as_version_2_and_the_same(tmp_path):
    out = put_run("open", tmp_path)
    (out / "labels" / LABEL_FILE).unlink()
    (out / "ledger.parquet").unlink()
    label(zoo.load("san-tiny", device="cpu"), [SHARD], Output.of(str(out)), CONFIG)
    made = pq.read_table(out / "labels" / LABEL_FILE)
    assert made.schema.equals(LABELS)
    assert made["masks"].to_pylist() == OLD["masks"].to_pylist()
    assert describe_many([SHARD])[0].url == SHARD


def test_compaction_writes_the_version_of_now_with_nulls(mixed, tmp_path):
    compact(Output.of(str(mixed)), Output.of(str(tmp_path / "sealed")), scratch=tmp_path)
    (part,) = (tmp_path / "sealed" / "labels").iterdir()
    made = pq.read_table(part)
    assert made.schema.equals(LABELS)
    assert json.loads(pq.read_metadata(part).metadata[b"maskmill"])["schema_version"] == SCHEMA_VERSION
    assert {segment["agreement"] for segments in made["segments"].to_pylist() for segment in segments} == {None}
    assert [row for row in made["masks"].to_pylist() if row in OLD["masks"].to_pylist()] == OLD["masks"].to_pylist()


def test_a_compaction_that_the_older_program_began_is_finished(tmp_path):
    source, target = Output.of(str(put_run("open", tmp_path))), put_run("sealed", tmp_path)
    for left in ("run.json", "ledger.parquet"):
        (target / left).unlink()
    found = compact(source, Output.of(str(target)), scratch=tmp_path)
    assert (found.files, found.kept) == (1, 1)
    assert verify(Output.of(str(target)), deep=True).problems == ()


def test_others_read_a_table_of_both_versions(mixed):
    """Not every reader finds fields by name unless told so; the README says how."""
    count = len(segments_of(mixed))
    files = f"'{mixed}/labels/*.parquet', union_by_name = true"
    unnested = f"SELECT unnest(segments) s FROM read_parquet({files})"
    assert duckdb.sql(f"SELECT count(*), count(s.agreement) FROM ({unnested})").fetchall() == [(count, 0)]
    table = ds.dataset(str(mixed / "labels"), schema=LABELS).to_table(columns=["segments"])
    assert sum(map(len, table["segments"].to_pylist())) == count


def test_a_file_of_a_version_to_come_is_refused_by_name(tmp_path):
    path = put_run("open", tmp_path) / "labels" / LABEL_FILE
    data = path.read_bytes().replace(b'"schema_version": 1', b'"schema_version": 9')
    with pytest.raises(FooterError, match="schema version 9, this maskmill reads 1, 2"):
        check_file(BytesIO(data))
