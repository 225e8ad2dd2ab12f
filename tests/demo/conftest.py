"""A real server in a thread, with the model that ships, and a real browser where there is one."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

_START_SECONDS = 240  # the first start compiles
_CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
      url: without the last slash.
      demo: its state, `sam_jax.demo.current.Demo`.
    """

    url: str
    demo: Any

    @contextmanager
    def tab(self, **headers: str) -> Generator[httpx.Client]:
        """A client with a session of its own."""
        with httpx.Client(base_url=self.url, timeout=60, headers=headers) as client:
            client.headers["x-session"] = client.post("/api/session").json()["session"]
            yield client
            client.delete("/api/session")


@contextmanager
def running(model: Any, settings: Any, text_encoder: Any = None) -> Generator[Server]:
    """A server on a free port, until the block ends."""
    import uvicorn

    from sam_jax.demo.app import create_app

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if settings.hosts is None and settings.token is None:
        settings = replace(settings, hosts=frozenset({"127.0.0.1", "localhost"}))
    app = create_app(model, settings, text_encoder)
    config = uvicorn.Config(
        app, log_level="warning", ws="websockets-sansio", ws_max_size=1 << 20, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (server.started and app.state.demo.warmth.is_ready):
            assert thread.is_alive() and time.monotonic() < deadline, "the server does not start"
            if server.started:
                assert app.state.demo.warmth.error is None
            time.sleep(0.05)
        yield Server(f"http://127.0.0.1:{port}", app.state.demo)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@pytest.fixture(scope="session")
def demo_model() -> Any:
    """The model that ships."""
    import sam_jax

    return sam_jax.load("sam2.1-hiera-nano")


@pytest.fixture(scope="session")
def beginning(docs_media: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """`beginning(count)`: the first frames of the bundled clip, as mp4."""
    from sam_jax.io.video_writer import VideoWriter
    from sam_jax.io.videos import open_video

    def write(count: int) -> Path:
        path = tmp_path_factory.mktemp("clip") / "few.mp4"
        with open_video(docs_media / "clip.mp4") as clip, VideoWriter(path, 12) as writer:
            for pixels in clip.frames(stop=count):
                writer.write(pixels)
        return path

    return write


@pytest.fixture(scope="session")
def server(demo_model: Any) -> Generator[Server]:
    """One for all tests: each opens sessions of its own."""
    from sam_jax.demo.settings import Settings

    with running(demo_model, Settings()) as started:
        yield started


@pytest.fixture
def serve(demo_model: Any) -> Callable[..., Any]:
    """`with serve(max_sessions=3) as server`: one with other settings, warm from the cache."""
    from sam_jax.demo.settings import Settings

    return lambda **limits: running(demo_model, Settings(**limits))


def _chromium() -> str | None:
    """SAM_JAX_CHROMIUM, or what is installed; None leaves it to playwright."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("SAM_JAX_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser() -> Generator[Any]:
    """Chromium, driven by playwright; its tests skip where one of them is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="browser tests need: pip install playwright"
    )
    with playwright.sync_playwright() as driver:
        try:
            started = driver.chromium.launch(executable_path=_chromium(), args=list(_CHROMIUM))
        except playwright.Error as error:
            pytest.skip(
                "browser tests need Chromium: apt-get install chromium, or playwright install"
                f" chromium, or SAM_JAX_CHROMIUM=/path/to/it ({str(error).splitlines()[0]})"
            )
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, server: Server) -> Generator[Callable[..., Any]]:
    """`open_page(width=1280, height=800, url=None, ...)`: a tab, ready; it may raise no error."""
    contexts, errors = [], []

    def open_one(width: int = 1280, height: int = 800, url: str | None = None, **options: Any):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url or server.url)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """`until(page, expression)`: waits until it is true on the page, whose policy forbids the
    evaluation that playwright's own waiting does."""

    def wait(page: Any, expression: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not page.evaluate(expression):
            assert time.monotonic() < deadline, f"never became true: {expression}"
            page.wait_for_timeout(5)

    return wait
