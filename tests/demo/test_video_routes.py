"""The video tab's routes, asked as the page asks them."""

import asyncio
import io
import json
import time
import zipfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import connect

from sam_jax.demo import video_upload
from sam_jax.demo.refusal import Refusal
from sam_jax.io.video_writer import VideoWriter
from sam_jax.io.videos import open_video
from sam_jax.ops import rle

FRAMES = 4
BOX = [105, 27, 199, 100]


@pytest.fixture(scope="module")
def few(beginning: Callable[[int], Path]) -> Path:
    return beginning(FRAMES)


class Tab:
    """A tab of the browser."""

    def __init__(self, server: Any) -> None:
        self.demo, self.url = server.demo, server.url
        self.client = httpx.Client(base_url=f"{server.url}/api", timeout=60)
        self.id = self.client.post("/session").json()["session"]
        self.client.headers["x-session"] = self.id

    def get(self, path: str) -> Any:
        return self.client.get(f"/video/{path}")

    def post(self, path: str, body: Any) -> Any:
        return self.client.post(f"/video/{path}", json=body)

    def upload(self, data: bytes, name: str) -> Any:
        return self.client.post("/video/upload", content=data, headers={"x-file-name": name})

    @contextmanager
    def tracking(self, request: Any) -> Generator[Any]:
        """The socket of a tracking that begins."""
        with connect(self.url.replace("http", "ws") + "/api/video/track") as socket:
            socket.send(json.dumps({"session": self.id, "token": None}))
            assert json.loads(socket.recv()) == {"ready": True}
            socket.send(request if isinstance(request, str | bytes) else json.dumps(request))
            yield socket

    def track(
        self, request: Any, stop_after: int | None = None, word: str | bytes = "stop"
    ) -> list[dict[str, Any]]:
        """All messages of a tracking."""
        messages = []
        with self.tracking(request) as socket:
            while not messages or "frame" in messages[-1]:
                if len(messages) == stop_after:
                    socket.send(word)
                messages.append(json.loads(socket.recv()))
        return messages

    @property
    def session(self) -> Any:
        return self.demo.sessions.find(self.id)

    @property
    def work(self) -> Any:
        return self.session.slots["video"].work

    def close(self) -> None:
        self.client.delete("/session")
        self.client.close()


@pytest.fixture
def new_tab(server: Any) -> Generator[Callable[[], Tab]]:
    """`new_tab()`: one without a video."""
    tabs = []

    def make() -> Tab:
        tabs.append(Tab(server))
        return tabs[-1]

    yield make
    for tab in tabs:
        tab.close()


@pytest.fixture
def tab(new_tab: Callable[[], Tab], few: Path) -> Tab:
    """One with the frames open."""
    tab = new_tab()
    tab.upload(few.read_bytes(), "few.mp4").raise_for_status()
    return tab


def mask_of(found: dict[str, Any]) -> np.ndarray:
    return rle.decode(found["mask"])


def test_opening_says_what_it_is(new_tab: Callable[[], Tab], few: Path) -> None:
    answer = new_tab().upload(few.read_bytes(), "a%20b.mp4").json()
    size = {"size": [256, 256], "shown": [256, 256]}
    assert answer == {"name": "a b.mp4", "frames": FRAMES, "fps": 12.0} | size
    answer = new_tab().post("sample", {"sample": 2}).json()  # the bundled clip
    assert answer == {"name": "Painted clip", "frames": 24, "fps": 10.0} | size
    assert new_tab().post("sample", {"sample": 0}).status_code == 404  # a picture


def test_frames_are_those_of_the_video(tab: Tab, few: Path) -> None:
    with open_video(few) as video:
        for number in (2, 0):
            answer = tab.get(f"frame/{number}")
            picture = np.asarray(Image.open(io.BytesIO(answer.content)), int)
            assert abs(picture - video[number]).mean() < 3
    assert tab.get(f"frame/{FRAMES}").json() == {
        "error": f"there is no frame {FRAMES}: the video has {FRAMES}"
    }


def test_prompt_and_track_and_correct(tab: Tab) -> None:
    answer = tab.post("prompt", {"frame": 0, "object": 1, "box": BOX}).json()
    assert answer["version"] == answer["found"]["version"] == 1
    assert mask_of(answer["found"])[27:100, 105:199].sum() > 1000
    *steps, last = tab.track({"frame": 0, "direction": "forward"})
    assert last == {"ended": "finished"}
    assert [(step["frame"], step["done"], step["total"]) for step in steps] == [
        (i, i + 1, FRAMES) for i in range(FRAMES)
    ]
    assert steps[0]["found"] == {"1": answer["found"]}
    work = tab.work
    for step in steps:
        known = work.masks(step["frame"])
        np.testing.assert_array_equal(mask_of(step["found"]["1"]), known.masks[0])
    body = {"frame": 2, "object": 1, "clicks": [{"x": 60, "y": 60, "label": 1}]}
    answer = tab.post("prompt", body).json()
    assert answer["version"] == 2
    *steps, _ = tab.track({"frame": 2, "direction": "forward"})
    assert [step["frame"] for step in steps] == [2, 3]
    assert steps[0]["found"] == {"1": answer["found"]}
    assert tab.post("prompt", {"frame": 2, "object": 1}).json()["version"] == 3
    assert tab.post("remove", {"object": 1}).json() == {}
    assert not work.things


def test_tracking_stops_when_told_and_when_nobody_listens(tab: Tab) -> None:
    tab.post("prompt", {"frame": 0, "object": 1, "box": BOX})
    video = tab.session.slots["video"]
    whole = video.work.track

    def slow(*arguments: Any) -> Generator[Any]:
        for step in whole(*arguments):
            yield step
            video.stop.wait(10)

    video.work.track = slow
    *steps, last = tab.track({"frame": 0, "direction": "forward"}, stop_after=1, word=b"anything")
    assert last == {"ended": "stopped"} and 1 <= len(steps) < FRAMES
    assert len(video.work.things[1].found) == len(steps)
    with tab.tracking({"frame": 0, "direction": "forward"}) as socket:
        assert json.loads(socket.recv())["done"] == 1
    deadline = time.monotonic() + 60
    while video.doing and time.monotonic() < deadline:
        time.sleep(0.02)
    assert tab.post("prompt", {"frame": 0, "object": 2, "box": BOX}).status_code == 200
    assert len(video.work.things[1].found) < FRAMES


def test_room_is_promised_to_a_tracking_before_it_is_filled(tab: Tab) -> None:
    tab.post("prompt", {"frame": 0, "object": 1, "box": BOX})
    video = tab.session.slots["video"]
    before, growth = video.nbytes, video.work.growth
    assert before > 16 * 256 * 256 * 3 // 2  # the decoder's frames, too
    assert growth > 0
    whole, seen = video.work.track, []

    def track(*arguments: Any) -> Any:
        seen.append(video.nbytes)
        return whole(*arguments)

    video.work.track = track
    tab.track({"frame": 0, "direction": "forward"})
    assert seen == [before + growth]
    assert before < video.nbytes <= before + growth


def test_large_frames_are_shown_smaller(new_tab: Callable[[], Tab], tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "wide.mp4", None) as writer:
        writer.write(np.zeros((64, 2048, 3), np.uint8))
    tab = new_tab()
    opened = tab.upload((tmp_path / "wide.mp4").read_bytes(), "wide.mp4").json()
    assert (opened["size"], opened["shown"], opened["fps"]) == ([64, 2048], [32, 1024], 25)
    assert Image.open(io.BytesIO(tab.get("frame/0").content)).size == (1024, 32)
    body = {"frame": 0, "object": 1, "clicks": [{"x": 2000, "y": 60, "label": 1}]}
    assert mask_of(tab.post("prompt", body).json()["found"]).shape == (32, 1024)


def test_refusals(tab: Tab) -> None:
    def refused(answer: Any, status: int, message: str) -> None:
        assert answer.status_code == status
        assert message in answer.json()["error"]

    prompt = {"frame": 0, "object": 1, "clicks": [{"x": 5, "y": 5, "label": 1}]}
    outside = prompt | {"clicks": [{"x": 5, "y": 5000, "label": 1}]}
    refused(tab.post("prompt", outside), 400, "(5, 5000) is outside of the frame of 256 x 256")
    refused(tab.post("prompt", prompt | {"frame": 9}), 400, "frame_idx 9 is not in the video")
    mask = {"mask": {"size": [256, 256], "counts": [0, 256 * 256]}}
    for both in (mask | {"text": "cup"}, mask | {"box": BOX}):
        refused(
            tab.post("prompt", prompt | both), 400, "a box, a mask and words exclude each other"
        )
    small = {"mask": {"size": [9, 9], "counts": [0, 81]}}
    refused(tab.post("prompt", prompt | small), 400, "the mask is [9, 9], the picture shown is")
    refused(tab.post("prompt", prompt | {"text": "zebra"}), 400, "has 'zebra'")
    for wrong in (
        {"object": "1"},
        {"clicks": [{"x": 5, "y": 5, "label": 2}]},
        {"box": [1, 2, 3]},
        {"path": "/"},
    ):
        refused(tab.post("prompt", prompt | wrong), 422, "malformed")
    refused(tab.post("remove", {"object": 1}), 400, "no object 1 to remove")
    refused(
        tab.post("export", {"kind": "masks", "objects": []}),
        409,
        "no masks yet: click on an object first",
    )
    nothing = tab.track({"frame": 0, "direction": "forward"})
    assert nothing == [{"error": "there is nothing to track: click on an object first"}]
    for wrong in (
        "{",
        b"{",
        {"frame": -1, "direction": "forward"},
        {"frame": 0, "direction": "up"},
    ):
        assert tab.track(wrong) == [{"error": "the request for tracking is malformed"}]
    tab.session.slots["video"].doing = "the tracking"
    for path, body in (
        ("prompt", prompt), ("remove", {"object": 1}), ("export", {"kind": "coco", "objects": []}),
        ("sample", {"sample": 0}),
    ):  # fmt: skip
        refused(tab.post(path, body), 409, "the tracking is under way: wait, or stop it first")


def test_who_comes_after_a_tracking_that_waits_is_refused(tab: Tab) -> None:
    video = tab.session.slots["video"]
    order = []

    async def scenario() -> None:
        async def track() -> None:
            async with video.turn("the tracking"):
                order.append("tracking")

        async with video.turn():
            tracking = asyncio.create_task(track())
            await asyncio.sleep(0)  # it waits for this turn to end
            with pytest.raises(Refusal, match="the tracking is under way"):
                async with video.turn():
                    pass
            order.append("prompt")
        await tracking
        async with video.turn():
            order.append("next prompt")

    with ThreadPoolExecutor() as pool:  # playwright runs a loop in this thread
        pool.submit(lambda: asyncio.run(scenario())).result()
    assert order == ["prompt", "tracking", "next prompt"]


def test_uploads_are_refused_by_the_users_name(
    new_tab: Callable[[], Tab], few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = new_tab()
    answer = tab.upload(b"hello, this is text", "notes.mp4")
    assert answer.status_code == 415 and "mp4, mov, mkv and webm are" in answer.json()["error"]
    data = few.read_bytes()
    answer = tab.upload(data[: len(data) // 5], "half.mp4")
    assert answer.json() == {"error": "half.mp4 has no frames that can be decoded"}
    monkeypatch.setattr(video_upload, "MAX_FRAMES", 1)
    answer = tab.upload(data, "long.mp4")
    assert f"has {FRAMES} frames, at most 1 are taken" in answer.json()["error"]
    assert not list(tab.session.folder.iterdir())


def test_damage_is_told_by_the_users_name(new_tab: Callable[[], Tab], docs_media: Path) -> None:
    clip = docs_media / "clip.mp4"
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packet = [one for one in container.demux(video=0) if one.size][20]
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    tab = new_tab()
    tab.upload(bytes(data), "holiday.mp4").raise_for_status()
    tab.post("prompt", {"frame": 20, "object": 1, "box": BOX})
    files = set(tab.session.folder.iterdir())
    told = [
        tab.get("frame/23").json()["error"],
        tab.track({"frame": 20, "direction": "forward"})[-1]["error"],
        tab.post("export", {"kind": "overlay", "objects": []}).json()["error"],
    ]
    assert all(text.startswith("holiday.mp4 is damaged after 22 frames") for text in told)
    assert set(tab.session.folder.iterdir()) == files


def test_an_upload_takes_the_place_of_the_one_before(new_tab: Callable[[], Tab], few: Path) -> None:
    tab = new_tab()
    for name in ("a.mp4", "b.mp4"):
        assert tab.upload(few.read_bytes(), name).json()["name"] == name
        assert len(list(tab.session.folder.iterdir())) == 1
    assert tab.get("frame/1").status_code == 200
    tab.demo.sessions.end(tab.session)
    assert tab.get("frame/1").status_code == 410


def test_tabs_do_not_mix(new_tab: Callable[[], Tab], tab: Tab, few: Path) -> None:
    other = new_tab()
    assert other.get("frame/0").json() == {"error": "no video is open: choose one first"}
    other.upload(few.read_bytes(), "few.mp4")
    tab.post("prompt", {"frame": 0, "object": 1, "box": BOX})
    assert other.track({"frame": 0, "direction": "both"})[0]["error"].startswith("there is nothing")
    assert len(tab.track({"frame": 0, "direction": "both"})) == FRAMES + 1


def test_files(tab: Tab, tmp_path: Path) -> None:
    tab.post("prompt", {"frame": 0, "object": 1, "box": BOX})
    tab.track({"frame": 0, "direction": "forward"})
    look = {"object": 1, "name": "cup", "color": [0, 0, 255]}
    answers = {
        kind: tab.post("export", {"kind": kind, "objects": [look]})
        for kind in ("overlay", "masks", "coco")
    }
    assert [answer.headers["content-disposition"] for answer in answers.values()] == [
        f"attachment; filename*=UTF-8''few{ending}"
        for ending in ("_overlay.mp4", "_masks.zip", ".json")
    ]
    (tmp_path / "overlay.mp4").write_bytes(answers["overlay"].content)
    with open_video(tmp_path / "overlay.mp4") as played:
        assert played.num_frames == FRAMES
        mask = tab.work.masks(2).masks[0]
        bluer = played[2].astype(int) - tab.work.video[2]
        assert bluer[mask, 2].mean() > bluer[mask, 0].mean() + 50
    with zipfile.ZipFile(io.BytesIO(answers["masks"].content)) as archive:
        assert archive.namelist() == [f"001/{i:05d}.png" for i in range(FRAMES)]
    data = answers["coco"].json()
    assert data["categories"] == [{"id": 1, "name": "cup"}] and len(data["images"]) == FRAMES
    assert len(list(tab.session.folder.iterdir())) == 1  # the upload
