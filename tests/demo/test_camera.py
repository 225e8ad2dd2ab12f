"""Frames over a websocket against `Stream` itself."""

import gc
import io
import json
import weakref

import jax
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from websockets.sync.client import connect

import sam_jax
from sam_jax.demo.app import create_app
from sam_jax.demo.settings import SHIPPED
from sam_jax.demo.warm import Warmth
from sam_jax.io.videos import open_video
from sam_jax.ops import rle


@pytest.fixture(scope="module")
def frames():
    with open_video(SHIPPED[2].path) as video:
        return [encoded(video[i]) for i in range(3)]


def encoded(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def camera(server):
    with server.tab() as tab, connect(server.url.replace("http", "ws") + "/api/camera") as socket:
        socket.send(json.dumps({"session": tab.headers["x-session"], "token": None}))
        assert json.loads(socket.recv()) == {"ready": True}

        def ask(message):
            socket.send(message if isinstance(message, bytes) else json.dumps(message))
            return json.loads(socket.recv(timeout=60))

        yield ask


def test_masks_are_those_of_a_stream(camera, frames, demo_model):
    assert camera(frames[0])["objects"] == []
    box = [130.0, 120.0, 214.0, 202.0]
    assert camera({"add": 2, "box": box}) == {"done": True}
    stream = sam_jax.Stream(demo_model, 4)
    stream.add(2, box=box)
    for frame in frames:
        (found,) = camera(frame)["objects"]
        tracked = stream.step(np.asarray(Image.open(io.BytesIO(frame))))[2]
        assert found["id"] == 2 and found["there"] == (tracked.object_logit > 0)
        assert np.mean(rle.decode(found["mask"]) != tracked.mask) < 1e-3
    assert camera({"remove": 2}) == {"done": True}
    assert camera(frames[0])["objects"] == []


def test_refusals_leave_it_running(camera, frames):
    click = {"x": 50.0, "y": 50.0, "label": 1}
    for message, told in (
        (b"not a JPEG", "is not a JPEG"),
        ({"add": 5, "clicks": [click]}, "less than or equal to 4"),
        ({"add": 1}, "no prompt"),
        ({"bad": 1}, "Extra inputs"),
    ):
        assert told in camera(message)["error"]
    assert camera(frames[0])["frame"] == 0  # nothing began with what was refused
    outside = click | {"x": 5000.0}
    assert camera({"add": 1, "clicks": [outside]}) == {"done": True}  # no frame has a size yet
    assert "outside the image" in camera(frames[0])["error"]
    assert camera(frames[0])["objects"] == []
    assert camera({"add": 1, "clicks": [click]}) == {"done": True}
    assert len(camera(frames[0])["objects"]) == 1
    assert "outside the image" in camera({"add": 2, "clicks": [outside]})["error"]
    assert len(camera(frames[1])["objects"]) == 1
    assert camera({"reset": True}) == {"done": True}
    assert camera(frames[1])["objects"] == []


def test_the_second_connection_ends_the_first(server):
    address = server.url.replace("http", "ws") + "/api/camera"
    with server.tab() as tab:
        hello = json.dumps({"session": tab.headers["x-session"], "token": None})
        with connect(address) as first, connect(address) as second:
            first.send(hello)
            first.recv()
            second.send(hello)
            assert json.loads(second.recv()) == {"ready": True}
            first.send("{}")
            first.recv()  # of the message that was under way
            with pytest.raises(Exception, match="1000"):
                first.recv(timeout=5)


def test_a_connection_that_stays_keeps_nothing_of_a_session_that_ended(server):
    with server.tab() as tab, connect(server.url.replace("http", "ws") + "/api/camera") as socket:
        socket.send(json.dumps({"session": tab.headers["x-session"], "token": None}))
        socket.recv()
        socket.send(json.dumps({"add": 1, "box": [1, 1, 9, 9]}))
        socket.recv()
        stream = weakref.ref(
            server.demo.sessions.find(tab.headers["x-session"]).slots["camera"]._stream
        )
        tab.delete("/api/session")
        gc.collect()
        assert stream() is None


def test_what_is_followed_counts_as_memory(server, frames, serve):
    click = {"x": 150.0, "y": 150.0, "label": 1}
    with server.tab() as tab, connect(server.url.replace("http", "ws") + "/api/camera") as socket:
        socket.send(json.dumps({"session": tab.headers["x-session"], "token": None}))
        socket.recv()
        session = server.demo.sessions.find(tab.headers["x-session"])
        promised = session.nbytes
        held = []
        for message in (json.dumps({"add": 1, "clicks": [click]}), frames[0]):
            socket.send(message)
            socket.recv()
            held.append(session.nbytes)
        stream = session.slots["camera"]._stream
        leaves = jax.tree.leaves((stream._state, stream.features))
        assert held == [promised, sum(leaf.nbytes for leaf in leaves)]
        assert held[1] == promised > 100_000
    with (
        serve(memory=promised - 1) as small,
        small.tab() as tab,
        connect(small.url.replace("http", "ws") + "/api/camera") as socket,
    ):
        socket.send(json.dumps({"session": tab.headers["x-session"], "token": None}))
        assert "no memory left" in json.loads(socket.recv())["error"]


def test_a_model_without_memory_says_so(small_sam, monkeypatch):
    monkeypatch.setattr(Warmth, "run", lambda *arguments: None)
    with TestClient(create_app(small_sam), base_url="http://127.0.0.1") as client:
        assert client.get("/api/info").json()["tracks"] is False
        session = client.post("/api/session").json()["session"]
        with client.websocket_connect("/api/camera") as socket:
            socket.send_json({"session": session, "token": None})
            assert "no memory" in socket.receive_json()["error"]
