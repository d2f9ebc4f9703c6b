"""A run without Ray: the steps of `pipeline.cluster.job.label` in this process. A plain module; tests import it."""

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.models.agreement.segmenter import with_agreement
from maskmill.models.segmenter import Segmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import load_templates
from maskmill.models.zoo import MODELS
from maskmill.pipeline import parquet, run
from maskmill.pipeline.config import InferenceConfig, LabelConfig, ModelConfig
from maskmill.pipeline.labeling.labeling import Labeler, label_shard
from maskmill.pipeline.labeling.model_thread import ModelThread
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.ledger.status import Status, settle
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.shard import Shard, describe_many
from maskmill.pipeline.table import vocabulary_table
from maskmill.pipeline.text import ensure_text_features

MANY_SEGMENTS = InferenceConfig(score_threshold=0.1, overlap_threshold=0.0)
"""Thresholds at which san-tiny's untrained weights find several segments in a scene; tests assert three on average."""

PLAIN = LabelConfig(model=ModelConfig(model="san-tiny"), inference=MANY_SEGMENTS)
"""What tests label with where nothing else matters."""


@contextmanager
def labeler(
    segmenter: Segmenter,
    output: Output,
    config: LabelConfig = PLAIN,
    *,
    batch_size: int = 4,
    threads: int = 2,
    fingerprint: str = "f" * 64,
) -> Iterator[Labeler]:
    """What a replica holds, for the vocabulary `scenes`; its threads end with the `with`."""
    form = config.inference
    model = ModelThread(
        with_agreement(segmenter, form.views),
        segmenter.classes(Vocabulary.load("scenes")),
        form.form(config.form),
        top_k=form.top_k,
        soft_masks=form.soft_masks,
    )
    with ThreadPoolExecutor(threads) as decoders:
        try:
            yield Labeler(
                model=model,
                decoders=decoders,
                threads=threads,
                batch_size=batch_size,
                config=config,
                output=output,
                fingerprint=fingerprint,
            )
        finally:
            model.close()


def label(
    segmenter: Segmenter,
    sources: Sequence[str | Path],
    output: Output,
    config: LabelConfig = PLAIN,
    *,
    only: int | None = None,
) -> Status:
    """Label shards into a whole run; with `only`, stop after so many, as a job that was interrupted."""
    vocabulary = Vocabulary.load("scenes")
    templates = load_templates(config.templates)
    text = ensure_text_features(segmenter, vocabulary, templates, output.url, dtype=config.model.dtype)
    identity = run.identity(
        config,
        rule=MODELS[config.model.model].rule_with(config.inference.windows),
        weights=text.weights,
        vocabulary=text.vocabulary,
        templates=text.templates,
        text_features=text.hash,
    )
    run.record(output, identity, config)
    parquet.write(vocabulary_table.to_table(vocabulary), output.vocabulary)
    shards = describe_many([str(source) for source in sources])
    manifest.add(output, shards)
    run.confirm(output, identity.fingerprint)
    todo = [shard for shard in shards if shard.label_name not in output.done()][:only]
    with labeler(segmenter, output, config, fingerprint=identity.fingerprint) as replica:
        rows = [label_shard(shard, replica) for shard in todo]
    if any(row.reason == "other_run" for row in rows):
        run.confirm(output, identity.fingerprint)
    ledger.write(rows, output.ledger_part(ledger.part_name()))
    return settle(output)


def label_one(
    segmenter: Segmenter,
    source: str | Path,
    folder: Path,
    config: LabelConfig = PLAIN,
    *,
    batch_size: int = 4,
    threads: int = 2,
) -> tuple[LedgerRow, pa.Table]:
    """Label one shard into `folder`, nothing of a run around it: its row of the ledger and its table."""
    output = Output.of(str(folder))
    shard = describe_many([str(source)])[0]
    with labeler(segmenter, output, config, batch_size=batch_size, threads=threads) as replica:
        row = label_shard(shard, replica)
    return row, table_of(output, shard)


def table_of(output: Output, shard: Shard) -> pa.Table:
    """The label table of one shard; an empty one if there is no label file."""
    path = Path(output.label(shard.label_name))
    return pq.read_table(path) if path.exists() else pa.table({})


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """An archive of these members, in this order."""
    with tarfile.open(path, "w") as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return path
