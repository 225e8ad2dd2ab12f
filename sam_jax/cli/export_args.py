"""What `sam-jax export` takes; apart from the command, which imports jax."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Export:
    r"""Write programs that run without this package, for any machine that has jax.

    The folder gets a file for each program and platform (encoder.tpu.jaxexport), the weights
    (weights.safetensors) and a description of what goes in and comes out (export.json). It appears
    all at once; one of an earlier export is replaced. None of the platforms need be here.
    docs/deploying.md shows how the files are used, and by which versions of jax.

    The programs: encoder (pictures to features), decoder (features and prompts to masks), segment
    (both in one), track-step and track-masks (SAM 2: the next frame of a video; objects given by
    masks), text (phrases to embeddings, of models with their own text encoder).

    All that the model can do, for CPU, CUDA and TPU:
      sam-jax export out

    To click on one picture at a time, on TPU:
      sam-jax export out --what encoder,decoder --platforms tpu --fix b=1

    All sizes known, for compilers that want them so:
      sam-jax export out --what segment --platforms cuda --fix b=1,o=1,p=2
    """

    # A str: of "" a Path makes the working folder.
    output: Annotated[Positional[str], arg(metavar="DIR", help_behavior_hint="(required)")]
    """Folder for the results; must be new, empty, or one of an earlier export."""
    what: Annotated[
        str, arg(metavar="NAME,...", help_behavior_hint="(default: all that the model can do)")
    ] = ""
    """Which programs: encoder, decoder, segment, track-step, track-masks, text."""
    platforms: Annotated[str, arg(metavar="NAME,...")] = "cpu,cuda,tpu"
    """What they shall run on: cpu, cuda, rocm, tpu."""
    model: Annotated[str, arg(metavar="NAME|FILE")] = "sam2.1-hiera-nano"
    """A name that `sam-jax models` lists, or a checkpoint: native, .pt, .pth, safetensors."""
    fix: Annotated[str, arg(metavar="LETTER=SIZE,...", help_behavior_hint="")] = ""
    """Sizes that are always the same: b pictures, o objects of each, p points of each, c frames
    with prompts in a tracker's memory, n phrases. All others are open. Programs of fixed size are
    up to a fifth faster on CPU."""
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        arg(
            metavar="{float32,bfloat16}",
            help_behavior_hint="(default: bfloat16, float32 on CPU)",
            help="What products are computed in. Weights are float32 always.",
        ),
    ] = None
