"""The page in a real browser: what a person sees and does."""

import io
import json
import re
import statistics
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from sam_jax.demo.search import Search

MEASURED = "performance.getEntriesByName('click to mask').map((e) => e.duration)"
SIDE = 768  # of the samples


@pytest.fixture
def opened(open_page, until):
    """`opened(name=..., **page)`: a page with a sample."""

    def open_one(name="Painted scene 1", **options):
        page = open_page(**options)
        page.get_by_role("button", name=name).click()
        page.wait_for_selector("#picture-stage canvas:not([hidden])")
        until(page, "document.getElementById('status').textContent.includes('read in')")
        page.get_by_role("button", name="Preview").click()  # off: previews would take turns
        return page

    return open_one


@pytest.fixture
def asking(until):
    """`with asking(page): ...` waits until what is done in it has a mask on the screen."""
    from contextlib import contextmanager

    @contextmanager
    def waiting(page):
        before = len(page.evaluate(MEASURED))
        yield
        until(page, f"{MEASURED}.length > {before}")

    return waiting


def place(page, x, y):
    """Where a point of the picture, in 0..1, is on the screen."""
    box = page.locator("#picture-stage canvas").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def tinted(page):
    """The picture as it is on the screen, [h w 3]."""
    canvas = page.locator("#picture-stage canvas")
    return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"), int)


def saved(page, button):
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    path = download.value.path()
    return download.value.suggested_filename, path.read_bytes()


def alert(page):
    page.wait_for_selector("#alert:not([hidden])")
    return page.locator("#alert-text").inner_text()


def test_a_click_is_a_mask_at_once(opened, asking, record_property):
    page = opened()
    before = tinted(page)
    for index in range(10):
        with asking(page):
            page.mouse.click(*place(page, 0.5 + 0.02 * index, 0.3))
        if index < 9:
            page.get_by_role("button", name="Clear", exact=True).click()
    median = statistics.median(page.evaluate(MEASURED))
    record_property("click_to_mask_ms", median)
    print(f"click to mask: median {median:.0f} ms")
    changed = (abs(tinted(page) - before).max(-1) > 20).mean()
    assert 0.005 < changed < 0.9
    assert page.locator(".objects li").count() == 1
    assert "score" in page.locator("#status").inner_text()
    assert page.locator(".candidates button").count() == 3
    scores = page.locator(".candidates .number").all_inner_texts()
    assert scores == sorted(scores, reverse=True)


def test_candidates_exclusion_box_undo(opened, asking, until):
    page = opened()
    with asking(page):
        page.mouse.click(*place(page, 0.6, 0.4))
    first = tinted(page)
    page.keyboard.press("c")
    until(
        page,
        "document.querySelectorAll('.candidates [aria-pressed=true]')[0].ariaLabel.includes('2')",
    )
    page.wait_for_timeout(100)
    assert (tinted(page) != first).any()
    page.keyboard.press("Control+z")
    with asking(page):
        page.mouse.click(*place(page, 0.4, 0.55), button="right")
    assert page.locator(".candidates").is_hidden()  # two clicks are not ambiguous
    asked = page.evaluate("performance.getEntriesByName('click to mask').length")
    page.keyboard.press("Control+z")
    page.keyboard.press("n")
    x0, y0 = place(page, 0.3, 0.05)
    x1, y1 = place(page, 0.8, 0.55)
    with asking(page):
        page.mouse.move(x0, y0)
        page.mouse.down()
        page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
        page.mouse.move(x1, y1)
        page.mouse.up()
    assert page.locator(".objects li").count() == 2 and asked == 2
    for left in (1, 0):
        page.keyboard.press("Control+z")
        assert page.locator(".objects li").count() == left
    page.keyboard.press("Control+y")
    assert page.locator(".objects li").count() == 1


def test_clicks_refine_the_chosen_candidate(opened, asking):
    page, asked = opened(), []
    page.on(
        "request",
        lambda request: request.url.endswith("predict") and asked.append(request.post_data_json),
    )
    with asking(page), page.expect_response("**/predict") as answered:
        page.mouse.click(*place(page, 0.6, 0.4))
    page.keyboard.press("c")
    second_best = answered.value.json()["candidates"][1]["candidate"]
    for x in (0.62, 0.64):
        with asking(page):
            page.mouse.click(*place(page, x, 0.4))
    first, second, third = asked
    assert first["start"] is None and first["multimask"] and len(third["clicks"]) == 3
    assert second["start"]["clicks"] == first["clicks"]
    assert second["start"]["candidate"] == second_best
    assert third["start"] == second["start"]
    x0, y0 = place(page, 0.5, 0.3)
    x1, y1 = place(page, 0.7, 0.5)
    with asking(page):
        page.mouse.move(x0, y0)
        page.mouse.down()
        page.mouse.move(x1, y1)
        page.mouse.up()
    assert asked[-1]["box"] and asked[-1]["start"] is None  # a box says anew what is meant


def test_files_to_take_home(opened, asking):
    page = opened()
    page.get_by_role("button", name="PNG", exact=True).click()
    assert "no objects are prompted" in alert(page)
    with asking(page):
        page.mouse.click(*place(page, 0.6, 0.4))
    name = page.get_by_role("textbox", name="Name")
    name.fill("blue disc")
    name.press("Enter")
    file, content = saved(page, "PNG")
    mask = np.asarray(Image.open(io.BytesIO(content)))
    assert file == "Painted_scene_1_blue_disc.png" and mask.shape == (SIDE, SIDE)
    assert mask[int(0.4 * SIDE), int(0.6 * SIDE)] == 255
    file, content = saved(page, "COCO")
    data = json.loads(content)
    assert file == "Painted_scene_1.json" and data["categories"][0]["name"] == "blue disc"
    assert data["annotations"][0]["area"] == (mask > 0).sum()
    page.keyboard.press("n")
    with asking(page):
        page.mouse.click(*place(page, 0.1, 0.4))
    assert len(zipfile.ZipFile(io.BytesIO(saved(page, "PNG")[1])).namelist()) == 2
    assert Image.open(io.BytesIO(saved(page, "Overlay")[1])).size == (SIDE, SIDE)


def test_wrong_files_are_told_and_nothing_is_lost(opened, asking, tmp_path):
    page = opened()
    with asking(page):
        page.mouse.click(*place(page, 0.6, 0.4))
    (tmp_path / "notes.txt").write_text("hello")
    page.set_input_files("#picture-file", tmp_path / "notes.txt")
    assert "notes.txt is not an image. Taken are JPEG, PNG" in alert(page)
    assert page.locator(".objects li").count() == 1
    page.get_by_role("button", name="Close the message").click()
    (tmp_path / "large.png").write_bytes(bytes(33 << 20))
    page.set_input_files("#picture-file", tmp_path / "large.png")
    assert "large.png has 33.0 MB; at most 32 MB are taken" in alert(page)
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "small.png")
    page.set_input_files("#picture-file", tmp_path / "small.png")
    page.wait_for_selector("#alert", state="hidden")
    page.wait_for_selector(".objects li", state="detached")  # of the other picture


def test_painting_and_keyboard(opened, asking, tmp_path):
    page = opened()
    page.keyboard.press("p")
    with asking(page):
        page.mouse.move(*place(page, 0.5, 0.3))
        page.mouse.down()
        for step in range(5):
            page.mouse.move(*place(page, 0.5 + 0.03 * step, 0.3))
        page.mouse.up()
    assert page.locator(".objects li").count() == 1
    page.keyboard.press("a")
    page.keyboard.press("n")
    page.locator("#picture-stage canvas").focus()
    page.keyboard.press("ArrowLeft")
    with asking(page):
        page.keyboard.press("Enter")
    page.keyboard.press("n")
    page.keyboard.press("b")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
    with asking(page):
        page.keyboard.press("b")
    assert page.locator(".objects li").count() == 3
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")


def test_everything_and_preview(opened, until):
    page = opened()
    page.get_by_text("Everything", exact=True).click()
    for label in ("Least score", "Least stability"):
        page.get_by_label(label).fill("0.2")
    page.get_by_label("Points a side").fill("8")
    page.get_by_role("button", name="Find everything").click()
    until(page, "document.getElementById('status').textContent.startsWith('Found')", 60)
    found = page.locator(".objects li").count()
    assert found > 1
    data = json.loads(saved(page, "COCO")[1])
    assert len(data["annotations"]) == found
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_role("button", name="Preview").click()
    before = tinted(page)
    page.mouse.move(*place(page, 0.6, 0.4))
    page.mouse.move(*place(page, 0.61, 0.4))
    page.wait_for_timeout(1000)
    assert (abs(tinted(page) - before).max(-1) > 10).mean() > 0.01
    assert page.locator(".objects li").count() == 0  # only looked at


def test_everything_shows_how_far_it_is_and_stops(opened, server, monkeypatch, tmp_path):
    step = Search.step
    monkeypatch.setattr(Search, "step", lambda search: (time.sleep(0.1), step(search))[1])
    page = opened()
    line = page.locator("#status")
    page.get_by_text("Everything", exact=True).click()
    find = page.get_by_role("button", name="Find everything")
    for stop in ("button", "picture"):
        find.click()
        line.filter(has_text=re.compile(r"Everything: [1-9]\d? %")).wait_for()
        if stop == "button":
            page.get_by_role("button", name="Stop", exact=True).click()
            line.filter(has_text="Stopped.").wait_for()
        else:
            Image.new("RGB", (300, 200), "teal").save(tmp_path / "small.png")
            page.set_input_files("#picture-file", tmp_path / "small.png")
            line.filter(has_text="small.png, 300").wait_for()
        find.wait_for()
        assert page.locator("#alert").is_hidden() and page.locator(".objects li").count() == 0
    newest = max(server.demo.sessions._all.values(), key=lambda session: session.last_seen)
    assert "everything" not in newest.slots


def test_two_tabs_do_not_mix(opened, asking):
    first, second = opened(), opened("Painted scene 2")
    with asking(first):
        first.mouse.click(*place(first, 0.6, 0.4))
    assert second.locator(".objects li").count() == 0
    with asking(second):
        second.mouse.click(*place(second, 0.5, 0.6))
    names = [json.loads(saved(page, "COCO")[1])["images"][0] for page in (first, second)]
    assert [one["file_name"] for one in names] == ["Painted scene 1", "Painted scene 2"]


def test_a_tab_that_was_forgotten_goes_on(server, opened, asking):
    page = opened()
    with asking(page):
        page.mouse.click(*place(page, 0.6, 0.4))
    newest = max(server.demo.sessions._all.values(), key=lambda session: session.last_seen)
    server.demo.sessions.end(newest)
    with asking(page):
        page.mouse.click(*place(page, 0.65, 0.4))
    assert page.locator("#alert").is_hidden() and page.locator(".objects li").count() == 1
    assert json.loads(saved(page, "COCO")[1])["annotations"]


def test_undo_brings_back_what_was_not_answered_yet(opened, asking):
    page = opened()
    page.route("**/predict", lambda route: (page.wait_for_timeout(300), route.continue_()))
    with asking(page):
        page.mouse.click(*place(page, 0.6, 0.4))
        page.mouse.click(*place(page, 0.65, 0.4))
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector(".candidates button")  # of the first click alone


def test_the_camera_follows(open_page, until):
    page = open_page()
    page.get_by_role("tab", name="Camera").click()
    page.get_by_role("button", name="Start the camera").click()
    page.wait_for_selector("#camera canvas:not([hidden])")
    box = page.locator("#camera canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(
        page, "/0[.]\\d\\d|away/.test(document.querySelector('#camera .objects')?.textContent)", 60
    )
    page.get_by_role("button", name="Stop").click()
    assert page.locator("#camera canvas").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_400_pixels(opened, asking, scheme):
    page = opened(width=400, height=800, color_scheme=scheme)
    with asking(page):
        page.mouse.click(*place(page, 0.6, 0.4))
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    for tab in ("Video", "Camera"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_token_is_taken_from_the_address_and_asked_for(serve, browser):
    with serve(token="secret") as server:
        page = browser.new_page()
        page.goto(f"{server.url}/#token=secret")
        page.wait_for_selector("body[data-ready]")
        assert page.url == f"{server.url}/"  # no longer to be seen
        page.close()
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_label("This server asks for a token").fill("secret")
        page.get_by_role("button", name="Enter").click()
        page.wait_for_selector("body[data-ready]")
        page.close()
