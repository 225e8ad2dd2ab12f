"""The web application: what is there, and in which order it starts and stops."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response

from sam_jax.demo import camera, everything, exports, pictures, video_routes
from sam_jax.demo.current import CurrentDemo, CurrentSession, Demo
from sam_jax.demo.features import Features
from sam_jax.demo.folder import private_folder
from sam_jax.demo.guard import Guard
from sam_jax.demo.refusal import Refusal, add_handlers
from sam_jax.demo.sessions import Sessions
from sam_jax.demo.settings import Settings
from sam_jax.demo.video_upload import MAX_FRAMES
from sam_jax.demo.warm import Warmth
from sam_jax.demo.worker import Worker
from sam_jax.io.overlay import COLORS
from sam_jax.predictors.text import TextEncoder, own_encoder
from sam_jax.types import Model

_SWEEP_SECONDS = 30
_PATIENCE_SECONDS = 5
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
router = APIRouter()
ROUTERS = (
    router,
    pictures.router,
    everything.router,
    exports.router,
    camera.router,
    video_routes.router,
)


def create_app(
    model: Model,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    text_encoder: TextEncoder | None = None,
) -> FastAPI:
    """The application, for one process and one event loop.

    Args:
      model: what `sam_jax.load` returns.
      text_encoder: as for `ImagePredictor`.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        stop = threading.Event()
        with private_folder() as root:
            demo = Demo(
                model=model,
                settings=settings,
                worker=Worker(settings.pending),
                sessions=Sessions(settings, root),
                features=Features(model, text_encoder, settings.memory // 2),
                warmth=Warmth(),
                decoding=asyncio.Semaphore(2),
                writing=asyncio.Semaphore(2),
                text=bool(model.config.text_dim and (text_encoder or own_encoder(model))),
            )
            app.state.demo = demo
            # Daemons, and joined for a while only: compiling a large model cannot be interrupted.
            warming = threading.Thread(
                target=demo.warmth.run, args=(model, text_encoder, stop), daemon=True
            )
            warming.start()
            sweeping = asyncio.create_task(_sweep(demo.sessions))
            try:
                yield
            finally:
                stop.set()
                sweeping.cancel()
                with suppress(asyncio.CancelledError):
                    await sweeping
                demo.sessions.close()
                await asyncio.to_thread(demo.worker.close, _PATIENCE_SECONDS)
                await asyncio.to_thread(warming.join, _PATIENCE_SECONDS)

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    for part in ROUTERS:
        app.include_router(part)
    add_handlers(app)
    app.add_middleware(Guard, settings=settings)
    return app


async def _sweep(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        await asyncio.to_thread(sessions.expire)


def _page() -> dict[str, tuple[bytes, str]]:
    """The page's files by name, in memory: no name from a request reaches the file system."""
    folder = Path(__file__).parent / "page"
    files = (path for path in folder.iterdir() if path.suffix in _TYPES)
    return {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in files}


_FILES = _page()


@router.get("/")
async def index() -> Response:
    return await page_file("index.html")


@router.get("/page/{name}")
async def page_file(name: str) -> Response:
    if name not in _FILES:
        raise Refusal(404, "there is no such page")
    content, kind = _FILES[name]
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


@router.post("/api/session")
async def open_session(demo: CurrentDemo) -> dict[str, str]:
    session = await asyncio.to_thread(demo.sessions.open)
    return {"session": session.id}


@router.post("/api/session/ping")
async def ping(session: CurrentSession) -> dict[str, Any]:
    return {}


@router.delete("/api/session")
async def end_session(session: CurrentSession, demo: CurrentDemo) -> dict[str, Any]:
    await asyncio.to_thread(demo.sessions.end, session)
    return {}


@router.get("/api/info")
async def info(demo: CurrentDemo) -> dict[str, Any]:
    """What the page must know: the model, the limits, and how far the warm-up is."""
    warmth, settings = demo.warmth, demo.settings
    config = demo.model.config
    return {
        "model": config.name,
        "text": demo.text,
        "tracks": demo.tracks,
        "colors": COLORS,
        "samples": [
            {"index": index, "name": sample.name, "kind": sample.kind}
            for index, sample in enumerate(settings.samples)
        ],
        "limits": {
            "picture": settings.max_picture,
            "video": settings.max_video,
            "pixels": settings.max_pixels,
            "frames": MAX_FRAMES,
        },
        "ready": warmth.is_ready,
        "doing": warmth.doing,
        "done": warmth.done,
        "total": warmth.total,
        "error": warmth.error,
        "predict_ms": warmth.predict_ms,
    }
