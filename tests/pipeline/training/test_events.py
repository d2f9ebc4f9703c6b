"""What a training writes for TensorBoard, read with TensorBoard's own reader."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maskmill.pipeline.training.events import EventFile


def test_tensorboard_reads_the_scalars_of_every_start(tmp_path):
    for step in (1, 300_000):
        events = EventFile(tmp_path / "events")
        events.scalars(step, {"train/total": 12.5 + step, "validation/mean_iou/all": 0.25})
        events.close()
    reader = EventAccumulator(str(tmp_path / "events"))
    reader.Reload()
    assert set(reader.Tags()["scalars"]) == {"train/total", "validation/mean_iou/all"}
    # Files of one process and second may be read in any order.
    assert sorted((event.step, event.value) for event in reader.Scalars("train/total")) == [
        (1, 13.5),
        (300_000, 300_012.5),
    ]
