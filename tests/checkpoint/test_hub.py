"""Model names -> files, against a server on this machine that answers as the Hugging Face hub does.

huggingface_hub reads its environment once, at import, so every case runs in its own process.
"""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sam_jax.checkpoint import hub
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.presets import PRESETS

pytest.importorskip("huggingface_hub")

# huggingface_hub keeps what it downloaded in pieces of 10 MiB: half of this holds one whole piece.
CONTENT = bytes(range(256)) * (24 << 12)
URL = "/facebook/sam2.1-hiera-tiny/resolve/main/sam2.1_hiera_tiny.pt"


class Hub(BaseHTTPRequestHandler):
    """One file; `server.cuts` downloads break off in the middle; everything is logged."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        asked = self.headers.get("Range", "")
        self.server.log.append(f"{self.command} {self.path} {asked}".strip())  # type: ignore[unresolved-attribute]
        if self.path != URL or self.server.missing:  # type: ignore[unresolved-attribute]
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{hashlib.sha256(CONTENT).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0123456789" * 4)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if asked:
            content_range = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if body:
            end = len(CONTENT)
            if self.server.cuts:  # type: ignore[unresolved-attribute]
                self.server.cuts -= 1  # type: ignore[unresolved-attribute]
                end = (start + end) // 2
            self.wfile.write(CONTENT[start:end])
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.log, server.cuts, server.missing = [], 0, False  # type: ignore[unresolved-attribute]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run(server: ThreadingHTTPServer, cache: Path, call: str, **env: str) -> tuple[str, str]:
    """Result of `hub.<call>` in a fresh process, and what it printed to stderr."""
    program = f"""
import time
time.sleep = lambda seconds: None  # huggingface_hub waits 25 s in all before it gives up
from sam_jax.checkpoint import hub
try:
    print(hub.{call})
except ValueError as error:
    print("ValueError:", error)
"""
    mine = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        "TQDM_POSITION": "-1",  # progress bars although stderr is no terminal
        "NO_PROXY": "*",
        "no_proxy": "*",
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=inherited | mine | env,
        check=True,
        capture_output=True,
        text=True,
    )
    return result.stdout.strip(), result.stderr


def test_download_then_cache_without_network(server, tmp_path: Path) -> None:
    assert run(server, tmp_path, "located('sam2.1-hiera-tiny')")[0] == "None"
    assert server.log == []
    path, progress = run(server, tmp_path, "fetch('sam2.1-hiera-tiny')")
    assert Path(path).name == "sam2.1_hiera_tiny.pt"
    assert Path(path).read_bytes() == CONTENT
    assert "100%" in progress and "sam2.1_hiera_tiny.pt" in progress
    assert f"GET {URL}" in server.log
    server.log.clear()
    both = "fetch('sam2.1-hiera-tiny'), hub.located('sam2.1-hiera-tiny')"
    for env in ({"HF_HUB_OFFLINE": "1"}, {}):
        assert run(server, tmp_path, both, **env)[0].split() == [path, path]
    assert server.log == []


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path: Path) -> None:
    server.cuts = 1
    path, _ = run(server, tmp_path, "fetch('sam2.1-hiera-tiny')")
    assert Path(path).read_bytes() == CONTENT
    first, second = [line for line in server.log if line.startswith("GET")]
    assert first == f"GET {URL}"
    resumed_at = int(second.removeprefix(f"GET {URL} bytes=").removesuffix("-"))
    assert 0 < resumed_at <= len(CONTENT) // 2


def check_advice(message: str, server: ThreadingHTTPServer, cache: Path) -> None:
    assert f"http://127.0.0.1:{server.server_address[1]}{URL}" in message
    assert "pass the path of the file instead of the name: 'FOLDER/sam2.1_hiera_tiny.pt'" in message
    assert "hf download facebook/sam2.1-hiera-tiny sam2.1_hiera_tiny.pt" in message
    assert f"copy its cache folder to {cache / 'hub'}" in message


def test_a_missing_file_says_what_to_do(server, tmp_path: Path) -> None:
    server.missing = True
    message, _ = run(server, tmp_path, "fetch('sam2.1-hiera-tiny')")
    assert message.startswith("ValueError: cannot download sam2.1-hiera-tiny: ")
    assert "404" in message.splitlines()[0]
    check_advice(message, server, tmp_path)


def test_offline_without_cache_says_what_to_do(server, tmp_path: Path) -> None:
    message, _ = run(server, tmp_path, "fetch('sam2.1-hiera-tiny')", HF_HUB_OFFLINE="1")
    assert "OfflineModeIsEnabled" in message.splitlines()[0]
    check_advice(message, server, tmp_path)
    assert server.log == []


def test_no_server_says_what_to_do(server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    message, _ = run(server, tmp_path, "fetch('sam2.1-hiera-tiny')")
    assert message.startswith("ValueError: cannot download sam2.1-hiera-tiny: ConnectError")
    check_advice(message, server, tmp_path)


def test_sources_of_all_released_models() -> None:
    assert hub.source("sam2.1-hiera-base-plus") == (
        "facebook/sam2.1-hiera-base-plus",
        "sam2.1_hiera_base_plus.pt",
    )
    assert hub.source("sam2-hiera-large") == ("facebook/sam2-hiera-large", "sam2_hiera_large.pt")
    assert hub.source("sam-vit-huge") == ("facebook/sam-vit-huge", "model.safetensors")
    assert len({hub.source(name) for name in PRESETS}) == len(PRESETS)


def test_unknown_names() -> None:
    for function in (hub.located, hub.fetch):
        with pytest.raises(ValueError, match=r"Did you mean 'sam2\.1-hiera-tiny'"):
            function("sam2.1-hira-tiny")


def test_shipped_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_SHIPPED", tmp_path)
    assert hub.located("sam2.1-hiera-nano") is None
    with pytest.raises(CheckpointError, match=r"sam2\.1-hiera-nano\.safetensors is missing"):
        hub.fetch("sam2.1-hiera-nano")
    (tmp_path / "sam2.1-hiera-nano.safetensors").touch()
    assert hub.fetch("sam2.1-hiera-nano") == tmp_path / "sam2.1-hiera-nano.safetensors"
    assert hub.located("sam2.1-hiera-nano") == tmp_path / "sam2.1-hiera-nano.safetensors"
