"""Measure a model: `python -m train.evaluate MODEL PROTOCOL [--option value]`.

MODEL is whatever `sam_jax.load` takes: a name such as sam2.1-hiera-tiny, or a file.

PROTOCOL is one of
  clicks        single pictures: IoU after 1, 3 and 5 simulated clicks, and with a box
  text          synthetic pictures: IoU of what a phrase finds, alone and with a click
  vos           videos: objects are shown on the first frame and tracked: J&F
  interactive   videos: objects are shown by clicks, and frames corrected by more: J&F by round

`python -m train.evaluate score --truth FOLDER --predictions FOLDER` needs no model: it scores
folders of masks, DAVIS or SA-V, whoever wrote them.

Examples:
  python -m train.evaluate sam2.1-hiera-nano vos --source.kind synthetic --samples 200
  python -m train.evaluate sam2.1-hiera-tiny vos --source.kind davis --source.root DAVIS \\
      --start 3-clicks --output results/davis
  python -m train.evaluate sam2.1-hiera-tiny vos --source.kind davis --source.root sav_val \\
      --per-object-png --output results/sav
  python -m train.evaluate sam2.1-hiera-tiny clicks --source.kind coco --source.root val2017 \\
      --source.annotations instances_val2017.json --samples 500
  python -m train.evaluate score --truth sav_val/Annotations_6fps --predictions results/sav/masks

`... MODEL PROTOCOL --help` lists the options of a protocol. With --output, results.json holds every
number and, for vos, the folder masks the predictions.
"""

import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sam_jax.clip import load_clip
from sam_jax.files import check_output_dir, replacing
from sam_jax.load import load
from sam_jax.models.prompt_encoder import NO_TEXT
from sam_jax.types import Model
from train.config import Source
from train.data.video import Video
from train.evaluate import protocols
from train.evaluate.folders import score_folders
from train.evaluate.held_out import held_out, overlapping, require_some
from train.evaluate.interactive import InteractiveOptions
from train.evaluate.protocols import Results
from train.evaluate.text import TextOptions
from train.evaluate.vos import VosOptions


@dataclass(frozen=True, kw_only=True)
class Data:
    """What to measure on.

    Attributes:
      source: pictures or videos with masks; "synthetic" needs no data, the others a root.
      samples: only the first so many videos or pictures; 0: all (synthetic: 200).
      frames: only the first so many frames of each video; 0: all (synthetic: 16).
      output: folder for results.json, and for predictions; nothing: write no files.
    """

    source: Source = field(default_factory=lambda: Source(kind="synthetic"))
    samples: int = 0
    frames: int = 0
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class Clicks(Data):
    """Click mIoU on the first frame of each video, or picture, that shows objects.

    Attributes:
      objects: of a picture, at most; 0: all.
    """

    objects: int = 0

    def run(self, model: Model, videos: Iterable[Video]) -> Results:
        return protocols.run_clicks(model, videos, objects=self.objects)


@dataclass(frozen=True, kw_only=True)
class Text(Data, TextOptions):
    """From phrases to masks, in scenes of the synthetic world that training never saw.

    Attributes:
      frames: scenes are pictures.
      objects: of a picture, at most; 0: all.
      text_encoder: folder of the CLIP that the model was trained with; nothing: its own.
    """

    frames: int = 1
    objects: int = 0
    text_encoder: str = ""

    def run(self, model: Model, videos: Iterable[Video]) -> Results:
        if self.source.kind != "synthetic":
            raise ValueError(f"the source {self.source.kind} has no phrases; synthetic has")
        if not model.config.text_dim:
            raise ValueError(f"{model.config.name} {NO_TEXT}")
        if not self.text_encoder and model.config.words is None:
            raise ValueError(
                f"{model.config.name} has no text encoder of its own: --text-encoder FOLDER is the "
                "CLIP that it was trained with"
            )
        encoder = load_clip(self.text_encoder).embed_text if self.text_encoder else None
        return protocols.run_text(model, videos, self, objects=self.objects, text_encoder=encoder)


@dataclass(frozen=True, kw_only=True)
class Vos(Data, VosOptions):
    """Semi-supervised video object segmentation, as SAM 2's vos_inference.py.

    Show the objects on the first frame, by masks, a box or clicks; track them to the end; compare.
    Objects of the sources synthetic and sav overlap: they always have --per-object-png.
    """

    def run(self, model: Model, videos: Iterable[Video]) -> Results:
        folder = Path(self.output) / "masks" if self.output else None
        single = self.per_object_png or overlapping(self.source)
        options = dataclasses.replace(self, per_object_png=single)
        return protocols.run_vos(model, videos, options, folder)


@dataclass(frozen=True, kw_only=True)
class Interactive(Data, InteractiveOptions):
    """A simulated user who clicks on one frame after the other; J&F after each."""

    def run(self, model: Model, videos: Iterable[Video]) -> Results:
        return protocols.run_interactive(model, videos, self)


@dataclass(frozen=True, kw_only=True)
class FolderScore:
    """J&F of a folder of predicted masks, as sav_evaluator.py and the DAVIS evaluation compute it.

    Attributes:
      truth: folder of videos with true masks: VIDEO/FRAME.png (DAVIS) or VIDEO/OBJECT/FRAME.png
        (SA-V, such as sav_val/Annotations_6fps).
      predictions: folder of the same layout.
      skip_ends: leave out the first and last frame of each video (SA-V: object), as is the custom.
      partial_ok: videos without predictions are left out; else they are an error.
      workers: threads.
      output: folder for results.json; nothing: write no file.
    """

    truth: str
    predictions: str
    skip_ends: bool = True
    partial_ok: bool = False
    workers: int = os.cpu_count() or 1
    output: str = ""


PROTOCOLS = {"clicks": Clicks, "text": Text, "vos": Vos, "interactive": Interactive}
_PROG = "python -m train.evaluate"


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        raise SystemExit(0 if arguments else 2)
    try:
        if arguments[0] == "score":
            _score(tyro.cli(FolderScore, args=arguments[1:], prog=f"{_PROG} score"))
        else:
            _measure(arguments)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{_PROG}: {error}") from error


def _measure(arguments: list[str]) -> None:
    model_name, *rest = arguments
    protocol = rest[0] if rest else ""
    if protocol not in PROTOCOLS:
        near = difflib.get_close_matches(protocol, PROTOCOLS, 1)
        hint = f" Did you mean {near[0]}?" if near else f" See {_PROG} --help."
        raise ValueError(f"{protocol!r} is no protocol; there are {', '.join(PROTOCOLS)}.{hint}")
    prog = f"{_PROG} {model_name} {protocol}"
    settings = tyro.cli(PROTOCOLS[protocol], args=rest[1:], prog=prog)
    if settings.output:
        check_output_dir(settings.output)
    model = load(model_name)
    size = model.config.image_size
    videos = held_out(settings.source, size, samples=settings.samples, frames=settings.frames)
    with _progress() as progress:
        results = settings.run(model, progress.track(videos, description=protocol))
    require_some(results, settings.source)
    _report(results, f"{model.config.name}, {protocol}")
    about = {"model": model_name, "protocol": protocol}
    _write(results, settings.output, about | dataclasses.asdict(settings))


def _score(settings: FolderScore) -> None:
    if settings.output:
        check_output_dir(settings.output)
    with _progress() as progress:
        task = progress.add_task("scoring", total=None)
        scores = score_folders(
            settings.truth,
            settings.predictions,
            skip_ends=settings.skip_ends,
            partial_ok=settings.partial_ok,
            workers=settings.workers,
            done=lambda name: progress.advance(task),
        )
    results = protocols.of_scores(scores)
    _report(results, f"{len(scores)} videos of {settings.predictions}")
    _write(results, settings.output, {"protocol": "score"} | dataclasses.asdict(settings))


def _progress() -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)


def _report(results: Results, title: str) -> None:
    table = Table(title=f"{title}: {len(results.objects)} objects", title_justify="left")
    table.add_column("measure")
    table.add_column("%", justify="right")
    for name, value in results.scores.items():
        table.add_row(name, f"{100 * value:.1f}")
    console = Console()
    console.print(table)
    if results.skipped:
        console.print(f"skipped {len(results.skipped)}, such as: {results.skipped[0]}")


def _write(results: Results, folder: str, settings: dict[str, Any]) -> None:
    if not folder:
        return
    path = Path(folder) / "results.json"
    content = {"settings": settings} | dataclasses.asdict(results)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    Console().print(f"wrote {path}")


if __name__ == "__main__":
    main()
