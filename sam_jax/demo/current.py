"""What routes are given: the server's state and the session of the request."""

import asyncio
import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, WebSocket, WebSocketDisconnect
from starlette.requests import HTTPConnection

from sam_jax.config import SamConfig
from sam_jax.demo.features import Features
from sam_jax.demo.guard import same_token
from sam_jax.demo.refusal import Refusal
from sam_jax.demo.sessions import Session, Sessions
from sam_jax.demo.settings import Settings
from sam_jax.demo.warm import Warmth
from sam_jax.demo.worker import Worker
from sam_jax.types import Model

_HELLO_SECONDS = 10


@dataclass(frozen=True)
class Demo:
    """The server's state.

    Attributes:
      decoding: held while a picture is decoded at full size, so that few are at once.
      writing: held while a file of a whole video is written, likewise.
      text: whether phrases are understood.
    """

    model: Model
    settings: Settings
    worker: Worker
    sessions: Sessions
    features: Features
    warmth: Warmth
    decoding: asyncio.Semaphore
    writing: asyncio.Semaphore
    text: bool

    @property
    def tracks(self) -> bool:
        """Whether the model has a memory, for videos and cameras."""
        return not isinstance(self.model.config, SamConfig)


def _demo(connection: HTTPConnection) -> Demo:
    return connection.app.state.demo


CurrentDemo = Annotated[Demo, Depends(_demo)]


def _session(connection: HTTPConnection, demo: CurrentDemo) -> Session:
    return demo.sessions.find(connection.headers.get("x-session"))


CurrentSession = Annotated[Session, Depends(_session)]


async def accept(websocket: WebSocket) -> Session | None:
    """Opens a websocket whose first message is `{"session": id, "token": token or null}`.

    Returns:
      The session; None if the message was not right, and then the websocket is closed.
    """
    demo: Demo = websocket.app.state.demo
    await websocket.accept()
    try:
        async with asyncio.timeout(_HELLO_SECONDS):
            hello = _hello(await websocket.receive_text())
        if not same_token(hello.get("token"), demo.settings.token):
            raise Refusal(401, "the token is missing or wrong")
        return demo.sessions.find(hello.get("session"))
    except (Refusal, TimeoutError, KeyError) as error:
        text = str(error) if isinstance(error, Refusal) else "no greeting came"
        await websocket.send_json({"error": text})
        await websocket.close(1008)
    except WebSocketDisconnect:
        pass
    return None


def _hello(text: str) -> dict[str, str]:
    """The strings of the first message."""
    try:
        hello: Any = json.loads(text[:1000])
    except (ValueError, RecursionError):
        hello = None
    if not isinstance(hello, dict):
        raise Refusal(400, "the first message must be an object with session and token")
    return {key: value for key, value in hello.items() if isinstance(value, str)}
