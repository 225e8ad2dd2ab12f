"""The automatic mask generator people know: a picture in, a list of records out.

Upstream: sam2/automatic_mask_generator.py, SAM2AutomaticMaskGenerator, and
segment_anything/automatic_mask_generator.py, SamAutomaticMaskGenerator. Same arguments, defaults
and records. Deliberate differences: arguments are checked, small regions are removed on every
device, several pictures can be given at once, and memory is bounded by `max_candidates`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool

from sam_jax.config import SamConfig
from sam_jax.io.images import as_rgb
from sam_jax.predictors.duplicates import without_duplicates
from sam_jax.predictors.generator_options import GeneratorOptions
from sam_jax.predictors.records import (
    Candidate,
    Record,
    box_of,
    record_of,
    without_small_regions,
)
from sam_jax.predictors.search import search
from sam_jax.types import Model


class AutomaticMaskGenerator:
    """Finds the masks of everything in a picture.

        generator = AutomaticMaskGenerator(sam_jax.load("sam2.1-hiera-tiny"))
        for record in generator.generate(photo):                 # uint8 RGB [h w 3], or PIL
            record["segmentation"], record["predicted_iou"]

    Args:
      model: what `sam_jax.load` returns.
      points_per_side: the picture is clicked on a grid of so many rows and columns. None: on
        `point_grids`.
      points_per_batch: clicks answered at once: memory, not results, depends on it.
      pred_iou_thresh: masks with a predicted IoU up to this are dropped; 0 keeps all. None: 0.88
        for SAM 1, 0.8 for SAM 2, as upstream.
      stability_score_thresh: masks that are less stable are dropped: their area with the threshold
        moved up, by their area with it moved down; 0 keeps all.
      stability_score_offset: how far, in logits, it is moved for that.
      mask_threshold: logit above which a pixel belongs to a mask.
      box_nms_thresh: of two masks whose boxes have a larger IoU, the one predicted better stays.
      crop_n_layers: look again at 4 parts of the picture, at 16, ...: so many times.
      crop_nms_thresh: likewise for masks of different crops; those of smaller crops stay.
      crop_overlap_ratio: how far the 4 parts overlap, as a fraction of the picture's shorter side.
      crop_n_points_downscale_factor: each layer's grid has so many times fewer rows and columns.
      point_grids: in place of `points_per_side`, xy [p 2] in 0..1 of the crop for each layer.
      min_mask_region_area: holes and islands below this are removed. SAM 1: pixels of the picture,
        and duplicates that arise are removed. SAM 2: up to this many pixels of the low-resolution
        mask, before masks are measured; upstream does so on GPUs only.
      output_mode: of `segmentation`: "binary_mask", "uncompressed_rle" or "coco_rle".
      use_m2m: each mask is given back to the model with its click, once, and replaced.
      multimask_output: three masks for each click, or one.
      max_candidates: memory for so many masks of a picture (256 KB each at 1024) before duplicates
        are removed. Of more the best are kept, and a warning says how many were dropped.

    Raises:
      ValueError: an argument that means nothing; the message names it.
    """

    def __init__(
        self,
        model: Model,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        *,
        pred_iou_thresh: float | int | None = None,
        stability_score_thresh: float | int = 0.95,
        stability_score_offset: float | int = 1.0,
        mask_threshold: float | int = 0.0,
        box_nms_thresh: float | int = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float | int = 0.7,
        crop_overlap_ratio: float | int = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[Any] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        max_candidates: int = 2048,
        mesh: Mesh | None = None,
    ) -> None:
        self.model = model
        self.mesh = mesh
        self.options = GeneratorOptions(
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            mask_threshold=mask_threshold,
            box_nms_thresh=box_nms_thresh,
            crop_n_layers=crop_n_layers,
            crop_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            point_grids=point_grids,
            min_mask_region_area=min_mask_region_area,
            output_mode=output_mode,
            use_m2m=use_m2m,
            multimask_output=multimask_output,
            max_candidates=max_candidates,
        )

    def generate(self, image: Any) -> list[Record]:
        """The masks of one picture: uint8 RGB [h w 3], or PIL.

        Returns:
          A dict for each mask, best first: `segmentation` as `output_mode` says (bool [h w], or
          run-length codes), `area` in pixels, `bbox` and `crop_box` XYWH, `predicted_iou`,
          `stability_score`, and `point_coords` [[x, y]], all in pixels of the picture.

        Raises:
          ValueError: not such a picture.
        """
        (records,) = self.generate_batch([image])
        return records

    def generate_batch(self, images: Sequence[Any]) -> list[list[Record]]:
        """`generate` for each of several pictures, of any sizes, in one program."""
        pictures = [as_rgb(image) for image in images]
        return [
            self.records(candidates)
            for candidates in search(self.model, pictures, self.options, self.mesh)
        ]

    def records(self, candidates: list[Candidate]) -> list[Record]:
        """Of one picture, from what `predictors.search.search` found in each of its crops.

        The part of `generate` for which a device is not needed.
        """
        options, config = self.options, self.model.config
        if options.crop_n_layers and candidates:
            areas = np.array([np.prod(found.crop.size) for found in candidates])
            boxes = np.array([found.box for found in candidates])
            kept = without_duplicates(boxes, areas, options.crop_nms_thresh)
            candidates = [candidates[i] for i in kept]
        pairs = ((found, found.mask(config, options.mask_threshold)) for found in candidates)
        if options.min_mask_region_area and isinstance(config, SamConfig):
            overlap = max(options.box_nms_thresh, options.crop_nms_thresh)
            pairs = _cleaned(list(pairs), options.min_mask_region_area, overlap)
        return [record_of(found, mask, options.output_mode) for found, mask in pairs]


def _cleaned(
    pairs: Sequence[tuple[Candidate, Bool[np.ndarray, "h w"]]], area: int, overlap: float | int
) -> list[tuple[Candidate, Bool[np.ndarray, "h w"]]]:
    """SAM 1: without small regions, and without the duplicates that arise; unchanged ones first.

    Upstream: SamAutomaticMaskGenerator.postprocess_small_regions.
    """
    masks, changed = [], []
    for _, mask in pairs:
        clean, different = without_small_regions(mask, area)
        masks.append(clean)
        changed.append(different)
    boxes = np.array([box_of(mask) for mask in masks]).reshape(-1, 4)
    kept = without_duplicates(boxes, np.array(changed), overlap)
    return [(pairs[i][0], masks[i]) for i in kept]
