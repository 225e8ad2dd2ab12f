"""The page in a real browser: what a person sees and does."""

import statistics


def open_sample(page, until, name="Painted scene 1"):
    page.get_by_role("button", name=name).click()
    page.wait_for_selector("#picture-stage canvas:not([hidden])")
    until(page, "document.getElementById('status').textContent.includes('read in')")


def place(page, x, y):
    """Where a point of the picture, in 0..1, is on the screen."""
    box = page.locator("#picture-stage canvas").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def measured(page):
    return page.evaluate("performance.getEntriesByName('click to mask').map((e) => e.duration)")


def click(page, until, x, y, **options):
    """Clicks, and waits until the mask is drawn."""
    before = len(measured(page))
    page.mouse.click(*place(page, x, y), **options)
    until(page, f"performance.getEntriesByName('click to mask').length > {before}")


def test_a_click_is_answered(open_page, until):
    page = open_page()
    open_sample(page, until)
    for _ in range(5):
        click(page, until, 0.12, 0.4)
        page.get_by_role("button", name="New", exact=True).click()
    assert statistics.median(measured(page)) < 100
