"""`python -m convert.verify_everything`: our automatic mask generator beside the official one.

Both have the same weights and look at the same photos, float32 on CPU. Every official record is
matched with one of ours, by the overlap of their masks. Needs the Python of `make oracle`.
tests/oracle/test_everything_parity.py asserts the limits.
"""

import dataclasses
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage, optimize

from convert.verify import checkpoint_pair
from sam_jax.io.images import read_image
from sam_jax.predictors.everything import AutomaticMaskGenerator
from sam_jax.types import Model

_MEDIA = Path(__file__).resolve().parent.parent / "docs" / "media"
SAME_MASK = 0.99  # IoU of masks that count as equal
SAME_SHARE = 0.99  # of the records must have an equal
_TIE = 1e-5  # of predicted IoU
_LARGE = 1000  # pixels
SAME_SCORE = 1e-3  # largest difference of predicted IoU and stability

# Arguments of both generators. The shipped weights are timid on photos: their predicted IoUs and
# logits are low, so that the official limits would leave nothing to compare.
_LOW = {
    "points_per_side": 16,
    "pred_iou_thresh": 0.2,
    "stability_score_thresh": 0.7,
    "stability_score_offset": 0.1,
}
CASES: dict[str, dict[str, Any]] = {
    "16 x 16 points": _LOW,
    "32 x 32 points": {**_LOW, "points_per_side": 32},
    "no limits": {**_LOW, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
    "1 mask a point": {**_LOW, "multimask_output": False},
    "refined (m2m)": {**_LOW, "use_m2m": True},
    "1 layer of crops": {**_LOW, "crop_n_layers": 1},
    "2 layers of crops, fewer points": {
        **_LOW,
        "crop_n_layers": 2,
        "crop_n_points_downscale_factor": 2,
        "crop_overlap_ratio": 0.2,
        "crop_nms_thresh": 0.5,
    },
    "refined, 1 layer of crops": {**_LOW, "use_m2m": True, "crop_n_layers": 1},
    "other thresholds": {**_LOW, "mask_threshold": -0.3, "box_nms_thresh": 0.4},
    "given points": {
        **_LOW,
        "points_per_side": None,
        "point_grids": [np.random.default_rng(0).random((100, 2))],
    },
    "small regions": {**_LOW, "min_mask_region_area": 12},
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far our records of a photo are from the official ones.

    Attributes:
      theirs, ours: numbers of records.
      same: fraction of all records, of both sides, that have an equal on the other.
      iou, box: largest difference among equal records; the box in pixels.
      stability: likewise, of records whose mask has 1000 pixels and more: of a small one a single
        pixel that falls on the other side of a threshold moves the score by more than the limit.
      in_order: the equal records come in the same order, but for neighbours of one score.
    """

    case: str
    photo: str
    theirs: int
    ours: int
    same: float
    iou: float
    stability: float
    box: float
    in_order: bool

    @property
    def accepted(self) -> bool:
        scores = max(self.iou, self.stability) <= SAME_SCORE
        return self.same >= SAME_SHARE and scores and self.in_order


def compare(
    model: Model,
    theirs: Any,
    photo: np.ndarray,
    arguments: dict[str, Any],
    *,
    case: str = "",
    name: str = "",
) -> Comparison:
    """Both generators with the same arguments on one photo, uint8 RGB [h w 3].

    Args:
      theirs: as for `convert.verify.compare`.
      case, name: of the arguments and the photo, for the table.
    """
    expected = generator(theirs, **arguments).generate(photo)
    found = AutomaticMaskGenerator(model, **arguments).generate(photo)
    overlap = _overlap(_masks(found, photo), _masks(expected, photo))
    rows, columns = optimize.linear_sum_assignment(overlap, maximize=True)
    equal = overlap[rows, columns] >= SAME_MASK
    pairs = [(found[i], expected[j]) for i, j in zip(rows[equal], columns[equal], strict=True)]

    def largest(key: str) -> float:
        return max((float(np.abs(np.subtract(a[key], b[key])).max()) for a, b in pairs), default=0)

    return Comparison(
        case,
        name,
        len(expected),
        len(found),
        2 * len(pairs) / max(len(expected) + len(found), 1),
        largest("predicted_iou"),
        _largest_stability(pairs),
        largest("bbox"),
        _in_order(columns[equal], [pair[1]["predicted_iou"] for pair in pairs]),
    )


def _in_order(places: np.ndarray, scores: Sequence[float]) -> bool:
    """Whether places rise, but where two scores are the same up to rounding: both sort by them."""
    tied = np.abs(np.diff(scores)) <= _TIE
    return bool(((np.diff(places) > 0) | tied).all())


def _largest_stability(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> float:
    key = "stability_score"
    large = [(a, b) for a, b in pairs if b["area"] >= _LARGE]
    return max((abs(a[key] - b[key]) for a, b in large), default=0)


def _masks(records: Sequence[dict[str, Any]], photo: np.ndarray) -> Bool[np.ndarray, "n pixels"]:
    shape = (len(records), photo.shape[0] * photo.shape[1])
    return np.array([record["segmentation"] for record in records], bool).reshape(shape)


def _overlap(
    ours: Bool[np.ndarray, "n pixels"], theirs: Bool[np.ndarray, "m pixels"]
) -> Float[np.ndarray, "n m"]:
    """IoU of every pair; 1 for two empty masks."""
    shared = ours.astype(np.float32) @ theirs.astype(np.float32).T
    union = ours.sum(1)[:, None] + theirs.sum(1) - shared
    return np.where(union > 0, shared / np.maximum(union, 1), 1)


def generator(theirs: Any, **arguments: Any) -> Any:
    """The official generator of the model's family, made to accept input sizes other than 1024.

    Their removal of small regions is given connected components: SAM 2 has them on GPUs only, SAM 1
    in OpenCV.
    """
    if type(theirs).__module__.startswith("segment_anything."):
        if "cv2" not in sys.modules and importlib.util.find_spec("cv2") is None:
            sys.modules["cv2"] = _OpenCv("cv2")
        module = importlib.import_module("segment_anything.automatic_mask_generator")
        return module.SamAutomaticMaskGenerator(theirs, **arguments)
    module = importlib.import_module("sam2.automatic_mask_generator")
    misc: Any = importlib.import_module("sam2.utils.misc")
    misc.get_connected_components = _components
    with warnings.catch_warnings():  # it calls torch.jit.script, which torch deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        made = module.SAM2AutomaticMaskGenerator(theirs, **arguments)
    sides = [theirs.image_size // stride for stride in (4, 8, 16)]
    made.predictor._bb_feat_sizes = [(side, side) for side in sides]
    return made


class _OpenCv(types.ModuleType):
    """What SAM 1 uses of it, from scipy."""

    @staticmethod
    def connectedComponentsWithStats(mask: np.ndarray, _: int) -> tuple[Any, ...]:
        labels, count = ndimage.label(mask, np.ones((3, 3), int))
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        return count + 1, labels, areas[:, None], None


def _components(masks: Any) -> tuple[Any, Any]:
    """Labels and areas of 8-connected components, as sam2/csrc/connected_components.cu has them."""
    import torch

    labels, areas = np.zeros(masks.shape, np.int32), np.zeros(masks.shape, np.int32)
    for place, mask in enumerate(masks[:, 0].numpy()):
        labels[place, 0], _ = ndimage.label(mask, np.ones((3, 3), int))
        sizes = np.bincount(labels[place, 0].ravel())
        areas[place, 0] = np.where(mask, sizes[labels[place, 0]], 0)
    return torch.from_numpy(labels), torch.from_numpy(areas)


_HEADER = [
    "case", "photo", "official records", "ours", "equal", "predicted IoU", "stability",
    "box, pixels",
]  # fmt: skip


def cells(found: Comparison) -> list[str]:
    numbers = [f"{found.iou:.1e}", f"{found.stability:.1e}", f"{found.box:g}"]
    return [
        found.case,
        found.photo,
        str(found.theirs),
        str(found.ours),
        f"{100 * found.same:.1f} %",
        *numbers,
    ]


def shrunk(photo: np.ndarray, longest: int) -> np.ndarray:
    """A photo that is at most so long: the official generator takes minutes for a large one."""
    scale = longest / max(photo.shape)
    if scale >= 1:
        return photo
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return np.array(Image.fromarray(photo).resize(size))


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare the records of both automatic mask generators."""

    photos: tuple[Path, ...] = (_MEDIA / "coffee.jpg", _MEDIA / "chelsea.jpg")
    model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = "sam2.1-hiera-nano"
    longest: int = 800
    """Photos are shrunk to at most so many pixels."""
    cases: tuple[str, ...] = tuple(CASES)


def main() -> int:
    options = tyro.cli(Options, prog="python -m convert.verify_everything", description=__doc__)
    jax.config.update("jax_default_matmul_precision", "highest")
    pair = checkpoint_pair(options.model)
    accepted = True
    print("| " + " | ".join(_HEADER) + " |\n" + "|" + " --- |" * len(_HEADER), flush=True)
    for path in options.photos:
        photo = shrunk(read_image(path), options.longest)
        for case in options.cases:
            found = compare(*pair, photo, CASES[case], case=case, name=path.name)
            print("| " + " | ".join(cells(found)) + " |", flush=True)
            accepted &= found.accepted
    return 0 if accepted else 1


if __name__ == "__main__":
    raise SystemExit(main())
