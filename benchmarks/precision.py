"""What bfloat16 costs in quality: the table of docs/performance.md.

    python -m benchmarks.precision                       # some minutes on two cores

One model computes in float32 and in bfloat16 (parameters are float32 in both), and does the same on
held-out scenes of the synthetic world: clicks and boxes on pictures, and clips whose objects are
shown by their mask on the first frame; models with a text tower also get phrases. The last column
is how much the two differ on an object, on average: a difference of means hides it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import tyro
from rich.progress import track

from sam_jax.files import check_writable, replacing
from sam_jax.load import load
from sam_jax.types import Model
from train.config import Source
from train.evaluate.held_out import held_out
from train.evaluate.protocols import Results, run_clicks, run_text, run_vos
from train.evaluate.text import TextOptions
from train.evaluate.vos import VosOptions

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Options:
    """Compare the quality of float32 and bfloat16."""

    model: str = "sam2.1-hiera-nano"
    scenes: int = 40
    """Pictures, each a scene of its own."""
    clips: int = 20
    frames: int = 16
    """Of each clip."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table as Markdown."""


def measure(options: Options, dtype: str) -> dict[str, Results]:
    """Clicks, clips and perhaps phrases, by name."""
    model: Model = load(options.model, dtype=jnp.dtype(dtype))
    size, source = model.config.image_size, Source(kind="synthetic")
    scenes = held_out(source, size, samples=options.scenes, frames=1)
    clips = held_out(source, size, samples=options.clips, frames=options.frames)
    shown = VosOptions(per_object_png=True)  # objects of the synthetic world overlap
    found = {
        "pictures": run_clicks(model, track(scenes, f"{dtype}, pictures")),
        "clips": run_vos(model, track(clips, f"{dtype}, clips"), shown),
    }
    if model.config.words is not None:
        found["phrases"] = run_text(model, track(scenes, f"{dtype}, phrases"), TextOptions())
    return found


def table(both: dict[str, dict[str, Results]]) -> str:
    """Markdown.

    Args:
      both: by dtype, what `measure` found.
    """
    lines = [
        f"| measure | objects | {' % | '.join(DTYPES)} % | difference | per object |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for task, first in both[DTYPES[0]].items():
        second = both[DTYPES[1]][task]
        for name in (n for n in first.scores if n in second.scores):
            value, other = first.scores[name], second.scores[name]
            pairs = [
                abs(a[name] - b[name])
                for a, b in zip(first.objects, second.objects, strict=True)
                if name in a and name in b
            ]
            apart = f"{100 * np.mean(pairs):.2f}" if pairs else ""
            lines.append(
                f"| {task}: {name} | {len(pairs) or ''} | {100 * value:.2f} | {100 * other:.2f} | "
                f"{100 * (other - value):+.2f} | {apart} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.precision", description=__doc__)
    if options.markdown is not None:
        check_writable(options.markdown)
    text = table({dtype: measure(options, dtype) for dtype in DTYPES})
    print(text, end="")
    if options.markdown is not None:
        with replacing(options.markdown) as temporary:
            temporary.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
