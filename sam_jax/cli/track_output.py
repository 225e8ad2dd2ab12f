"""Where the results of a tracked video go: names, checks, and the writers behind them."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.cli.track_prompts import TrackPrompts
from sam_jax.files import check_writable
from sam_jax.io.mask_sequences import (
    FrameMasks,
    FrameNpzs,
    ObjectPngs,
    PalettePngs,
    RleFile,
    ScoresFile,
    object_folder,
)
from sam_jax.io.overlay import COLORS, overlay
from sam_jax.io.video_writer import VideoWriter

_FILES = {".mp4": "video", ".json": "rle"}  # names of one file, and the format they ask for
_OTHER_FILES = (".avi", ".csv", ".gif", ".jpg", ".m4v", ".mkv", ".mov", ".npz", ".png", ".webm")
_FRAME_WRITERS = {"palette": PalettePngs, "png": ObjectPngs, "npz": FrameNpzs}
_PALETTE_SIZE = 255


@dataclass(frozen=True)
class Plan:
    """Names of the results.

    Attributes:
      format: video, palette, png, npz or rle.
      target: the video, the JSON file, or the folder with files for each frame.
      scores: the CSV file.
      folder: where all of them are.
      overlay: the video with the masks drawn on it; the target, or beside it, or None.
    """

    format: str
    target: Path
    scores: Path
    folder: Path
    overlay: Path | None = None

    @property
    def frame_files(self) -> bool:
        """Whether each frame has files of its own; then frames may be written in any order."""
        return self.format in _FRAME_WRITERS

    def check(self, inputs: Sequence[Path], objects: Sequence[int]) -> None:
        """Finds out before any work what cannot be written, or should not be.

        Args:
          inputs: files and folders that are read.
          objects: their numbers, rising.

        Raises:
          ValueError: an input would be replaced, or an object's number does not fit the format.
        """
        if self.format == "palette" and objects[-1] > _PALETTE_SIZE:
            raise ValueError(
                f"a palette PNG holds the objects 1 to {_PALETTE_SIZE}, got @{objects[-1]}:"
                " choose a smaller number, or --format png, npz or rle"
            )
        for path in inputs:
            if self._replaces(path.resolve(), objects):
                raise ValueError(
                    f"the results would replace the input {path}: choose another --output"
                )

    def check_writable(self) -> None:
        """Raises ValueError if a file of the results cannot be written in the existing folder."""
        check_writable(self.scores)
        if not self.frame_files:
            check_writable(self.target)
        if self.overlay is not None:
            check_writable(self.overlay)

    def older_frames(self, written: dict[str, range]) -> Iterator[Path]:
        """Frames in the folder beside those just written, by subfolder ("" without)."""
        suffix = ".npz" if self.format == "npz" else ".png"
        pattern = f"*/*{suffix}" if self.format == "png" else f"*{suffix}"
        for path in sorted(self.target.glob(pattern)) if self.frame_files else ():
            inside = path.parent.name if self.format == "png" else ""
            if not re.fullmatch(r"(\d{3,9}/)?\d{5,9}", f"{inside}/{path.stem}".lstrip("/")):
                continue
            if int(path.stem) not in written.get(inside, ()):
                yield path

    def _replaces(self, path: Path, objects: Sequence[int]) -> bool:
        target = self.target.resolve()
        if path in (self.scores.resolve(), target):
            return True
        if self.overlay is not None and path == self.overlay.resolve():
            return True
        if not self.frame_files:
            return False
        folders = [target]
        if self.format == "png":
            folders = [target / object_folder(number) for number in objects]
        return path in folders or (path.parent in folders and path.stem.isdigit())


def plan_output(output: Path, kind: str | None, in_folder: str = "palette") -> Plan:
    """Names for --output and --format.

    Args:
      in_folder: the format of a folder if none is given.

    Raises:
      ValueError: they contradict each other, or the file's type is none that is written.
    """
    suffix = output.suffix.lower()
    if suffix in _FILES and not output.is_dir():
        if kind not in (None, _FILES[suffix]):
            raise ValueError(
                f"--output {output} is one file for --format {_FILES[suffix]}, which is not"
                f" {kind}: name a folder, or leave --format out"
            )
        overlay = output if _FILES[suffix] == "video" else None
        return Plan(_FILES[suffix], output, output.with_suffix(".csv"), output.parent, overlay)
    if suffix in _OTHER_FILES and not output.is_dir():
        raise ValueError(
            f"--output {output} cannot be written: give a name that ends with .mp4 (a video) or"
            " .json (run-length codes), or a folder"
        )
    kind = kind or in_folder
    target = {"video": output / "overlay.mp4", "rle": output / "masks.json"}.get(kind, output)
    overlay = target if kind == "video" else None
    return Plan(kind, target, output / "scores.csv", output, overlay)


class Output:
    """The open files of a plan: a context manager that finishes them, also after an exception.

    Args:
      draw: what the video shows of a frame, from its masks and its pixels [h w 3].
      fps: of the video to write, None if unknown.
      count: number of frames of the whole video, if known: more than 100,000 need longer names.

    Attributes:
      frames: number of frames written so far.
    """

    def __init__(
        self,
        plan: Plan,
        draw: Callable[[FrameMasks, np.ndarray], np.ndarray],
        *,
        fps: float | None,
        count: int | None,
        every: int,
    ) -> None:
        self.plan = plan
        self.frames = 0
        self._draw = draw
        self._fps = fps
        self._every = every
        self._digits = max(5, len(str(count - 1))) if count else 5
        self._ahead = -1  # frames up to this one have been written ahead
        self._spans: dict[str, range] = {}

    def __enter__(self) -> "Output":
        with ExitStack() as stack:
            self._scores = stack.enter_context(ScoresFile(self.plan.scores))
            self._masks: Any = None
            self._video: VideoWriter | None = None
            if self.plan.format == "rle":
                self._masks = stack.enter_context(RleFile(self.plan.target))
            elif self.plan.frame_files:
                kind = _FRAME_WRITERS[self.plan.format]
                self._masks = stack.enter_context(kind(self.plan.target, digits=self._digits))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._open.__exit__(*error)
        except (ValueError, OSError):
            if self.plan.format == "video":  # it could not be finished, and is gone
                self.frames = 0
            raise

    def write_ahead(self, result: FrameMasks) -> None:
        """Writes the files of a frame, before its turn; frames go backwards here."""
        self._ahead = max(self._ahead, result.frame)
        self._write_frame(result)

    def write(self, result: FrameMasks, pixels: np.ndarray | None) -> None:
        """Writes a frame, in order; `pixels` [h w 3] may be missing except for a video."""
        if self.plan.overlay is not None:
            assert pixels is not None
            self._write_video(self.plan.overlay, self._draw(result, pixels))
        if self.plan.format == "rle":
            self._masks.write(result)
        elif self.plan.frame_files and result.frame > self._ahead:
            self._write_frame(result)
        self._scores.write(result)
        self.frames += 1

    def older_frames(self) -> list[Path]:
        """Frames of an earlier run, which are still in the folder."""
        return list(self.plan.older_frames(self._spans))

    def _write_frame(self, result: FrameMasks) -> None:
        self._masks.write(result)
        folders = map(object_folder, result.ids) if self.plan.format == "png" else [""]
        for folder in folders:
            old = self._spans.get(folder, range(result.frame, result.frame + 1))
            low, high = min(old.start, result.frame), max(old.stop, result.frame + 1)
            self._spans[folder] = range(low, high, self._every)

    def _write_video(self, path: Path, image: np.ndarray) -> None:
        if self._video is None:  # as late as this, so that nothing is replaced by nothing
            self._video = self._open.enter_context(VideoWriter(path, self._fps))
        try:
            self._video.write(image)
        except (ValueError, OSError):  # a full disk: the writer gives the whole file up
            if self.plan.format == "video":
                self.frames = 0
            raise


def drawn(prompts: TrackPrompts, result: FrameMasks, pixels: np.ndarray) -> np.ndarray:
    """A frame with its masks and what was typed about it, each object in its colour."""

    def colors(numbers: Iterable[int]) -> list[tuple[int, int, int]]:
        places = (prompts.objects.index(number) for number in numbers)
        return [COLORS[place % len(COLORS)] for place in places]

    typed = prompts.on(result.frame)
    boxes = {number: prompt.box for number, prompt in typed.items() if prompt.box}
    return overlay(
        pixels,
        result.masks,
        points=[point for prompt in typed.values() for point in prompt.points],
        labels=[label for prompt in typed.values() for label in prompt.labels],
        boxes=list(boxes.values()),
        colors=colors(result.ids) or COLORS,
        box_colors=colors(boxes) or None,
    )
