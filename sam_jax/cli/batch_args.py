"""What `sam-jax batch` takes; apart from the command, which imports jax."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from sam_jax.cli.compilation_cache import KeepPrograms


@dataclass(frozen=True)
class Batch:
    r"""Segment or track all pictures and clips of a folder or bucket, and go on after an
    interruption.

    What is asked is in a file with a JSON object a line, for each object of a picture, or for each
    prompt of an object of a clip. Coordinates are pixels, and clips are tracked from their first
    prompt to their end:

      {"input": "a.jpg", "points": [[500, 375]]}
      {"input": "a.jpg", "object": 2, "box": [425, 600, 700, 875]}
      {"input": "b/clip.mp4", "points": [[210, 350], [250, 220]], "labels": [1, 0]}
      {"input": "b/clip.mp4", "object": 2, "frame": 40, "box": [300, 0, 500, 400]}

    An input is called as below INPUT. Besides points, labels and box there are mask (a file, or a
    COCO run-length code) and text (for models that take it).

    Results go to OUT/results-00000-of-00040.jsonl and so on, each with the results of 64 inputs: a
    line for each picture, or frame of a clip, with a COCO run-length code for each object. Inputs
    that cannot be read are listed in OUT/errors.jsonl with the reason, and stop nothing.

    The command may be killed at any moment. Run it again and it goes on with the files that are not
    there yet; with other prompts, inputs or another model, it refuses.

    Prompted pictures and clips of a folder:
      sam-jax batch photos/ --prompts prompts.jsonl --output out

    Everything in all pictures, by two processes that share the work:
      sam-jax batch 'photos/**/*.jpg' --everything --output out --shard 0/2
      sam-jax batch 'photos/**/*.jpg' --everything --output out --shard 1/2

    From and to a bucket, on every host of a TPU pod or a SLURM job:
      sam-jax batch gs://bucket/photos --prompts gs://bucket/prompts.jsonl \
          --output gs://bucket/masks --shard auto --model sam2.1-hiera-large
    """

    input: Annotated[Positional[str], arg(metavar="INPUT", help_behavior_hint="(required)")]
    """A folder, a 'pattern' with * or **, a list of paths (.txt), one file, or a folder with a data
    set of tensorflow-datasets; each on disk or in a bucket (gs://, s3://)."""
    prompts: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """What is asked, as JSON lines; files of masks are named relative to it."""
    everything: FlagCreatePairsOff[bool] = False
    """Find all masks of every picture, as sam-jax everything does; clips are left out."""
    output: Annotated[str, arg(metavar="DIR")] = "batch"
    """Folder for the results, created if need be; on disk or in a bucket."""
    model: Annotated[str, arg(metavar="NAME|FILE")] = "sam2.1-hiera-nano"
    """A name that `sam-jax models` lists, or a checkpoint: native, .pt, .pth, safetensors."""
    text_encoder: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """A CLIP checkpoint, for text with models that bring no text encoder along."""
    shard: Annotated[
        str | None, arg(metavar="I/N|auto", help_behavior_hint="(default: all of the work)")
    ] = None
    """This is process I of N, from 0, and does its share. auto: as jax.distributed finds out on a
    TPU pod, under SLURM or MPI, or by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID."""
    format: Annotated[
        Literal["jsonl", "array_record"],
        arg(help="Of the results: JSON lines, or array_record files whose records are such lines."),
    ] = "jsonl"
    inputs_per_file: Annotated[int, arg(metavar="N")] = 64
    """Pictures, or clips, whose results are in one file. A kill costs at most one file's work."""
    batch_size: Annotated[
        int | None,
        arg(metavar="N", help_behavior_hint="(default: 1 on a CPU; else 8 pictures, or 4 clips)"),
    ] = None
    """Pictures, or clips, that a device works on at once."""
    points_per_side: Annotated[int, arg(metavar="N")] = 32
    """Of --everything, as are the next ones: rows and columns of the grid of clicks."""
    pred_iou_thresh: Annotated[
        float | None, arg(metavar="0..1", help_behavior_hint="(default: 0.8; of SAM 1 0.88)")
    ] = None
    """Drop masks whose predicted IoU is not above this; 0 keeps all."""
    stability_score_thresh: Annotated[float, arg(metavar="0..1")] = 0.95
    """Drop masks less stable than this."""
    crop_n_layers: Annotated[int, arg(metavar="N")] = 0
    """Look again at 4 overlapping parts of each picture, at 16, ...: so many times."""
    cache: KeepPrograms = True
