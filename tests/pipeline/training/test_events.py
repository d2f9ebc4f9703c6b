"""Event files against the format's own definitions: CRC-32C's test vectors, TFRecord's framing, protobuf's parser."""

import struct

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pipeline.training.events import EventFile, crc32c, masked_crc, record


def event_class():
    """`tensorflow.Event` as event.proto and summary.proto define the fields that scalars need."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    value = file.message_type.add(name="Value")
    value.field.add(name="tag", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    value.field.add(name="simple_value", number=2, type=kinds.TYPE_FLOAT, label=kinds.LABEL_OPTIONAL)
    summary = file.message_type.add(name="Summary")
    summary.field.add(name="value", number=1, type=kinds.TYPE_MESSAGE, type_name=".t.Value", label=kinds.LABEL_REPEATED)
    event = file.message_type.add(name="Event")
    event.field.add(name="wall_time", number=1, type=kinds.TYPE_DOUBLE, label=kinds.LABEL_OPTIONAL)
    event.field.add(name="step", number=2, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    event.field.add(name="file_version", number=3, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    event.field.add(
        name="summary", number=5, type=kinds.TYPE_MESSAGE, type_name=".t.Summary", label=kinds.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


@pytest.mark.parametrize(
    ("data", "expected"),
    # RFC 3720, B.4.
    [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E), (b"123456789", 0xE3069283)],
)
def test_checksums_are_the_rfcs(data, expected):
    assert crc32c(data) == expected


def test_a_record_is_framed_as_tfrecord_has_it():
    framed = record(b"abc")
    assert framed[:8] == struct.pack("<Q", 3)
    assert framed[8:12] == struct.pack("<I", masked_crc(framed[:8]))
    assert framed[12:15] == b"abc"
    assert framed[15:] == struct.pack("<I", masked_crc(b"abc"))


def test_protobuf_reads_back_what_was_written(tmp_path):
    events = EventFile(tmp_path / "events")
    events.scalars(1, {"train/total": 12.5, "rate": 1e-4})
    events.scalars(300_000, {"validation/mean_iou/all": 0.25})
    events.close()
    (path,) = (tmp_path / "events").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(event_class().FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    first, one, two = found
    assert first.file_version == "brain.Event:2"
    assert (one.step, two.step) == (1, 300_000)
    assert one.wall_time >= first.wall_time > 1.6e9
    assert {value.tag: value.simple_value for value in one.summary.value} == {
        "train/total": 12.5,
        "rate": pytest.approx(1e-4),
    }
    assert [(value.tag, value.simple_value) for value in two.summary.value] == [("validation/mean_iou/all", 0.25)]
