"""Turns a folder of data into array_record files, which are quicker to read, above all over a net.

`python -m train.build --kind davis --root DAVIS OUT`, with the fields of `train.config.Source`. Run
it again after an interruption, with the same words: finished shards are kept. See
`train/data/records.py` for what is in them. Only annotated frames are written; JPEG and PNG frames
as they are, others as JPEG of quality 95.
"""

import dataclasses
import io
import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import tyro
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sam_jax.files import check_output_dir, replacing
from sam_jax.ops import rle
from train.config import Source
from train.data.records import MANIFEST
from train.data.sources import open_source
from train.data.video import BadSource, BrokenSample, Video

_PLAN = "plan.json"
_SHARDS = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_THREADS = 4
_JPEG_QUALITY = 95


@runtime_checkable
class _OnDisk(Protocol):
    """A video some frames of which are JPEG or PNG files."""

    def image_file(self, t: int) -> Path | None: ...


@dataclass(frozen=True, kw_only=True)
class Build:
    """Write a data set as array_record files.

    Attributes:
      source: what is read.
      out: folder to write to; new, or of an interrupted run.
      samples: how many to take at most; the synthetic world has no end, so there it is needed.
      shard: samples in a file. What an interruption costs is at most the file in work.
      frames, size: of synthetic clips, and their side in pixels.
    """

    source: Annotated[Source, tyro.conf.arg(name="")]
    out: tyro.conf.Positional[Path]
    samples: int | None = None
    shard: int = 64
    frames: int = 8
    size: int = 256

    def __post_init__(self) -> None:
        least = {"shard": self.shard, "frames": self.frames, "size": self.size}
        least |= {"samples": 1 if self.samples is None else self.samples}
        for name, value in least.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


def build(options: Build) -> dict[str, Any]:
    """Writes what is not there yet, and returns the manifest.

    Raises:
      BadSource: the source cannot be opened, or `out` holds another data set.
      ValueError: `out` cannot be written, or the disk is full.
    """
    if options.source.kind == "synthetic" and options.samples is None:
        raise BadSource("the synthetic world has no end: say how many --samples to write")
    videos = open_source(options.source, frames=options.frames, size=options.size)
    count = min(len(videos), options.samples or len(videos))
    out = check_output_dir(options.out)
    check_output_dir(out / "shards")
    _agree(out, options, count)
    shards = -(-count // options.shard)
    features = _features()  # before the bar: while it is imported, other threads cannot import
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn()) as progress:
        bar = progress.add_task("samples", total=count)
        for number in range(shards):
            part = range(number * options.shard, min(count, (number + 1) * options.shard))
            file, note = _shard_file(out, number, shards), _note_file(out, number)
            if not file.exists():
                _write_shard(videos, part, options.source.stride, features, file=file, note=note)
            progress.update(bar, completed=part.stop)
    return _finish(out, shards, features)


def _agree(out: Path, options: Build, count: int) -> None:
    """Writes down what is being built, or checks that it is the same as what was begun."""
    plan = dataclasses.asdict(options) | {"out": "", "samples": count}
    file = out / _PLAN
    if not file.exists():
        if (out / MANIFEST).exists() or next(out.glob("*.array_record*"), None):
            raise BadSource(f"{out} holds files of something else: give a new folder")
        _write_json(file, plan)
    begun = json.loads(file.read_text("utf-8"))
    if begun != plan:
        differ = sorted(key for key in plan if plan[key] != begun.get(key))
        raise BadSource(
            f"{out} was begun with other settings ({', '.join(differ)}): repeat those, which are in"
            f" {file}, or give a new folder"
        )


def _shard_file(out: Path, number: int, shards: int) -> Path:
    return out / f"videos-train.array_record-{number:05d}-of-{shards:05d}"


def _note_file(out: Path, number: int) -> Path:
    """What came of a shard."""
    return out / "shards" / f"{number:05d}.json"


def _write_shard(
    videos: Sequence[Video], part: range, stride: int, features: Any, *, file: Path, note: Path
) -> None:
    from array_record.python import array_record_module  # ty: ignore[missing-module-member]  # C++

    broken: list[dict[str, str]] = []
    written = size = 0
    with replacing(file) as temporary:
        # Groups of one: else a whole group is read for one record. Pictures are compressed already.
        writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
        for example in _examples(videos, part, stride):
            if isinstance(example, BrokenSample):
                broken.append({"problem": str(example)})
                continue
            record = features.serialize_example(features.encode_example(example))
            writer.write(record)
            written, size = written + 1, size + len(record)
        writer.close()
        with temporary.open("rb") as written_file:
            os.fsync(written_file.fileno())
        # Before the shard gets its name: where that is, this is.
        _write_json(note, {"samples": written, "bytes": size, "skipped": broken})


def _examples(
    videos: Sequence[Video], part: range, stride: int
) -> Iterator[dict[str, Any] | BrokenSample]:
    """In order, some of them being made while others are written."""
    with ThreadPoolExecutor(_THREADS) as pool:
        ahead = deque()
        for number in part:
            ahead.append(pool.submit(_example, videos, number, stride))
            if len(ahead) > _THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _example(videos: Sequence[Video], number: int, stride: int) -> dict[str, Any] | BrokenSample:
    try:
        video = videos[number]
        times = video.annotated[::stride]
        if not times:
            raise BrokenSample(f"{video.name} has no annotated frames")
        frames = [_frame(video, t) for t in times]
    except BrokenSample as error:
        return error
    return {
        "name": video.name,
        "frame_names": [video.frame_name(t) for t in times],
        "images": [image for image, _ in frames],
        "masks": [masks for _, masks in frames],
    }


def _frame(video: Video, t: int) -> tuple[bytes, str]:
    """The encoded picture and masks of a frame; both have been read, so both are good."""
    pixels = video.image(t)
    counts = {str(i): rle.encode(mask)["counts"] for i, mask in (video.masks(t) or {}).items()}
    masks = json.dumps({"size": pixels.shape[:2], "counts": counts})
    if isinstance(video, _OnDisk) and (file := video.image_file(t)):
        return file.read_bytes(), masks
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return encoded.getvalue(), masks


def _features() -> Any:
    """Of an example, for tensorflow-datasets."""
    import numpy as np
    import tensorflow_datasets as tfds

    kinds = tfds.features
    encoded = kinds.Tensor(shape=(), dtype=np.object_)  # bytes, left as they are
    return kinds.FeaturesDict(
        {
            "name": kinds.Text(),
            "frame_names": kinds.Sequence(kinds.Text()),
            "images": kinds.Sequence(encoded),
            "masks": kinds.Sequence(kinds.Text()),
        }
    )


def _finish(out: Path, shards: int, features: Any) -> dict[str, Any]:
    """Writes what tensorflow-datasets needs to read the files, and the manifest last of all."""
    import tensorflow_datasets as tfds

    notes = [json.loads(_note_file(out, i).read_text("utf-8")) for i in range(shards)]
    skipped = [entry for note in notes for entry in note["skipped"]]
    if not (samples := sum(note["samples"] for note in notes)):
        raise BadSource(f"nothing could be written to {out}; the last: {skipped[-1]['problem']}")
    template = tfds.core.ShardedFileTemplate(
        data_dir=out,
        template=_SHARDS,
        dataset_name="videos",
        split="train",
        filetype_suffix="array_record",
    )
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[note["samples"] for note in notes],
        num_bytes=sum(note["bytes"] for note in notes),
        filename_template=template,
    )
    tfds.folder_dataset.write_metadata(
        data_dir=out,
        features=features,
        split_infos=[split],
        filename_template=_SHARDS,
        description="Videos with masks of objects; see train/data/records.py",
        check_data=False,  # would need TensorFlow
    )
    for left_over in out.rglob(".sam_jax_*.tmp"):
        left_over.unlink()
    manifest = {"samples": samples, "shards": shards, "skipped": skipped}
    _write_json(out / MANIFEST, manifest)
    return manifest


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def main() -> None:
    options = tyro.cli(Build)
    try:
        manifest = build(options)
    except (BadSource, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.out}: {manifest['samples']} samples in {manifest['shards']} files")
    for entry in manifest["skipped"]:
        print(f"left out: {entry['problem']}")


if __name__ == "__main__":
    main()
