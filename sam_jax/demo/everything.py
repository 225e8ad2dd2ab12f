"""The button Everything: `AutomaticMaskGenerator` on the open picture."""

import asyncio
import warnings
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from pydantic import Field

from sam_jax.demo.bodies import MOST_OBJECTS, Body, Share
from sam_jax.demo.current import CurrentDemo, CurrentSession
from sam_jax.demo.masks import runs, shrunk
from sam_jax.demo.pictures import Picture, opened
from sam_jax.ops import rle
from sam_jax.predictors.everything import AutomaticMaskGenerator
from sam_jax.predictors.records import Record
from sam_jax.types import Model

router = APIRouter()


class Look(Body):
    """The generator's main options; the page shows its defaults."""

    picture: Annotated[str, Field(max_length=32)]
    points_per_side: Annotated[int, Field(ge=1, le=64)] = 32
    pred_iou_thresh: Share | None = None
    stability_score_thresh: Share = 0.95
    box_nms_thresh: Share = 0.7
    crop_n_layers: Annotated[int, Field(ge=0, le=2)] = 0
    min_mask_region_area: Annotated[int, Field(ge=0, le=100_000)] = 0


@router.post("/api/picture/everything")
async def look(body: Look, session: CurrentSession, demo: CurrentDemo) -> dict[str, Any]:
    """What is in the picture, the best first; at most 300 things.

    `mask` is for drawing, `rle` is the whole mask, COCO's compressed code, for exports.
    """
    picture = opened(session, body.picture)
    records, notes = await demo.worker.run(session, _generate, demo.model, picture, body)
    dropped = len(records) - MOST_OBJECTS
    if dropped > 0:
        notes.append(f"{dropped} more were found and left out")
    found = await asyncio.to_thread(_shown, records[:MOST_OBJECTS], picture.shown)
    return {"found": found, "notes": notes}


def _generate(model: Model, picture: Picture, body: Look) -> tuple[list[Record], list[str]]:
    options = body.model_dump(exclude={"picture"})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        generator = AutomaticMaskGenerator(model, **options, output_mode="coco_rle")
        records = generator.generate(picture.read())
    return records, [str(warning.message) for warning in caught]


def _shown(records: list[Record], size: tuple[int, int]) -> list[dict[str, Any]]:
    found = []
    for record in records:
        mask = rle.decode(record["segmentation"])
        found.append(
            {
                "mask": runs(shrunk(np.asarray(mask, bool), size)),
                "rle": record["segmentation"]["counts"],
                "iou": round(float(record["predicted_iou"]), 4),
                "stability": round(float(record["stability_score"]), 4),
            }
        )
    return found
