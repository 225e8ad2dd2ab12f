"""The video tab in a real browser."""

import itertools
import time
from pathlib import Path

import pytest
from PIL import Image

from sam_jax.demo import video_routes
from sam_jax.io.videos import open_video

FRAMES = 24  # of the bundled clip
CLIP = Path(__file__).parents[2] / "docs/media/clip.mp4"


_PATIENCE = 120_000  # ms; the first tracking compiles


def status(page, text: str) -> None:
    """Waits until the line at the bottom has that text."""
    page.locator("#status", has_text=text).wait_for(timeout=_PATIENCE)


@pytest.fixture
def clip_page(open_page):
    """`clip_page(**options)`: a page with the bundled clip open in the video tab."""

    def make(**options):
        page = open_page(**options)
        page.click("#video-tab")
        page.get_by_role("button", name="Painted clip").click()
        status(page, f"{FRAMES} frames, 2.4 s")
        return page

    return make


def place(page, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the clip is on the screen."""
    box = page.locator("#video-stage canvas").bounding_box()
    return box["x"] + x / 256 * box["width"], box["y"] + y / 256 * box["height"]


def draw_box(page) -> None:
    """Around the thing that `make demo` follows; waits for the answer."""
    page.mouse.move(*place(page, 105, 27))
    page.mouse.down()
    page.mouse.move(*place(page, 150, 60))
    page.mouse.move(*place(page, 199, 100))
    page.mouse.up()
    status(page, "score")


def bars(page) -> list[float]:
    """How tall the first, blue object's bar is on each frame, in 0..1, times its opacity."""
    return page.evaluate(
        """(frames) => {
          const canvas = document.getElementById("video-timeline");
          const scale = canvas.width / canvas.clientWidth;
          const pen = canvas.getContext("2d", { willReadFrequently: true });
          const step = (canvas.clientWidth - 16) / (frames - 1);
          const row = Math.round(26 * scale);
          return [...Array(frames).keys()].map((frame) => {
            const x = Math.round((8 + frame * step + (frame ? -0.3 : 0.3) * step) * scale);
            const { data } = pen.getImageData(x, Math.round(6 * scale), 1, row);
            const share = [...Array(row).keys()].map((y) => {
              const [r, , b, opacity] = data.slice(4 * y, 4 * y + 4);
              return b - r > 100 ? opacity / 255 : 0;
            });
            return share.reduce((a, b) => a + b, 0) / row;
          });
        }""",
        FRAMES,
    )


def test_track_correct_and_save(clip_page, tmp_path: Path) -> None:
    page = clip_page()
    assert page.get_by_role("button", name="Forward →").is_disabled()  # nothing is prompted
    draw_box(page)
    assert [height > 0 for height in bars(page)] == [True] + [False] * (FRAMES - 1)
    page.keyboard.press("f")
    status(page, f"Tracked {FRAMES} frames")
    tracked = bars(page)
    assert all(height > 0.1 for height in tracked)
    assert page.text_content("#video-number") == f"{FRAMES} / {FRAMES}"

    page.keyboard.press("Home")
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    assert page.text_content("#video-number") == f"13 / {FRAMES}"
    page.wait_for_timeout(300)  # the frame is on the stage
    page.mouse.click(*place(page, 60, 60), button="right")
    status(page, "object 1 on frame 13")
    corrected = bars(page)
    assert all(corrected[i] < 0.5 * tracked[i] for i in range(FRAMES) if i not in (0, 12))
    page.get_by_role("button", name="Forward →").click()
    status(page, f"Tracked {FRAMES - 12} frames")
    assert [a < 0.5 * b for a, b in zip(bars(page), tracked, strict=True)][1:] == (
        [True] * 11 + [False] * 12
    )

    with page.expect_download() as download:
        page.get_by_role("button", name="Overlay").click()
    assert download.value.suggested_filename == "Painted_clip_overlay.mp4"
    download.value.save_as(tmp_path / "overlay.mp4")
    with open_video(tmp_path / "overlay.mp4") as played:
        assert played.num_frames == FRAMES and (played.height, played.width) == (256, 256)
        assert sum(1 for _ in played) == FRAMES
    with page.expect_download() as download:
        page.get_by_role("button", name="COCO").click()
    assert download.value.suggested_filename == "Painted_clip.json"


def test_painted_loaded_and_named_objects(clip_page, tmp_path: Path) -> None:
    page = clip_page()
    items = page.locator("#video-objects li")
    page.keyboard.press("p")
    with page.expect_request("**/api/video/prompt") as asked:
        page.mouse.move(*place(page, 120, 60))
        page.mouse.down()
        for x in range(120, 190, 10):
            page.mouse.move(*place(page, x, 60))
        page.mouse.up()
    status(page, "object 1 on frame 1")
    body = asked.value.post_data_json
    assert body["clicks"] == [] and body["mask"]["size"] == [256, 256]
    painted = sum(body["mask"]["counts"][1::2])
    page.keyboard.press("e")  # goes on from the mask that is there
    with page.expect_request("**/api/video/prompt") as asked:
        page.mouse.click(*place(page, 125, 60))
    status(page, "object 1 on frame 1")
    assert 0 < sum(asked.value.post_data_json["mask"]["counts"][1::2]) < painted
    page.keyboard.press("a")
    with page.expect_request("**/api/video/prompt") as asked:
        page.mouse.click(*place(page, 150, 80))
    status(page, "object 1 on frame 1")
    assert asked.value.post_data_json["mask"] and len(asked.value.post_data_json["clicks"]) == 1

    page.keyboard.press("n")
    Image.new("L", (512, 512)).save(tmp_path / "black.png")
    half = Image.new("L", (512, 512))
    half.paste(255, (0, 0, 256, 512))
    half.save(tmp_path / "half.png")
    for name in ("black.png", "half.png"):
        with page.expect_file_chooser() as chooser:
            page.locator("#video-tools").get_by_role("button", name="Mask…").click()
        chooser.value.set_files(tmp_path / name)
        if name == "black.png":
            page.locator("#alert-text", has_text="black.png is empty").wait_for()
    status(page, "object 2 on frame 1")
    assert page.locator("#alert").is_hidden()

    page.keyboard.press("n")
    words = page.locator("#video-side").get_by_label("What the object is called")
    for text, told in (("zebra", "has 'zebra', which is none"), ("cup", "frame is called 'cup'")):
        words.fill(text)
        words.press("Enter")
        page.locator("#alert-text", has_text=told).wait_for(timeout=_PATIENCE)
        assert items.count() == 2
    words.fill("purple square")
    words.press("Enter")
    status(page, "object 3 on frame 1: score 0.7")
    page.locator("#video-stage canvas").focus()
    page.keyboard.press("f")
    status(page, f"Tracked {FRAMES} frames")
    assert items.count() == 3 and page.locator("#alert").is_hidden()


def test_stop_undo_and_objects(clip_page, monkeypatch: pytest.MonkeyPatch) -> None:
    step, steps = video_routes._next_step, itertools.count()

    def slow(*arguments):
        time.sleep(1 if next(steps) > 2 else 0)  # so there is time to stop, on busy machines too
        return step(*arguments)

    monkeypatch.setattr(video_routes, "_next_step", slow)
    page = clip_page(width=400, height=800, color_scheme="dark")
    draw_box(page)
    page.keyboard.press("n")
    page.mouse.click(*place(page, 60, 60))
    status(page, "object 2 on frame 1: ")
    page.keyboard.press("t")
    page.locator("#video-track-text", has_text=f"2 of {FRAMES}").wait_for(timeout=_PATIENCE)
    page.get_by_role("button", name="Stop").click()
    status(page, "Stopped after")
    known = sum(height > 0 for height in bars(page))
    assert 2 <= known < FRAMES
    assert page.get_by_role("button", name="Forward →").is_enabled()

    page.keyboard.press("Control+z")
    assert page.locator("#video-objects li").count() == 1
    page.keyboard.press("Control+y")
    assert page.locator("#video-objects li").count() == 2
    status(page, "Stopped after")
    page.get_by_role("button", name="Delete object 1").click()
    page.get_by_role("button", name="Delete object 2").click()
    assert page.locator("#video-hint").is_visible()
    assert not any(bars(page))
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_what_the_server_refuses_is_said_and_taken_back(clip_page, tmp_path: Path) -> None:
    page = clip_page()
    draw_box(page)
    page.locator("#video-file").set_input_files(
        {"name": "notes.mp4", "mimeType": "video/mp4", "buffer": b"these are notes"}
    )
    page.locator("#alert-text", has_text="mp4, mov, mkv and webm are").wait_for()
    assert page.locator("#video-objects li").count() == 1  # the clip is still open
    for _ in range(32):
        page.keyboard.press("n")
        page.mouse.click(*place(page, 60, 60))
        if page.locator("#video-objects li").count() > 8:
            break
    page.locator("#alert-text", has_text="there are 8 objects").wait_for(timeout=_PATIENCE)
    assert page.locator("#video-objects li").count() == 8


# In the page, because a test that waits from outside may come too late.
PLAY_AND_PAUSE = """async () => {
  const number = document.getElementById("video-number");
  const space = () => new KeyboardEvent("keydown", { key: " ", bubbles: true });
  const press = () => document.activeElement.dispatchEvent(space());
  const seen = [];
  await new Promise((resume) => {
    const watch = new MutationObserver(() => {
      seen.push(number.textContent);
      if (!number.textContent.startsWith("5 ")) return;
      watch.disconnect();
      press();
      resume();
    });
    watch.observe(number, { childList: true });
    press();
  });
  const before = number.textContent;
  await new Promise((resume) => setTimeout(resume, 400));
  return [seen, before, number.textContent];
}"""


def test_play_and_scrub_by_keyboard_and_timeline(clip_page) -> None:
    page = clip_page()
    number = page.locator("#video-number")
    page.keyboard.press("End")
    assert number.text_content() == f"{FRAMES} / {FRAMES}"
    seen, before, after = page.evaluate(PLAY_AND_PAUSE)  # from the beginning again
    assert list(dict.fromkeys(seen)) == [f"{i} / {FRAMES}" for i in range(1, 6)]
    assert before == after == f"5 / {FRAMES}"
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    assert number.text_content() == f"11 / {FRAMES}"
    box = page.locator("#video-timeline").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 8, box["y"] + 10)
    assert number.text_content() == f"{FRAMES} / {FRAMES}"
    page.get_by_label("Frame", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    assert number.text_content() == f"{FRAMES - 1} / {FRAMES}"
    page.get_by_role("tab", name="Picture").click()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Video").get_attribute("aria-selected") == "true"
    assert number.text_content() == f"{FRAMES - 1} / {FRAMES}"


def test_a_tab_that_was_forgotten_takes_another_video(server, clip_page) -> None:
    page = clip_page()
    newest = max(server.demo.sessions._all.values(), key=lambda session: session.last_seen)
    server.demo.sessions.end(newest)
    page.locator("#video-file").set_input_files(
        {"name": "again.mp4", "mimeType": "video/mp4", "buffer": CLIP.read_bytes()}
    )
    status(page, "again.mp4: 256")
    draw_box(page)
