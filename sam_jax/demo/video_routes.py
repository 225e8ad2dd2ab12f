"""Routes of the page's video tab: open, frames, prompts, tracking, files."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, Response
from pydantic import ValidationError

from sam_jax.demo.current import CurrentDemo, CurrentSession, Demo, accept
from sam_jax.demo.masks import SHOWN_MASK, display_size, runs, shrunk
from sam_jax.demo.pictures import SampleIndex
from sam_jax.demo.refusal import Refusal
from sam_jax.demo.sending import download, file_name, jpeg
from sam_jax.demo.sessions import Session
from sam_jax.demo.uploads import receive, shown_name
from sam_jax.demo.video import Step, TrackedVideo
from sam_jax.demo.video_bodies import Export, ExportKind, RemoveObject, Track, VideoPrompt
from sam_jax.demo.video_export import write_coco, write_overlay, write_pngs
from sam_jax.demo.video_slot import OpenVideo, opened_video, require_idle
from sam_jax.demo.video_things import Found
from sam_jax.demo.video_upload import open_upload
from sam_jax.ops import rle

router = APIRouter()

_ENDINGS: dict[ExportKind, str] = {
    "overlay": "_overlay.mp4",
    "masks": "_masks.zip",
    "coco": ".json",
}


@router.post("/api/video/upload")
async def upload(request: Request, session: CurrentSession, demo: CurrentDemo) -> dict[str, Any]:
    """Opens an uploaded file, in place of the video that was open."""
    require_idle(session)
    path = await receive(request, demo, session)
    return await _open(session, demo, path, shown_name(request), is_upload=True)


@router.post("/api/video/sample")
async def open_sample(
    body: SampleIndex, session: CurrentSession, demo: CurrentDemo
) -> dict[str, Any]:
    """Opens a sample, in place of the video that was open."""
    require_idle(session)
    chosen = demo.settings.sample(body.sample, "video")
    return await _open(session, demo, chosen.path, chosen.name, is_upload=False)


async def _open(
    session: Session, demo: Demo, path: Path, name: str, *, is_upload: bool
) -> dict[str, Any]:
    try:
        video = await asyncio.to_thread(open_upload, path, name)
        work = TrackedVideo(demo.model, video, demo.features.text_encoder)
    except (ValueError, OSError) as error:
        if is_upload:
            path.unlink(missing_ok=True)
        raise Refusal(415, str(error).replace(str(path), name)) from error  # OSError says it
    opened = OpenVideo(work, name, path if is_upload else None)
    try:
        demo.sessions.make_room(session, memory=opened.nbytes)
    except Refusal:
        opened.close()
        raise
    session.put("video", opened)
    height, width = work.size
    shown = display_size(height, width)
    return {
        "name": name,
        "frames": work.num_frames,
        "fps": video.fps,
        "size": [height, width],
        "shown": shown,
    }


@router.get("/api/video/frame/{number}")
async def frame(number: int, session: CurrentSession, demo: CurrentDemo) -> Response:
    """A frame as JPEG, at the size at which the page shows it."""
    work = opened_video(session).work
    if not 0 <= number < work.num_frames:
        raise Refusal(404, f"there is no frame {number}: the video has {work.num_frames}")
    async with demo.decoding:
        data = await asyncio.to_thread(lambda: jpeg(work.video[number], SHOWN_MASK))
    return Response(data, media_type="image/jpeg")


@router.post("/api/video/prompt")
async def prompt(body: VideoPrompt, session: CurrentSession, demo: CurrentDemo) -> dict[str, Any]:
    """Asks about an object on a frame, in place of what was asked there before."""
    video = opened_video(session)
    async with video.turn():
        asked = body.asked(display_size(*video.work.size))
        found = await demo.worker.run(session, video.work.prompt, body.frame, body.object, asked)
        thing = video.work.things.get(body.object)
        return {
            "found": found and _shown(video.work, found),
            "version": thing.version if thing else 0,
        }


@router.post("/api/video/remove")
async def remove(body: RemoveObject, session: CurrentSession, demo: CurrentDemo) -> dict[str, Any]:
    """Forgets an object."""
    video = opened_video(session)
    async with video.turn():
        await demo.worker.run(session, video.work.remove, body.object)
        return {}


def _shown(work: TrackedVideo, found: Found) -> dict[str, Any]:
    mask = shrunk(rle.decode(found.code), display_size(*work.size))
    return {
        "mask": runs(mask),
        "iou": round(found.iou, 4),
        "object_logit": round(found.object_logit, 4),
        "version": found.version,
    }


@router.websocket("/api/video/track")
async def track(websocket: WebSocket) -> None:
    """Tracks; masks are sent as they are found.

    Takes, after the greeting, one `Track`; anything more stops the tracking, as does hanging up.
    Sends `{ready: true}`, then `{frame, found: {object: ...}, done, total}` for each frame, then
    `{ended: "finished" or "stopped"}`, or `{error}`.
    """
    session = await accept(websocket)
    if session is None:
        return
    demo: Demo = websocket.app.state.demo
    with suppress(WebSocketDisconnect, RuntimeError):  # the latter of what is sent after hanging up
        await websocket.send_json({"ready": True})
        try:
            message = await websocket.receive()
            request = Track.model_validate_json(message.get("text") or "")
            video = opened_video(session)
            async with video.turn("the tracking"):
                ended = await _track(websocket, demo, session, video, request)
            await websocket.send_json({"ended": ended})
        except ValidationError:
            await websocket.send_json({"error": "the request for tracking is malformed"})
        except (Refusal, ValueError, OSError) as error:
            await websocket.send_json({"error": str(error)})
        await websocket.close()


async def _track(
    websocket: WebSocket, demo: Demo, session: Session, video: OpenVideo, request: Track
) -> str:
    work = video.work
    demo.sessions.make_room(session, memory=work.growth)
    video.promised = work.nbytes + work.growth  # or who begins before it has grown takes the room
    listening = asyncio.create_task(_stop_at_next_word(websocket, video))
    try:
        steps = await demo.worker.run(session, work.track, request.frame, request.direction)
        while not video.stop.is_set():
            step = await demo.worker.run(session, _next_step, work, steps)
            if step is None:
                return "finished"
            await websocket.send_json(step)
            demo.sessions.find(session.id)  # it is in use
        await demo.worker.run(session, steps.close)
        return "stopped"
    finally:
        listening.cancel()
        video.promised = 0


def _next_step(work: TrackedVideo, steps: Iterator[Step]) -> dict[str, Any] | None:
    step = next(steps, None)
    if step is None:
        return None
    found = {number: _shown(work, one) for number, one in step.found.items()}
    return {"frame": step.frame, "found": found, "done": step.done, "total": step.total}


async def _stop_at_next_word(websocket: WebSocket, video: OpenVideo) -> None:
    await websocket.receive()  # whatever it is, hanging up included
    video.stop.set()


@router.post("/api/video/export")
async def export(
    body: Export, request: Request, session: CurrentSession, demo: CurrentDemo
) -> FileResponse:
    """Writes a file and sends it; stops when nobody waits for it any more."""
    video = opened_video(session)
    ending = _ENDINGS[body.kind]
    path = session.folder / f"{secrets.token_hex(16)}{ending}"
    try:
        await _export(demo, session, video, body, path, request)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return download(path, file_name(Path(video.name).stem, "video") + ending)


async def _export(
    demo: Demo, session: Session, video: OpenVideo, body: Export, path: Path, request: Request
) -> None:
    async with video.turn("the export"):
        if not video.work.things:
            raise Refusal(409, "there are no masks yet: click on an object first")
        demo.sessions.make_room(session, disk=video.work.disk)
        writing = asyncio.create_task(_in_turn(demo, _write, video, body, path))
        try:
            while not writing.done() and not await request.is_disconnected():
                await asyncio.wait({writing}, timeout=0.5)
                demo.sessions.find(session.id)  # it is in use
        finally:
            if not writing.done():
                video.stop.set()
            await writing


async def _in_turn(demo: Demo, function: Callable[..., None], *arguments: Any) -> None:
    async with demo.writing:
        await asyncio.to_thread(function, *arguments)


def _write(video: OpenVideo, body: Export, path: Path) -> None:
    if body.kind == "overlay":
        write_overlay(video.work, path, body.colors(), video.stop.is_set)
    elif body.kind == "masks":
        write_pngs(video.work, path, video.stop.is_set)
    else:
        write_coco(video.work, path, body.names())
