"""The button Everything: `AutomaticMaskGenerator` on the open picture, in steps that others pass.

The answer is lines of JSON, each when it is known: `{"done", "total"}` for each step, at the end
`{"found", "notes"}`, or `{"error", "status"}`.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from sam_jax.demo.bodies import MOST_OBJECTS, Body, Share
from sam_jax.demo.current import CurrentDemo, CurrentSession, Demo
from sam_jax.demo.masks import runs, shrunk
from sam_jax.demo.pictures import Picture, opened
from sam_jax.demo.refusal import Refusal
from sam_jax.demo.search import Search
from sam_jax.demo.sessions import Session
from sam_jax.ops import rle

router = APIRouter()
_SLOT = "everything"


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
async def look(body: Look, session: CurrentSession, demo: CurrentDemo) -> StreamingResponse:
    """What is in the picture, the best first; at most 300 things. Hanging up stops it.

    `mask` is for drawing, `rle` is the whole mask, COCO's compressed code, for exports.
    """
    picture = opened(session, body.picture)
    search = Search(demo.model, picture.read, body.model_dump(exclude={"picture"}))
    session.put(_SLOT, None)  # what this tab was looking for takes no room any more
    demo.sessions.make_room(session, memory=search.nbytes)
    session.put(_SLOT, search)
    lines = _lines(demo, session, picture, search)
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def _lines(
    demo: Demo, session: Session, picture: Picture, search: Search
) -> AsyncGenerator[str]:
    try:
        while (progress := await demo.worker.run(session, search.step)) is not None:
            demo.sessions.find(session.id)  # it is in use
            demo.sessions.make_room(session)  # many crops hold more than was promised
            opened(session, picture.key)
            yield _line({"done": progress.done, "total": progress.total})
        async with demo.decoding:
            yield _line(await asyncio.to_thread(_found, search, picture.shown))
    except (Refusal, ValueError) as problem:
        status = problem.status_code if isinstance(problem, Refusal) else 400
        yield _line({"error": str(problem), "status": status})
    finally:
        if session.slots.get(_SLOT) is search:
            session.slots.pop(_SLOT)


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content) + "\n"


def _found(search: Search, size: tuple[int, int]) -> dict[str, Any]:
    """Masks at a size to be shown; what does not need the model."""
    records, notes = search.generator.records(search.candidates), search.notes
    dropped = len(records) - MOST_OBJECTS
    if dropped > 0:
        notes = [*notes, f"{dropped} more were found and left out"]
    found = []
    for record in records[:MOST_OBJECTS]:
        mask = rle.decode(record["segmentation"])
        found.append(
            {
                "mask": runs(shrunk(np.asarray(mask, bool), size)),
                "rle": record["segmentation"]["counts"],
                "iou": round(float(record["predicted_iou"]), 4),
                "stability": round(float(record["stability_score"]), 4),
            }
        )
    return {"found": found, "notes": notes}
