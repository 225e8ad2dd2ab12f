"""What an attacker would try: other sites, other names, no token, large and twisted bodies."""

import http.client
import json
import struct
import time
import zlib
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


def raw(server, method, path, headers, body=b"", *, chunked=False):
    """A request with exactly these headers: status and text."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    connection.request(method, path, body=body, headers=headers, encode_chunked=chunked)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_a_name_that_was_made_to_point_here_is_refused(server):
    status, text = raw(server, "GET", "/api/info", {"Host": "evil.example:8000"})
    assert status == 421 and "evil.example" in json.loads(text)["error"]
    for host in ("evil.example", "", "127.0.0.1.evil.example", "localhost@evil.example", "[::1"):
        assert raw(server, "GET", "/", {"Host": host})[0] in (400, 421)
    assert raw(server, "GET", "/", {"Host": "localhost:9999"})[0] == 200  # through a tunnel


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:1"])
def test_pages_of_other_sites_are_refused(server, origin):
    status, text = raw(server, "POST", "/api/session", {"Origin": origin})
    assert status == 403 and "other sites" in text
    address = server.url.replace("http", "ws") + "/api/camera"
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, origin=origin)


def test_the_page_itself_is_answered(server):
    status, text = raw(server, "POST", "/api/session", {"Origin": server.url})
    assert status == 200 and len(json.loads(text)["session"]) >= 43  # 256 bits


def test_answers_carry_the_policy(server):
    with server.tab() as tab:
        headers = tab.get("/").headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert tab.get("/api/info").headers["cache-control"] == "no-store"


def test_without_the_token_nothing_is_answered(serve):
    with serve(token="right") as server:
        assert raw(server, "GET", "/", {})[0] == 200  # it holds no secret, and asks for the token
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "right"}):
            status, text = raw(server, "GET", "/api/info", given)
            assert status == 401 and "token" in json.loads(text)["error"]
        right = {"authorization": "Bearer right"}
        assert raw(server, "GET", "/api/info", right)[0] == 200
        with server.tab(**right) as tab:
            session = tab.headers["x-session"]
            address = server.url.replace("http", "ws") + "/api/camera"
            for token in (None, "wrong", "\ud800", "right"):
                told = "ready" if token == "right" else "token"
                with connect(address) as socket:
                    socket.send(json.dumps({"session": session, "token": token}))
                    assert told in socket.recv()


def test_a_websocket_needs_a_session(server):
    address = server.url.replace("http", "ws") + "/api/camera"
    for hello in ("", "[]", "{}", "[" * 900, '{"session": 5}', b"bytes"):
        with connect(address) as socket:
            socket.send(hello)
            assert "error" in json.loads(socket.recv())


@pytest.mark.parametrize("path", ["/page/..%2fapp.py", "/page/%2e%2e", "/page/../app.py", "/x"])
def test_no_path_reaches_the_file_system(server, path):
    status, text = raw(server, "GET", path, {})
    assert status == 404 and set(json.loads(text)) == {"error"}


def test_large_bodies_are_refused_while_they_come(serve):
    with serve(max_picture=100_000) as server, server.tab() as tab:
        session = {"X-Session": tab.headers["x-session"]}
        answer = tab.post("/api/picture", content=bytes(100_001))
        assert answer.status_code == 413 and "at most" in answer.json()["error"]
        pieces = (bytes(50_000) for _ in range(3))  # no Content-Length
        answer = tab.post("/api/picture", content=pieces)
        assert answer.status_code == 413
        assert not list(server.demo.sessions.find(session["X-Session"]).folder.iterdir())
        answer = tab.post("/api/picture/sample", content=bytes(70_000))
        assert answer.status_code == 413 and "64 KB" in answer.json()["error"]


def test_an_upload_that_breaks_off_leaves_nothing(server):
    with server.tab() as tab:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        connection.putrequest("POST", "/api/picture")
        connection.putheader("X-Session", tab.headers["x-session"])
        connection.putheader("Content-Length", "1000")
        connection.endheaders(bytes(500))
        folder = server.demo.sessions.find(tab.headers["x-session"]).folder
        wait(lambda: list(folder.iterdir()))
        connection.close()
        wait(lambda: not list(folder.iterdir()))


def wait(is_so):
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 30_000,
        "{",
        "null",
        '{"sample": 1e999}',
        '{"sample": "0"}',
        '{"sample": 0, "path": "/etc/passwd"}',
        '{"sample": -1}',
        '{"sample": "../../etc/passwd"}',
    ],
)
def test_twisted_bodies_are_refused(server, body):
    with server.tab() as tab:
        answer = tab.post(
            "/api/picture/sample", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code in (400, 422) and len(answer.json()["error"]) < 400


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side):
    """A small PNG file of side x side pixels."""
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(1 + side // 8)) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        (bomb(20_000), "bomb.png", "bomb.png has 20000 x 20000"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "a.svg",
            "a.svg is not an image. Taken",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a.eps", "not an image. Taken are"),
        (bomb(100)[:60], "../../half.png", "half.png is damaged"),
        (b"hello", "<b>.txt", "<b>.txt is not an image"),
        (b"", "nothing.png", "nothing.png is empty"),
    ],
)
def test_what_is_not_a_picture_is_refused_by_its_name(server, content, name, told):
    with server.tab(**{"x-file-name": name}) as tab:
        answer = tab.post("/api/picture", content=content)
        assert answer.status_code in (400, 415)
        error = answer.json()["error"]
        assert told in error and "sam_jax_demo" not in error and "/" not in error.split(" is ")[0]
        session = server.demo.sessions.find(tab.headers["x-session"])
        assert not list(session.folder.iterdir())
