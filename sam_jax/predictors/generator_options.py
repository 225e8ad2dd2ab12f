"""What can be set of `AutomaticMaskGenerator`, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sam_jax.config import Config, SamConfig
from sam_jax.predictors.crops import point_grid

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
_MOST_LAYERS = 5  # 1365 crops
_MOST_POINTS_PER_SIDE = 1024  # a million clicks; a model's masks have 256 pixels a side
_MOST_POINTS_PER_BATCH = 16384
_MOST_CANDIDATES = 65536


@dataclass(frozen=True)
class GeneratorOptions:
    """The arguments of `AutomaticMaskGenerator`, which explains them.

    Raises:
      ValueError: a value that means nothing; the message names it.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float | int | None = None
    stability_score_thresh: float | int = 0.95
    stability_score_offset: float | int = 1.0
    mask_threshold: float | int = 0.0
    box_nms_thresh: float | int = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float | int = 0.7
    crop_overlap_ratio: float | int = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[Any] | None = None
    min_mask_region_area: int = 0
    output_mode: str = "binary_mask"
    use_m2m: bool = False
    multimask_output: bool = True
    max_candidates: int = 2048

    def __post_init__(self) -> None:
        for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh"):
            self._check_share(name)
        self._check_share("crop_nms_thresh")
        self._check_share("crop_overlap_ratio")
        self._check_whole("points_per_batch", 1, _MOST_POINTS_PER_BATCH)
        self._check_whole("crop_n_layers", 0)
        self._check_whole("crop_n_points_downscale_factor", 1)
        self._check_whole("min_mask_region_area", 0)
        self._check_whole("max_candidates", 1, _MOST_CANDIDATES)
        if self.crop_overlap_ratio == 1:
            raise ValueError("crop_overlap_ratio must be below 1, or all crops are the picture")
        if self.crop_n_layers > _MOST_LAYERS:
            raise ValueError(
                f"crop_n_layers must be at most {_MOST_LAYERS}, got {self.crop_n_layers}: that is"
                f" {4**self.crop_n_layers} crops in the last layer alone"
            )
        if not np.isfinite(self.mask_threshold):
            raise ValueError(f"mask_threshold must be a finite logit, got {self.mask_threshold}")
        if not (np.isfinite(self.stability_score_offset) and self.stability_score_offset >= 0):
            raise ValueError(
                f"stability_score_offset must be a logit from 0 on, got"
                f" {self.stability_score_offset}"
            )
        if self.output_mode not in OUTPUT_MODES:
            raise ValueError(
                f"output_mode must be one of {', '.join(OUTPUT_MODES)}, got {self.output_mode!r}"
            )
        if (self.points_per_side is None) == (self.point_grids is None):
            given = "neither" if self.point_grids is None else "both"
            raise ValueError(
                f"give points_per_side or point_grids, got {given}"
                " (with point_grids, say points_per_side=None)"
            )
        self.grids()

    def _check_share(self, name: str) -> None:
        value = getattr(self, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in 0..1, got {value}")

    def _check_whole(self, name: str, least: int, most: int | None = None) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number from {least} on, got {value}")
        if most is not None and value > most:
            raise ValueError(f"{name} must be at most {most}, got {value}: memory grows with it")

    def grids(self) -> list[Float[np.ndarray, "_ 2"]]:
        """For each layer of crops the points, xy in 0..1."""
        layers = self.crop_n_layers + 1
        if self.point_grids is not None:
            return _checked_grids(self.point_grids, layers)
        self._check_whole("points_per_side", 1, _MOST_POINTS_PER_SIDE)
        assert self.points_per_side is not None
        factor = self.crop_n_points_downscale_factor
        sides = [int(self.points_per_side / factor**layer) for layer in range(layers)]
        if sides[-1] == 0:
            raise ValueError(
                f"no points are left in layer {sides.index(0)} of the crops: points_per_side is"
                f" {self.points_per_side}, crop_n_points_downscale_factor {factor}"
            )
        return [point_grid(side) for side in sides]

    def iou_limit(self, config: Config) -> float | int:
        """`pred_iou_thresh`, by default what the official generator of the family has."""
        if self.pred_iou_thresh is not None:
            return self.pred_iou_thresh
        return 0.88 if isinstance(config, SamConfig) else 0.8


def _checked_grids(grids: Sequence[Any], layers: int) -> list[np.ndarray]:
    if len(grids) < layers:
        raise ValueError(
            f"point_grids has {len(grids)} grids for {layers} layers (the picture and"
            f" crop_n_layers={layers - 1}): one for each"
        )
    checked = []
    for layer, grid in enumerate(grids[:layers]):
        points = np.asarray(grid, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
            raise ValueError(f"point_grids[{layer}] must be xy [p 2], got shape {points.shape}")
        if not ((points >= 0) & (points <= 1)).all():
            raise ValueError(f"point_grids[{layer}] must lie in 0..1, fractions of the picture")
        checked.append(points)
    return checked
