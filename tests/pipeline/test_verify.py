"""`verify` finds each damage that was planted in a sound run, and nothing in a sound one."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.models.errors import UsageError
from maskmill.models.masks import rle
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.status import settle, status
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.stores.publish import publish_bytes
from maskmill.pipeline.table.schema import DICTIONARY_COLUMNS, LABELS
from maskmill.pipeline.table.vocabulary_table import to_table
from maskmill.pipeline.verify import verify
from tests.flipped_bits import flip
from tests.plain_run import label, write_tar


@pytest.fixture(scope="module")
def sound(tiny, scenes, tmp_path_factory) -> Output:
    folder = tmp_path_factory.mktemp("sound")
    some = write_tar(folder / "some.tar", {"a.txt": b"no image", "b.png": picture(), "c.png": picture()})
    output = Output.of(str(folder / "out"))
    label(tiny, [scenes[0], some, folder / "never.tar"], output)
    return output


def picture() -> bytes:
    import io

    from PIL import Image

    from maskmill.pipeline.synthesis.scene import scene

    file = io.BytesIO()
    Image.fromarray(scene(7, 0).image).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def output(sound, tmp_path) -> Output:
    shutil.copytree(sound.url, tmp_path / "out")
    return Output.of(str(tmp_path / "out"))


def first(output: Output) -> Path:
    """The label file of the shard of ten scenes."""
    return Path(output.labels) / manifest.read(output)["label_file"][0].as_py()


def forget_bytes(path: Path) -> None:
    """Take size and checksum of a label file out of the ledger, as if the file had been written as it is now."""
    place = str(path.parent.parent / "ledger.parquet")
    rows = ledger.read(place)
    gone = [replace(row, bytes=None, label_sha256=None) if row.label_file == path.name else row for row in rows]
    ledger.write(gone, place)


def rewrite(path: Path, table: pa.Table, *, remembered: bool = False) -> None:
    """The file with other rows, under the footer it had; the ledger forgets its size and checksum, or not."""
    if not remembered:
        forget_bytes(path)
    kept = pq.read_metadata(path).metadata
    with pq.ParquetWriter(path, LABELS, compression="zstd", use_dictionary=DICTIONARY_COLUMNS) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"maskmill": kept[b"maskmill"]})


def changed(table: pa.Table, index: int, **values: object) -> pa.Table:
    rows = table.to_pylist()
    rows[index] |= values
    return pa.Table.from_pylist(rows, schema=LABELS)


def told(output: Output, *, deep: bool = True) -> str:
    """All problems as one text; each is one line that names its file."""
    problems = verify(output, deep=deep).problems
    assert problems
    assert all("\n" not in problem.text and problem.file.startswith("labels/") for problem in problems)
    return "\n".join(problem.text for problem in problems)


def test_a_sound_run_has_no_problems(output):
    found = verify(output, deep=True)
    assert found.problems == ()
    assert (found.files, found.rows) == (2, 13)
    assert found.masks == status(output).segments >= 3 * 12
    assert verify(output).masks == 0


def test_a_sound_run_without_its_ledger_has_no_problems_and_says_that_nothing_has_a_checksum(output):
    assert verify(output, deep=True).unrecorded == 0
    Path(output.ledger).unlink()
    found = verify(output, deep=True)
    assert (found.problems, found.unrecorded) == ((), 2)
    settle(output)
    assert {row.label_sha256 for row in ledger.read(output.ledger)} == {None}, "what stands there proves nothing"
    assert verify(output).unrecorded == 0


def test_another_size_is_found_and_other_bytes_are_by_looking_deep(output):
    sound = first(output).read_bytes()
    rewrite(first(output), pq.read_table(first(output)), remembered=True)
    assert "bytes, the ledger says" in told(output, deep=False)
    # In Parquet's footer, which has no checksum of its own.
    first(output).write_bytes(flip(sound, 8 * len(sound) - 100))
    assert "its bytes aren't those that were published" in told(output)


def test_a_place_without_a_run_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match=r"no run\.json there"):
        verify(Output.of(str(tmp_path)))


def test_a_vocabulary_that_is_another_or_gone_is_found(output, tmp_path):
    place = Path(output.vocabulary)
    names = pq.read_table(place)["name"].to_pylist()
    place.unlink()
    (gone,) = verify(output).problems
    assert (gone.file, "no vocabulary.parquet there" in gone.text) == ("vocabulary.parquet", True)
    pq.write_table(to_table(Vocabulary.of(list(reversed(names)))), place)
    (other,) = verify(output, deep=True).problems
    assert other.file == "vocabulary.parquet"
    assert other.text.startswith("another vocabulary than run.json's")
    with pytest.raises(UsageError, match="another vocabulary than run"):
        compact(output, Output.of(str(tmp_path / "sealed")), scratch=tmp_path)


def test_a_row_too_few_is_found(output):
    table = pq.read_table(first(output))
    rewrite(first(output), table.slice(0, 9))
    assert "9 rows, but its counts say 10" in told(output, deep=False)


def test_rows_out_of_order_are_found(output):
    table = pq.read_table(first(output))
    rewrite(first(output), table.take([1, 0, *range(2, 10)]))
    assert "row 0 has sample_index 1" in told(output, deep=False)


def test_a_row_of_another_shard_is_found(output):
    rewrite(first(output), changed(pq.read_table(first(output)), 3, shard="/elsewhere.tar"))
    assert "row 3 is of shard /elsewhere.tar" in told(output, deep=False)


def test_a_segment_that_is_gone_is_found(output):
    table = pq.read_table(first(output))
    row = table.to_pylist()[0]
    rewrite(first(output), changed(table, 0, segments=row["segments"][1:], masks=row["masks"][1:]))
    assert "don't add up to the counts in its footer" in told(output, deep=False)


def test_a_sample_that_turned_from_ok_to_failed_is_found(output):
    rewrite(first(output), changed(pq.read_table(first(output)), 0, status="failed", error="decode: no"))
    assert "don't add up" in told(output, deep=False)


@pytest.mark.parametrize("values", [{"status": "maybe"}, {"segments": None}])
def test_a_row_that_is_neither_labeled_nor_failed_is_found(output, values):
    rewrite(first(output), changed(pq.read_table(first(output)), 0, **values))
    assert "row 0 has status" in told(output, deep=False)


def test_a_flipped_bit_of_a_mask_is_found_by_looking_deep(output):
    table = pq.read_table(first(output))
    row = table.to_pylist()[0]
    size = (row["mask_height"], row["mask_width"])
    mask = rle.decode(row["masks"][0], size)
    mask[0, 0] ^= True
    import torch

    flipped = rle.encode(torch.from_numpy(mask[None].astype(np.bool_)))[0]
    rewrite(first(output), changed(table, 0, masks=[flipped, *row["masks"][1:]]))
    assert "row 0, mask 0: area" in told(output)
    assert verify(output).problems == ()


def test_of_many_masks_only_the_wrong_ones_are_told(output):
    table = pq.read_table(first(output))
    rows = table.to_pylist()
    rows[2]["masks"][1] = b"\xff"
    rows[5]["segments"][0]["bbox"] = [0, 0, 1]
    rewrite(first(output), pa.Table.from_pylist(rows, schema=LABELS))
    problems = [problem.text for problem in verify(output, deep=True).problems]
    assert [text.partition(":")[0] for text in problems] == ["row 2, mask 1", "row 5, mask 0"]
    assert problems[1].endswith("and [0, 0, 1]")


@pytest.mark.parametrize("masks", [[], None, [b"\xff"]])
def test_masks_that_are_not_there_or_not_run_lengths_are_found(output, masks):
    table = pq.read_table(first(output))
    keep = table.to_pylist()[0]["masks"]
    rewrite(first(output), changed(table, 0, masks=masks if not masks else masks + keep[1:]))
    assert "row 0" in told(output)


def test_a_damaged_page_is_told_with_its_fix(output):
    group = pq.read_metadata(first(output)).row_group(0)
    column = next(group.column(n) for n in range(group.num_columns) if "masks" in group.column(n).path_in_schema)
    data = bytearray(first(output).read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 0xFF
    first(output).write_bytes(bytes(data))
    assert "Remove it and run the same `label` again" in told(output)


def test_a_file_cut_short_is_found(output):
    first(output).write_bytes(first(output).read_bytes()[:-10])
    assert "not a whole Parquet file" in told(output)


def test_a_file_of_another_run_is_found(output, tiny, scenes, tmp_path):
    from tests.plain_run import MANY_SEGMENTS, PLAIN

    other = Output.of(str(tmp_path / "other"))
    label(tiny, scenes[:1], other, replace(PLAIN, inference=replace(MANY_SEGMENTS, top_k=2)))
    shutil.copy(first(other), first(output))
    assert "made by run" in told(output, deep=False)


def test_the_file_of_another_shard_is_found(output):
    names = manifest.read(output)["label_file"].to_pylist()
    shutil.copy(f"{output.labels}/{names[1]}", f"{output.labels}/{names[0]}")
    text = told(output, deep=False)
    assert "some.tar, the ledger says" in text
    assert "aren't the ledger's" in text


def test_a_file_that_nobody_asked_for_is_found(output):
    shutil.copy(first(output), Path(output.labels) / "extra-0123456789abcdef.parquet")
    assert "no shard in the manifest has this label file" in told(output, deep=False)


def test_a_ledger_that_says_otherwise_is_found(output):
    rows = ledger.read(output.ledger)
    ledger.write(
        [replace(rows[0], counts=replace(rows[0].counts, segments=1), etag="moved")],
        output.ledger_part(ledger.part_name()),
    )
    text = told(output, deep=False)
    assert "aren't the ledger's" in text
    assert "the ledger says" in text


def test_a_long_list_of_wrong_rows_is_cut(output):
    table = pq.read_table(first(output))
    rewrite(first(output), table.take(list(range(9, -1, -1))))
    text = told(output, deep=False)
    assert "and 5 more" in text
    assert text.count("sample_index") == 5


def test_leftovers_of_a_killed_process_are_no_label_files(output):
    publish_bytes(b"half a file", f"{output.labels}/.0123.tmp")
    assert verify(output, deep=True).problems == ()


@pytest.mark.slow
def test_many_files_are_decoded_in_processes_with_the_same_findings(output, monkeypatch):
    table = pq.read_table(first(output))
    row = table.to_pylist()[0]
    rewrite(first(output), changed(table, 0, masks=[b"\xff", *row["masks"][1:]]))
    here = verify(output, deep=True)
    monkeypatch.setattr("maskmill.pipeline.verify.PROCESSES_FROM", 1)
    assert verify(output, deep=True) == here
    assert len(here.problems) == 1


def test_a_run_that_goes_on_meanwhile_is_checked_as_it_was(tiny, scenes, tmp_path, monkeypatch):
    """A label file that is published after the listing is neither checked nor unknown."""
    output = Output.of(str(tmp_path / "out"))
    label(tiny, scenes, output, only=1)
    listed = output.label_files()
    label(tiny, scenes, output)
    lists = iter([listed, output.label_files()])
    monkeypatch.setattr(Output, "label_files", lambda _: next(lists))
    found = verify(output)
    assert (found.files, found.problems) == (1, ())


# --- sealed tables ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tiny, scenes, tmp_path_factory) -> Output:
    """A sealed table: two shards that are done and one that isn't, in one file."""
    folder = tmp_path_factory.mktemp("whole")
    run = Output.of(str(folder / "out"))
    label(tiny, [scenes[0], folder / "never.tar", scenes[1]], run)
    target = Output.of(str(folder / "table"))
    compact(run, target, scratch=folder, partial=True)
    return target


@pytest.fixture
def table(whole, tmp_path) -> Output:
    shutil.copytree(whole.url, tmp_path / "table")
    return Output.of(str(tmp_path / "table"))


def sealed_file(table: Output) -> Path:
    return Path(table.labels) / "part-000000.parquet"


def test_a_sound_sealed_table_has_no_problems(table):
    found = verify(table, deep=True)
    assert found.problems == ()
    assert (found.files, found.rows, found.masks) == (1, 20, status(table).segments)
    assert verify(table).rows == 20


def test_a_sealed_row_that_changed_is_found_deep_even_where_all_counts_agree(table):
    rows = pq.read_table(sealed_file(table))
    rewrite(sealed_file(table), changed(rows, 12, caption="another"))
    assert verify(table).problems == ()
    assert "its rows aren't those that were sealed" in told(table)


def test_a_flipped_bit_of_a_sealed_file_is_found_by_its_checksum(table):
    sound = sealed_file(table).read_bytes()
    assert len({row.label_sha256 for row in ledger.read(table.ledger) if row.state == "done"}) == 1
    sealed_file(table).write_bytes(flip(sound, 8 * len(sound) - 100))
    assert verify(table).problems == ()
    assert "its bytes aren't those that were published" in told(table)


def test_a_sealed_row_in_another_place_is_found(table):
    rows = pq.read_table(sealed_file(table))
    rewrite(sealed_file(table), rows.take([*range(9), 10, 9, *range(11, 20)]))
    text = told(table, deep=False)
    assert "row 9 is of shard" in text
    assert "row 10 is of shard" in text


def test_a_sealed_segment_that_is_gone_is_found(table):
    rows = pq.read_table(sealed_file(table))
    row = rows.to_pylist()[15]
    rewrite(sealed_file(table), changed(rows, 15, segments=row["segments"][1:], masks=row["masks"][1:]))
    assert "don't add up to the counts of" in told(table, deep=False)


def test_a_sealed_file_that_is_gone_cut_or_too_many_is_found(table):
    shutil.copy(sealed_file(table), Path(table.labels) / "part-000001.parquet")
    assert "no shard in the ledger has this label file" in told(table, deep=False)
    sealed_file(table).write_bytes(sealed_file(table).read_bytes()[:-100])
    assert "not a whole Parquet file" in told(table, deep=False)
    sealed_file(table).unlink()
    assert "isn't there, though the ledger says so" in told(table, deep=False)


def test_a_ledger_with_other_places_than_the_sealed_file_is_found(table):
    rows = ledger.read(table.ledger)
    ledger.write([*rows[:2], replace(rows[2], first_row=9)], table.ledger)
    assert "or their places, aren't the ledger's" in told(table, deep=False)


@pytest.mark.slow
def test_a_run_on_s3_is_verified_there(sound):
    from tests.s3_server import led_to, moto_server

    files = {path.relative_to(sound.url): path for path in Path(sound.url).rglob("*") if path.is_file()}
    with moto_server() as server, led_to(server):
        server.put_all({f"run/{name}": path.read_bytes() for name, path in files.items()})
        output = Output.of(server.url("run"))
        found = verify(output, deep=True)
        assert (found.files, found.rows, found.masks, found.problems) == (2, 13, status(sound).segments, ())
        name = next(str(name) for name in files if name.parent.name == "labels")
        server.put_all({f"run/{name}": files[Path(name)].read_bytes()[:-9]})
        (problem,) = verify(output).problems
        assert problem.file == name
        assert "not a whole Parquet file" in problem.text
