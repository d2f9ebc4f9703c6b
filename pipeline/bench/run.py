"""Runs a bench from its options: which measurements, in which order, over what. How each is made stands beside."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from maskmill.models.agreement.segmenter import AgreementSegmenter
from maskmill.models.agreement.views import views_of
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.inference.forms import SemanticInference
from maskmill.models.resize import ImageBatch, Size, mask_size, usual_sizes
from maskmill.models.san.windows import SlidingSan
from maskmill.models.san.work import Macs, macs
from maskmill.models.scratch import scratch_folder
from maskmill.models.segmenter import ClassFeatures
from maskmill.pipeline.bench import mix
from maskmill.pipeline.bench.config import MIX, BenchConfig
from maskmill.pipeline.bench.constant import CPU, ConstantSegmenter
from maskmill.pipeline.bench.floor import floors
from maskmill.pipeline.bench.images import write_mixed, write_shard
from maskmill.pipeline.bench.machine import machine, software
from maskmill.pipeline.bench.parts import Parts, input_batch
from maskmill.pipeline.bench.profile import write_profile
from maskmill.pipeline.bench.replica import peaks
from maskmill.pipeline.bench.results import Bench, Feeding, FloorRow, Row
from maskmill.pipeline.bench.stages import row_of, stages
from maskmill.pipeline.bench.subject import Subject, subject_of
from maskmill.pipeline.bench.timing import Stopwatch
from maskmill.pipeline.bench.whole import IN_FLIGHT, whole_shards
from maskmill.pipeline.config import InferenceConfig, machine_cpus
from maskmill.pipeline.labeling.windows_price import windows_price
from maskmill.pipeline.reading.errors import SampleError, ShardError
from maskmill.pipeline.reading.first_bytes import refuse_unreadable
from maskmill.pipeline.shards.shard import Shard, describe_many

BATCHES = {"cpu": 4, "cuda": 32}
"""Full batches in a made-up shard."""

BUSY = 0.5
"""Load over cores beyond which a bench says that it wasn't alone."""

Say = Callable[[str], None]
"""Told what is measured next."""


def bench(config: BenchConfig, shards: Sequence[str] = (), say: Say = lambda _: None) -> Bench:
    """Measure.

    Args:
        config: what.
        shards: shards to measure over, as listed; made-up ones where there are none.
        say: told what is measured next.

    Raises:
        UsageError: as `subject_of`; scratch isn't there, or a GPU that a decoder needs.
        EnvironmentFailure: weights can't be fetched, or a shard can't be labeled.
    """
    if not config.scratch.is_dir():
        raise UsageError(f"--scratch {str(config.scratch)!r}: no such folder. Make it first.")
    refuse_unreadable(describe_many(list(shards)))
    threads = config.threads or machine_cpus()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with scratch_folder(config.scratch) as folder:
            return _Bench(config, list(shards), folder, threads, say).run()
    finally:
        torch.set_num_threads(before)


@dataclass(slots=True)
class _Bench:
    """One bench in the making."""

    config: BenchConfig
    """What is asked for."""

    sources: list[str]
    """The user's shards."""

    folder: Path
    """Local, for all that is written; somebody else removes it."""

    threads: int
    """Of PyTorch, and of decoding."""

    say: Say
    """Told what is measured next."""

    def run(self) -> Bench:
        config, groups = self.config, self.config.groups
        self.say(f"loading {config.model}")
        subject = subject_of(config)
        device = subject.segmenter.device
        config.decoding.refuse_without_gpu(device.type)
        notes = (*subject.notes, *self._compiled(subject))
        watch = Stopwatch(device=device, threads=self.threads, repeats=config.repeats)
        known = machine(device)
        floor: list[FloorRow] = []
        if "floor" in groups:
            self.say("floor")
            floor = [
                FloorRow(
                    name=one.name,
                    device=one.device,
                    rate=one.rate,
                    seconds=one.timing.median,
                    low=one.timing.low,
                    high=one.timing.high,
                    runs=one.timing.runs,
                )
                for one in floors(watch, config.dtype)
            ]
        product = next((row.rate for row in floor if (row.name, row.device) == ("product", device.type)), None)
        rows = list(self._model(subject, watch, product))
        shards: list[Shard] = []
        if {"stages", "shard", "feeding"} & set(groups):
            shards = self._shards(subject)
            rows += self._around(subject, watch, shards, product)
        bench = Bench(
            machine=known,
            versions=software(device),
            settings=self._settings(subject),
            notes=(*notes, *busy(known)),
            floor=tuple(floor),
            rows=tuple(rows),
        )
        if "shard" in groups:
            found = (mix.batches(subject.segmenter.rule, subject.batch_size, samples) for samples in mix.SHARDS)
            bench = replace(bench, mixes=tuple(found))
        if config.shard_sizes:
            self.say("memory of a replica")
            bench = replace(bench, replicas=peaks(config))
        return replace(bench, feeding=_feeding(bench, config.gpu_rate))

    def _compiled(self, subject: Subject) -> Iterator[str]:
        """Compile the model for the sizes that are measured, if that is asked for; says how long it took."""
        if not self.config.compile:
            return
        rule = subject.segmenter.rule
        sizes = {rule.padded((subject.size, subject.size))} if {"model", "parts"} & set(self.config.groups) else set()
        if "shard" in self.config.groups:
            many = self.sources or self.config.image == MIX
            sizes |= set(usual_sizes(rule)) if many else {rule.padded(rule.size(self.config.image_size))}
        self.say(f"compiling for {len(sizes)} sizes")
        started = time.perf_counter()
        subject.segmenter.compile(sorted(sizes), subject.batch_size)
        yield f"compiled for full batches of {len(sizes)} sizes, in {time.perf_counter() - started:.0f} s"

    def _settings(self, subject: Subject) -> dict[str, object]:
        told = asdict(self.config) | {
            "weights": self.config.weights or "released",
            "device": subject.segmenter.device.type,
            "threads": self.threads,
            "size": subject.size,
            "batch_size": subject.batch_size,
            "names": subject.names,
            "samples": self._samples(subject),
            "parts": list(self.config.groups),
            "shard_sizes": list(self.config.shard_sizes),
            "shards": len(self.sources) or f"{IN_FLIGHT} made up",
        }
        # Of this machine, not of what was measured.
        del told["scratch"], told["profile"]
        return told

    @property
    def _form(self) -> InferenceConfig:
        return InferenceConfig(inference=self.config.inference)

    def _samples(self, subject: Subject) -> int:
        return self.config.samples or BATCHES[subject.segmenter.device.type] * subject.batch_size

    # --- the model ----------------------------------------------------------------------------------------------------

    def _model(self, subject: Subject, watch: Stopwatch, product: float | None) -> Iterator[Row]:
        """Rows of the model whole and of its parts, on square images that need no padding beyond the model's own."""
        groups = self.config.groups
        if not {"model", "parts"} & set(groups):
            return
        size = (subject.size, subject.size)
        segmenter, count = subject.segmenter, subject.batch_size
        batch = input_batch(segmenter, size, size, count)
        form = self._form.form()
        work = macs(segmenter.model.config, segmenter.rule.padded(size), subject.names)
        if "model" in groups:
            self.say("model")
            logits = watch.time(lambda: segmenter.logits(batch, subject.classes))
            yield _counted(row_of("model", logits, count, note=f"batch {count}, logits"), work.whole, product)
            whole = watch.time(lambda: segmenter.segment(batch, subject.classes, form))
            found = segmenter.segment(batch, subject.classes, form)
            each = sum(len(one or ()) for one in found) / count
            note = f"batch {count}, {each:.1f} segments an image"
            yield _counted(row_of("model + segments", whole, count, note=note), work.whole, product)
            if self.config.windows is not None:
                side = round(self.config.windows * subject.size)
                yield self._windowed(subject, watch, product, "model + windows", (side, side))
            yield from self._agreement(subject, watch, batch, whole.median)
            if self.config.profile is not None:
                write_profile(
                    lambda: segmenter.segment(batch, subject.classes, form), watch.device, self.config.profile
                )
        if "parts" in groups:
            self.say("parts of the model")
            by_part = _macs_by_part(work)
            for name, part in Parts(segmenter, batch, subject.classes, form).works().items():
                yield _counted(row_of(name, watch.time(part.work), part.images), by_part.get(name), product)

    def _agreement(self, subject: Subject, watch: Stopwatch, batch: ImageBatch, without: float) -> Iterator[Row]:
        """Rows of the model with segments and their agreement: with each view alone, then with all that are asked for.

        Args:
            subject: what is measured.
            watch: what measures.
            batch: as for the row `model + segments`.
            without: seconds of that row.
        """
        views = views_of(self.config.agreement)
        form = self._form.form()
        for some in dict.fromkeys([*((view,) for view in views), views]):
            if some:
                segment = partial(AgreementSegmenter(subject.segmenter, some).segment, batch, subject.classes, form)
                timing = watch.time(segment)
                note = f"batch {len(batch)}, {timing.median / without:.2f} times `model + segments`"
                yield row_of(f"agreement {','.join(some)}", timing, len(batch), note=note)

    # --- around it ----------------------------------------------------------------------------------------------------

    def _shards(self, subject: Subject) -> list[Shard]:
        """The user's shards, or made-up ones."""
        sources = self.sources
        if not sources:
            self.say("making shards up")
            count = self._samples(subject)
            names = [self.folder / f"made-up-{number}.tar" for number in range(IN_FLIGHT)]
            if self.config.image == MIX:
                sizes = list(mix.sizes(count * len(names)))
                sources = [
                    str(write_mixed(name, sizes[number * count : (number + 1) * count], number))
                    for number, name in enumerate(names)
                ]
            else:
                sources = [str(write_shard(name, self.config.image_size, count)) for name in names]
        # Each run labels them anew.
        return [replace(shard, replace=True) for shard in describe_many(sources)]

    def _around(self, subject: Subject, watch: Stopwatch, shards: list[Shard], product: float | None) -> Iterator[Row]:
        groups, segmenter = self.config.groups, subject.segmenter
        if "stages" in groups:
            self.say("stages around the model")
            try:
                yield from stages(
                    shards[0],
                    self.folder,
                    segmenter.rule,
                    watch,
                    decoding=self.config.decoding,
                    device=segmenter.device,
                )
            except (ShardError, SampleError) as error:
                raise EnvironmentFailure(f"{shards[0].url}: can't be measured over: {error}") from error
        if "shard" in groups:
            self.say("whole shards")
            if not self.sources and self.config.image != MIX:
                yield self._at_shard_size(subject, watch, product)
                if self.config.windows is not None:
                    image = self.config.image_size
                    yield self._windowed(subject, watch, product, "windows at shard's size", image)
            yield whole_shards(
                "shard",
                shards,
                watch,
                segmenter=segmenter,
                classes=subject.classes,
                form=self._form,
                batch_size=subject.batch_size,
                folder=self.folder,
                against_model=True,
                decoding=self.config.decoding,
            )
        if "feeding" in groups:
            self.say("feeding alone")
            on_gpu = self.config.decoder == "nvjpeg"
            constant = ConstantSegmenter(segmenter.rule, segmenter.device if on_gpu else CPU)
            classes = ClassFeatures(features=torch.ones(1, 1), stuff=torch.zeros(1, dtype=torch.bool))
            on_cpu = replace(watch, device=constant.device)
            yield whole_shards(
                "feeding",
                shards,
                on_cpu,
                segmenter=constant,
                classes=classes,
                form=self._form,
                batch_size=subject.batch_size,
                folder=self.folder,
                against_model=False,
                decoding=self.config.decoding,
            )

    def _at_shard_size(self, subject: Subject, watch: Stopwatch, product: float | None) -> Row:
        """The model with its segments on batches as made-up shards give them: what a whole shard is held against."""
        image: Size = self.config.image_size
        segmenter, count = subject.segmenter, subject.batch_size
        batch = input_batch(segmenter, image, mask_size(image, self._form.mask_side), count)
        form = self._form.form()
        timing = watch.time(lambda: segmenter.segment(batch, subject.classes, form))
        height, width = batch.pixels.shape[-2:]
        row = row_of("model at shard's size", timing, count, note=f"batch {count}, input {width} x {height}")
        return _counted(row, macs(segmenter.model.config, (height, width), subject.names).whole, product)

    def _windowed(self, subject: Subject, watch: Stopwatch, product: float | None, part: str, image: Size) -> Row:
        """The model with sliding windows over images of one size, in semantic form, as many as a batch then has."""
        assert self.config.windows is not None, "asked for"
        sliding = SlidingSan(subject.segmenter, self.config.windows)
        rule, config = sliding.rule, subject.segmenter.model.config
        count = rule.in_batch(rule.size(image), subject.batch_size)
        batch = input_batch(sliding, image, mask_size(image, self._form.mask_side), count)
        timing = watch.time(lambda: sliding.segment(batch, subject.classes, SemanticInference()))
        price = windows_price(config, rule, image, subject.names)
        note = f"batch {count}, {price.windows} windows an image, {price.times:.1f}x the GMAC of the whole, semantic"
        return _counted(row_of(part, timing, count, note=note), price.macs, product)


def busy(known: Mapping[str, Any]) -> tuple[str, ...]:
    """A warning where others computed on the machine when the bench began."""
    load, cores = known["load"], known["cores"]
    if load is None or load <= BUSY * cores:
        return ()
    return (f"the machine was busy when this began (load {load} on {cores} cores): rates are too low, some by far",)


def _counted(row: Row, work: float | None, product: float | None) -> Row:
    """The row with the multiply-accumulates of one image, and with their share of the measured product rate."""
    if work is None:
        return row
    # A product's rate counts a multiplication and an addition as two.
    utilisation = None if product is None else 2.0 * work * row.rate / product
    return replace(row, gmac=work / 1e9, utilisation=utilisation)


def _macs_by_part(work: Macs) -> dict[str, float]:
    """Multiply-accumulates by the names of `Parts.works`."""
    return {
        "CLIP shallow": work.shallow,
        "side ViT": work.side_vit,
        "mask decoder": work.mask_decoder,
        "recognition": work.recognition,
        "classifier": work.classifier,
    }


def _feeding(bench: Bench, gpu_rate: float) -> Feeding | None:
    """How many cores keep the measured model, and an assumed GPU, busy."""
    fed = bench.row("feeding")
    if fed is None or not fed.cpu_seconds:
        return None
    per_core = 1.0 / fed.cpu_seconds
    model = bench.row("model at shard's size") or bench.row("model + segments")
    rate = None if model is None else model.rate
    return Feeding(
        per_core=per_core,
        model_rate=rate,
        model_cores=None if rate is None else rate / per_core,
        gpu_rate=gpu_rate,
        gpu_cores=gpu_rate / per_core,
    )
