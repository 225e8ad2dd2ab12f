"""`python -m convert.verify CHECKPOINT`: our numbers beside those of the official PyTorch code.

Runs both in float32 on the same image and prompts and prints the largest error of each stage.
Needs the Python of `make oracle`. docs/parity.md is made from its `--markdown` output, and
tests/oracle/test_image_parity.py asserts its limits.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from convert import official, official_sam
from sam_jax import image as functional
from sam_jax.checkpoint.names import from_official, to_official
from sam_jax.checkpoint.strict import flatten, merge
from sam_jax.config import Config, Sam2Config, SamConfig
from sam_jax.io.canvas import Canvas
from sam_jax.io.images import read_image
from sam_jax.load import load
from sam_jax.models import abstract_params, build
from sam_jax.predictors.image import ImagePredictor
from sam_jax.predictors.prompts import check_prompts, pad_prompts
from sam_jax.presets import preset
from sam_jax.types import Model

_ROOT = Path(__file__).resolve().parent.parent
_PHOTO = _ROOT / "docs" / "media" / "coffee.jpg"
_EPILOG = """\
examples:
  python -m convert.verify sam2.1_hiera_tiny.pt
  python -m convert.verify --random sam2.1-hiera-base-plus --image photo.jpg --markdown
"""


@dataclasses.dataclass(frozen=True)
class Error:
    """How far one array is from the official one.

    Attributes:
      stage: what was compared, a key of `LIMITS`.
      case: for which prompt; "" for what depends on the image alone.
      value: largest absolute difference; for features and prompt encodings relative to the largest
        official value; for pixels the fraction that falls on the other side of the threshold.
    """

    stage: str
    case: str
    value: float

    @property
    def accepted(self) -> bool:
        return self.value <= LIMITS[self.stage]


# Stage -> the largest acceptable `Error.value`.
LIMITS = {
    "embedding": 1e-4,
    "stride 4": 1e-4,
    "stride 8": 1e-4,
    "sparse": 1e-4,
    "dense": 1e-4,
    "object score": 2e-3,
    "mask logits": 2e-3,
    "IoU": 1e-4,
    "pixels": 1e-4,
}
_RELATIVE = ("embedding", "stride 4", "stride 8", "sparse", "dense")


def prompt_cases(height: int, width: int) -> dict[str, dict[str, Any]]:
    """Prompts on an image of that size, as arguments of both predictors; the mask prompt is made
    from an answer."""
    size = np.array([width, height], np.float32)
    box = np.array([[0.24, 0.21], [0.81, 0.88]], np.float32)
    corners = np.array([[i / 8, j / 3] for i in range(4) for j in range(2)], np.float32)
    boxes = np.stack([corners + 0.01, corners + np.array([0.45, 0.5], np.float32)], 1)
    one = {"point_coords": [[0.28, 0.31]] * size, "point_labels": np.array([1])}
    two = {"point_coords": [[0.28, 0.31], [0.62, 0.52]] * size, "point_labels": np.array([1, 0])}
    return {
        "1 click": one,
        "2 clicks": two,
        "box": {"box": (box * size).ravel()},
        "box + click": {"box": (box * size).ravel(), **one},
        "8 boxes": {"box": (boxes * size).reshape(-1, 4)},
    }


def compare(model: Model, theirs: Any, image: np.ndarray) -> Iterator[Error]:
    """Errors of `model` against the official model `theirs`, both with the same weights.

    Args:
      model: float32 compute.
      theirs: what `official.build_sam2` or `official_sam.build_sam` returns.
      image: uint8 RGB [h w 3].
    """
    sam1 = isinstance(model.config, SamConfig)
    reference = official_sam.Predictor(theirs) if sam1 else official.image_predictor(theirs)
    reference.set_image(image)
    ours = ImagePredictor(model)
    ours.set_image(image)
    yield from _compare_features(ours, reference)

    cases = prompt_cases(*image.shape[:2])
    _, iou, low = reference.predict(**cases["1 click"], multimask_output=True)
    cases["mask"] = {"mask_input": low[np.argmax(iou)][None]}
    for name, prompt in cases.items():
        yield from _compare_prompt(name, prompt, ours, reference, image.shape[:2])


def _compare_features(ours: ImagePredictor, reference: Any) -> Iterator[Error]:
    # The states of both predictors: what every later prompt is answered from.
    features = ours._require_image()
    yield _error("embedding", "", ours.get_image_embedding(), reference.get_image_embedding())
    if not features.high_res:
        return
    maps = zip(features.high_res, reference._features["high_res_feats"], strict=True)
    for stride, (mine, official_map) in zip((4, 8), maps, strict=True):
        yield _error(f"stride {stride}", "", np.asarray(mine).transpose(0, 3, 1, 2), official_map)


def _compare_prompt(
    name: str, prompt: dict[str, Any], ours: ImagePredictor, reference: Any, hw: tuple[int, int]
) -> Iterator[Error]:
    config = ours.model.config
    arrays = check_prompts(
        *(prompt.get(key) for key in ("point_coords", "point_labels", "box", "mask_input")),
        canvas=Canvas(*hw, config.image_size, config.keep_aspect),
        normalize_coords=True,
        config=config,
    )
    n = len(arrays.points)
    prompts = pad_prompts([arrays], config.mask_size)
    tokens = jax.jit(functional.encode_prompts)(ours.model, prompts)
    masks = jax.jit(functional.decode_masks)(ours.model, ours._require_image(), tokens)

    for multimask in (False, True):
        case = f"{name}, {'3 masks' if multimask else '1 mask'}"
        with _listen(reference.model) as heard:
            expected = reference.predict(**prompt, multimask_output=multimask, return_logits=True)
        found = ours.predict(**prompt, multimask_output=multimask, return_logits=True)
        if not multimask:  # these do not depend on the number of masks
            sparse, dense = heard["prompt_encoder"]
            valid = np.asarray(tokens.valid)[:n]
            mine = np.asarray(tokens.sparse)[:n][valid].reshape(n, -1, config.dim)
            if isinstance(config, SamConfig) and "box" in prompt:
                mine = np.roll(mine, -2, axis=1)  # corners come last there
            yield _error("sparse", name, mine, sparse)
            mine = np.broadcast_to(np.asarray(tokens.dense).transpose(0, 3, 1, 2)[:n], dense.shape)
            yield _error("dense", name, mine, dense)
            if config.decoder.object_score:
                score = heard["mask_decoder"][3][:, 0]
                yield _error("object score", name, masks.object_logit[:n], score)
        yield _error("mask logits", case, found[0], expected[0])
        yield _error("IoU", case, found[1], expected[1])
        other_side = (found[0] > 0) != (expected[0] > 0)
        yield Error("pixels", case, float(other_side.mean()))


@contextlib.contextmanager
def _listen(model: Any) -> Generator[dict[str, Any]]:
    """What the official prompt encoder and decoder return while the block runs."""
    heard: dict[str, Any] = {}

    def hook(name: str) -> Any:
        def keep(_: Any, __: Any, output: Any) -> None:
            heard[name] = output

        part = getattr(model, f"sam_{name}", None) or getattr(model, name)  # SAM 2, or SAM 1
        return part.register_forward_hook(keep)

    hooks = [hook(name) for name in ("prompt_encoder", "mask_decoder")]
    try:
        yield heard
    finally:
        for handle in hooks:
            handle.remove()


def _error(stage: str, case: str, ours: Any, theirs: Any) -> Error:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        raise ValueError(f"{stage} {case}: shape {ours.shape}, official {theirs.shape}")
    if not theirs.size:  # a lone mask prompt has no tokens
        return Error(stage, case, 0.0)
    largest = float(np.abs(ours - theirs).max())
    return Error(
        stage, case, largest / float(np.abs(theirs).max()) if stage in _RELATIVE else largest
    )


def random_pair(config: Config, *, seed: int = 0) -> tuple[Model, Any]:
    """Our model and the official one with the same random weights (`official.perturb`)."""
    theirs = official.perturb(_build(config, seed), seed=seed)
    module = build(config)
    params = merge(abstract_params(module), from_official(official.state_dict(theirs)))
    return Model(jax.tree.map(jax.numpy.asarray, params), module), theirs


def checkpoint_pair(checkpoint: str) -> tuple[Model, Any]:
    """Our model and the official one with the weights of a file or a released model.

    An official .pt is read by torch.load, so that our reader and names are checked as well.
    """
    model = load(checkpoint, dtype=jax.numpy.float32)
    theirs = _build(model.config, 0)
    if Path(checkpoint).suffix in (".pt", ".pth"):
        import torch

        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        theirs.load_state_dict(state["model"] if isinstance(model.config, Sam2Config) else state)
    else:
        official.load_state_dict(theirs, to_official(flatten(model.params), model.config))
    return model, theirs


def _build(config: Config, seed: int) -> Any:
    if isinstance(config, SamConfig):
        return official_sam.build_sam(config, seed=seed)
    return official.build_sam2(config, seed=seed)


def markdown(errors: Sequence[Error]) -> str:
    """A table of the image's features, and one of the prompts with the worst of each stage."""
    features = [e for e in errors if not e.case]
    values = [f"{e.value:.1e}" for e in features]
    lines = _rows([e.stage for e in features], [values])
    found = {(e.stage, e.case): e.value for e in errors}
    compared = {e.stage for e in errors if e.case}
    stages = [stage for stage in LIMITS if stage in compared]
    rows = []
    for case in dict.fromkeys(e.case for e in errors if e.stage == "pixels"):
        name = case.partition(",")[0]  # some stages are the same for one mask and for three
        rows.append((case, [found.get((s, case), found.get((s, name))) for s in stages]))
    rows.append(("worst", [max(column) for column in zip(*(row for _, row in rows), strict=True)]))
    table = [[case, *(f"{value:.1e}" for value in row)] for case, row in rows]
    return "\n".join([*lines, "", *_rows(["prompt", *stages], table)])


def _rows(header: list[str], rows: list[list[str]]) -> list[str]:
    table = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(row) + " |" for row in table]


def show(errors: Sequence[Error]) -> None:
    """The same on the terminal, one line per error, with its limit."""
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "prompt", "largest error", "limit", "")
    for e in errors:
        style = None if e.accepted else "bold red"
        verdict = "" if e.accepted else "too large"
        table.add_row(
            e.stage, e.case, f"{e.value:.1e}", f"{LIMITS[e.stage]:.0e}", verdict, style=style
        )
    Console().print(table)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to verify."""

    # File, Hugging Face folder or model name.
    checkpoint: Annotated[
        str | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="CHECKPOINT", help_behavior_hint=""),
    ] = None
    # Instead of a checkpoint: the official initialiser's weights for this model, perturbed.
    random: Annotated[str | None, tyro.conf.arg(metavar="MODEL", help_behavior_hint="")] = None
    # A photo.
    image: Annotated[
        Path, tyro.conf.arg(help_behavior_hint=f"(default: {_PHOTO.relative_to(_ROOT)})")
    ] = _PHOTO
    # Print the tables of docs/parity.md.
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if every error is below its limit."""
    arguments = tyro.cli(
        Arguments, prog="python -m convert.verify", description=__doc__ + "\n" + _EPILOG, args=argv
    )
    try:
        if (arguments.checkpoint is None) == (arguments.random is None):
            raise ValueError("give a checkpoint, or --random MODEL")
        official.require()
        image = read_image(arguments.image)
        jax.config.update("jax_default_matmul_precision", "highest")
        if arguments.checkpoint is not None:
            pair = checkpoint_pair(arguments.checkpoint)
        else:
            pair = random_pair(preset(arguments.random or ""))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    errors = list(compare(*pair, image))
    height, width = image.shape[:2]
    title = f"{pair[0].config.name}, {arguments.image.name} {width} x {height}"
    if arguments.markdown:
        print(f"### {title}\n\n{markdown(errors)}\n")
    else:
        print(title)
        show(errors)
    return 0 if all(e.accepted for e in errors) else 1


if __name__ == "__main__":
    sys.exit(main())
