"""The camera tab: frames from the browser through `sam_jax.Stream`, and masks back.

The page sends a frame when the answer to the last one has come, so nothing piles up:

- bytes: a frame as JPEG. Answer: {"frame", "size", "objects": [{"id", "mask", "iou", "there"}]}.
- {"add": id, "clicks": [...], "box": [...]}: what object `id` is, on the frame that comes next.
- {"remove": id}, {"reset": true}.
- a refusal of any of them: {"error": message}; the stream goes on.
"""

import io
from typing import Annotated, Any, Literal

import jax
import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError

from sam_jax.demo.bodies import Body, Click, Pixels
from sam_jax.demo.current import Demo, accept
from sam_jax.demo.masks import runs
from sam_jax.demo.refusal import Refusal
from sam_jax.demo.settings import MB
from sam_jax.io.images import read_image
from sam_jax.predictors.stream import Stream
from sam_jax.types import Model

router = APIRouter()
MOST_BYTES = MB  # of a message; the page sends some 50 KB
_MOST_PIXELS = 1920 * 1080
_OBJECTS = 4  # all slots from the beginning, so that none of them compiles

ObjectNumber = Annotated[int, Field(ge=1, le=_OBJECTS)]


class Command(Body):
    """One of three; see above."""

    add: ObjectNumber | None = None
    clicks: Annotated[tuple[Click, ...], Field(max_length=3, strict=False)] = ()
    box: Annotated[list[Pixels], Field(min_length=4, max_length=4)] | None = None
    remove: ObjectNumber | None = None
    reset: Literal[True] | None = None


class Camera:
    """The stream of one connection; its methods are for the worker's thread."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._stream: Stream | None = None
        self._size: tuple[int, int] | None = None
        state = jax.eval_shape(lambda: Stream(model, _OBJECTS)._state)
        memory = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
        embedding = model.config.grid**2 * model.config.dim * np.dtype(model.module.dtype).itemsize
        self._promised = memory + 4 * embedding  # fine levels are three times as large

    @property
    def nbytes(self) -> int:
        """What its stream holds, or what it will once there is a frame."""
        stream = self._stream
        if stream is None:
            return self._promised
        leaves = jax.tree.leaves((stream._state, stream._features))
        return max(self._promised, sum(leaf.nbytes for leaf in leaves))

    def obey(self, command: Command) -> None:
        """Changes what is tracked."""
        if command.reset:
            self._stream = None
        if command.remove is not None and self._stream is not None:
            self._stream.remove(command.remove)
            if not self._stream.ids:
                self._stream = None
        if command.add is not None:
            stream = self._stream or Stream(self._model, _OBJECTS)
            points = [[click.x, click.y] for click in command.clicks]
            stream.add(
                command.add,
                points=points or None,
                labels=[click.label for click in command.clicks] or None,
                box=command.box,
            )
            self._stream = stream  # not before: what is refused begins nothing

    def see(self, data: bytes) -> dict[str, Any]:
        """Tracks on the next frame. Without objects the model has nothing to do."""
        frame = _decode(data)
        if self._size not in (None, frame.shape[:2]):
            self._stream = None  # the camera was turned or changed
        self._size = (frame.shape[0], frame.shape[1])
        stream = self._stream  # `close` may come meanwhile
        if stream is None:
            return {"frame": 0, "size": self._size, "objects": []}
        try:
            tracked = stream.step(frame)
        except ValueError:  # a prompt outside of the frame, which would stay and fail for ever
            self._stream = None
            raise
        objects = [
            {
                "id": number,
                "mask": runs(answer.mask),
                "iou": round(answer.iou, 3),
                "there": answer.object_logit > 0,
            }
            for number, answer in tracked.items()
        ]
        return {"frame": stream.frame, "size": self._size, "objects": objects}

    def close(self) -> None:
        """Frees what is tracked, also of a connection that stays open and silent."""
        self._stream = None


def _decode(data: bytes) -> np.ndarray:
    try:
        return read_image(io.BytesIO(data), max_pixels=_MOST_PIXELS, formats=("JPEG",))
    except ValueError as error:
        raise Refusal(415, "a frame is not a JPEG of at most 1920 x 1080 pixels") from error


@router.websocket("/api/camera")
async def camera(websocket: WebSocket) -> None:
    """One stream a session; a second connection ends the first."""
    session = await accept(websocket)
    if session is None:
        return
    demo: Demo = websocket.app.state.demo
    if not demo.tracks:
        await websocket.send_json(
            {"error": f"{demo.model.config.name} has no memory to track with"}
        )
        await websocket.close(1008)
        return
    watched = Camera(demo.model)
    try:
        session.put("camera", None)  # what this tab was following takes no room any more
        demo.sessions.make_room(session, memory=watched.nbytes)
        session.put("camera", watched)
        await websocket.send_json({"ready": True})
        while session.slots.get("camera") is watched:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            demo.sessions.find(session.id)  # it is in use, and still there
            try:
                await websocket.send_json(await _answer(demo, session, watched, message))
            except ValueError as error:
                await websocket.send_json({"error": str(error)})
            except Refusal as refusal:
                await websocket.send_json({"error": refusal.message})
        await websocket.close(1000)
    except WebSocketDisconnect:
        pass
    except Refusal as refusal:
        await websocket.send_json({"error": refusal.message})
        await websocket.close(1008)
    finally:
        if session.slots.get("camera") is watched:
            session.slots.pop("camera")


async def _answer(demo: Demo, session: Any, watched: Camera, message: Any) -> dict[str, Any]:
    data = message.get("bytes")
    if data is not None:
        return await demo.worker.run(session, watched.see, data)
    try:
        command = Command.model_validate_json(message.get("text") or "")
    except ValidationError as error:
        raise Refusal(400, f"malformed: {error.errors()[0]['msg'][:200]}") from error
    await demo.worker.run(session, watched.obey, command)
    return {"done": True}
