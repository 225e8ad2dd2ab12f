"""The `sam-jax` command. Parsing only: jax is imported by the commands, not for --help."""

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TextIO

import tyro
from tyro.conf import Positional, UseAppendAction, arg, subcommand

from sam_jax.cli.batch_args import Batch
from sam_jax.cli.compilation_cache import KeepPrograms
from sam_jax.cli.demo_args import Demo
from sam_jax.cli.everything_args import Everything
from sam_jax.cli.export_args import Export


@dataclass(frozen=True)
class Segment:
    r"""Segment what the prompts point at, in one picture or in many.

    Clicks, at most one box, a mask and a text together describe ONE object. Several boxes describe
    one object each, and then come alone. The same prompts are used on every picture.
    Coordinates are pixels from the top left corner of the picture as viewers show it (EXIF rotation
    applied).

    For a picture truck.jpg, the output folder gets truck_overlay.png (prompts and masks drawn on
    it) and the masks: truck_mask0.png, truck_mask1.png, ... or truck.json or truck.npz. Files of
    the same name are replaced. Further PNG masks of an earlier run (truck_mask<number>.png) are
    deleted; what it wrote in another --format stays. Of pictures with the same name, the later
    ones get -2, -3, ...

    One click:
      sam-jax segment truck.jpg --point 500,375 --output out

    This, but not that, inside a box:
      sam-jax segment truck.jpg --point 575,750 --point 500,375,0 \
          --box 425,600,700,875

    Two objects at once, as COCO run-length codes:
      sam-jax segment truck.jpg --box 75,275,1725,850 --box 425,600,700,875 \
          --format rle

    Another model, all three of its answers to an ambiguous click:
      sam-jax segment *.jpg --point 200,150 --multimask \
          --model sam2.1-hiera-tiny
    """

    images: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="IMAGE...", help_behavior_hint="(one or more)")
    ]
    """Pictures in any format that Pillow reads."""
    point: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="X,Y[,0|1]", help_behavior_hint="(repeatable)"),
    ] = ()
    """A click, on the object (1, the default) or on what does not belong to it (0)."""
    box: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="X0,Y0,X1,Y1", help_behavior_hint="(repeatable)"),
    ] = ()
    """A box around an object: left, top, right, bottom."""
    mask: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help_behavior_hint="",
            help="A rough mask to start from: a picture of the image's size, bright inside; or a"
            " .npz that --format npz wrote (of several masks, the one with the highest IoU counts),"
            " or a .npy, with logits of the model's low resolution.",
        ),
    ] = None
    text: Annotated[str | None, arg(metavar="PHRASE", help_behavior_hint="")] = None
    """What the object is called. Only for models that were trained with text; others refuse it."""
    text_encoder: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """A CLIP checkpoint as Hugging Face lays it out, the one that the model was trained with.
    Models that bring their own text encoder along need none."""
    model: Annotated[str, arg(metavar="NAME|FILE")] = "sam2.1-hiera-nano"
    """A name that `sam-jax models` lists, or a checkpoint: native, .pt, .pth, safetensors."""
    output: Annotated[Path, arg(metavar="DIR")] = Path("segmented")
    """Folder for the results; created if need be."""
    multimask: bool = False
    """Three masks for each object, for a prompt that may mean a part or the whole."""
    format: Annotated[
        Literal["png", "rle", "npz"],
        arg(
            help="Of the masks: one PNG a mask, or one JSON file an image with entries as in SA-1B,"
            " or one npz file an image with masks, IoUs and low-resolution logits."
        ),
    ] = "png"
    cache: KeepPrograms = True


@dataclass(frozen=True)
class Track:
    r"""Follow what the prompts point at through a video.

    A prompt begins with the number of its frame, from 0, and may end with the number of its object,
    from 1: --point 12:500,375@2 is a click on frame 12 on object 2. Without @ it is object 1.
    Several clicks and a box for one object on one frame belong together; prompts on later frames
    correct the object. Coordinates are pixels from the top left corner of the frame as players show
    it.

    Tracking begins on the first frame with a prompt and goes to the end, or with --reverse begins
    on the last one and goes back to frame 0. The results cover the frames gone through, in forward
    order, with the predicted IoU and the probability that the object is there in a CSV file.

    A click on frame 0, and a video with the masks drawn on it (out.mp4, out.csv):
      sam-jax track bedroom.mp4 --point 0:210,350 --output out.mp4

    Two objects, the second by a box on frame 40, as DAVIS has them (out/00000.png, out/scores.csv):
      sam-jax track bedroom.mp4 --point 0:210,350 --box 40:300,0,500,400@2 \
          --output out

    A folder of pictures, with the mask of a frame in the middle, both ways:
      sam-jax track frames/ --mask 50:mask.png --both-ways --output out.json

    A camera, until Ctrl-C, with another model:
      sam-jax track 0 --box 0:200,100,440,380 --model sam2.1-hiera-tiny
    """

    video: Annotated[Positional[str], arg(metavar="VIDEO", help_behavior_hint="(required)")]
    """A file, a folder of numbered JPEG or PNG frames, or the number of a camera."""
    point: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="FRAME:X,Y[,0|1][@OBJ]", help_behavior_hint="(repeatable)"),
    ] = ()
    """A click, on the object (1, the default) or on what does not belong to it (0)."""
    box: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="FRAME:X0,Y0,X1,Y1[@OBJ]", help_behavior_hint="(repeatable)"),
    ] = ()
    """A box around the object: left, top, right, bottom."""
    mask: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="FRAME:FILE[@OBJ]",
            help_behavior_hint="(repeatable)",
            help="The object's mask: a picture of the frame's size, bright inside (of a palette"
            " picture with several numbers, the pixels that hold OBJ); or a .npz or .npy.",
        ),
    ] = ()
    model: Annotated[str, arg(metavar="NAME|FILE")] = "sam2.1-hiera-nano"
    """A name that `sam-jax models` lists, or a checkpoint: native, .pt, .pth, safetensors."""
    output: Annotated[Path, arg(metavar="FILE|DIR")] = Path("tracked.mp4")
    """A video (.mp4), run-length codes (.json), or a folder; folders are created if need be."""
    format: Annotated[
        Literal["video", "palette", "png", "npz", "rle"] | None,
        arg(
            metavar="{video,palette,png,npz,rle}",
            help_behavior_hint="(default: by --output; palette for a folder)",
            help="In a folder: overlay.mp4; or a PNG a frame, whose pixels are object numbers"
            " (DAVIS); or a PNG a frame and object (DIR/001/00000.png); or an npz a frame with"
            " masks, scores and low-resolution logits; or masks.json with COCO run-length codes.",
        ),
    ] = None
    reverse: bool = False
    """From the last frame with a prompt back to frame 0."""
    both_ways: bool = False
    """The whole video, from the prompts forward and back."""
    max_frames: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """At most so many frames in each direction, the one with the prompt included."""
    every: Annotated[int, arg(metavar="N")] = 1
    """Read frames 0, N, 2N, ... only; prompts must be on those, and keep their numbers."""
    cache: KeepPrograms = True


@dataclass(frozen=True)
class Models:
    """List the model names: parameters, input size in pixels, where the weights are."""


_SEGMENT = "Segment what clicks, boxes or a mask point at, in pictures."
_EVERYTHING = "Find the masks of everything in pictures, or in a video."
_TRACK = "Follow what clicks, boxes or masks point at, through a video."
_BATCH = "Segment or track all pictures and clips of a folder or bucket; resumable."
_EXPORT = "Write programs that run without this package, on CPU, GPU and TPU."
_DEMO = "Click on pictures, videos and a camera in the browser."
_MODELS = "List the models: parameters, input size, where the weights are."


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code.

    0, or 2 after a message about bad input, or 130 after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be printable
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(list(sys.argv[1:] if args is None else args) or ["--help"])
    except BrokenPipeError:  # while the help was printed
        discard(sys.stdout)
        return 0
    except (ValueError, OSError, ModuleNotFoundError) as error:  # the last names an extra
        report(error)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(args: list[str]) -> int:
    if args == ["--version"]:
        from importlib.metadata import version

        say(f"sam-jax {version('sam_jax')}")
        return 0
    command = _parsed(args)
    if isinstance(command, Models):
        from sam_jax.cli.models import run

        run()
        return 0
    if isinstance(command, Demo):
        from sam_jax.cli.demo import demo

        return demo(command)
    if isinstance(command, Everything):
        from sam_jax.cli.everything import everything

        return everything(command)
    if isinstance(command, Batch):
        from sam_jax.cli.batch import batch

        return batch(command)
    if isinstance(command, Export):
        from sam_jax.cli.export import export

        return export(command)
    if isinstance(command, Track):
        from sam_jax.cli.track import track

        return track(command)
    from sam_jax.cli.segment import segment

    return segment(command)


def _parsed(args: list[str]) -> Segment | Everything | Track | Batch | Export | Demo | Models:
    commands = {
        "segment": Segment,
        "everything": Everything,
        "track": Track,
        "batch": Batch,
        "export": Export,
        "demo": Demo,
        "models": Models,
    }
    if args[0] in commands:  # by itself, so that errors name the help of the command
        return tyro.cli(commands[args[0]], prog=f"sam-jax {args[0]}", args=args[1:])
    # The list of commands has room for a line each, the help of a command for its whole docstring.
    return tyro.cli(
        Annotated[Segment, subcommand("segment", description=_SEGMENT)]
        | Annotated[Everything, subcommand("everything", description=_EVERYTHING)]
        | Annotated[Track, subcommand("track", description=_TRACK)]
        | Annotated[Batch, subcommand("batch", description=_BATCH)]
        | Annotated[Export, subcommand("export", description=_EXPORT)]
        | Annotated[Demo, subcommand("demo", description=_DEMO)]
        | Annotated[Models, subcommand("models", description=_MODELS)],
        prog="sam-jax",
        description="Segment Anything in JAX. `sam-jax COMMAND --help` explains a command;"
        " `sam-jax --version` prints the version.",
        args=args,
    )


def say(line: str, *, error: bool = False) -> None:
    """Prints a line at once, on stderr if it is an error; quietly nowhere once the reader has left.

    So `sam-jax ... | head -1` still does all of its work.
    """
    stream: TextIO = sys.stderr if error else sys.stdout
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        discard(stream)


def discard(stream: TextIO) -> None:
    """Sends to nowhere what follows, and what is in the buffer, which Python flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def report(error: Exception) -> None:
    """One line on stderr about what was wrong with the input."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    say(f"sam-jax: error: {text}", error=True)
