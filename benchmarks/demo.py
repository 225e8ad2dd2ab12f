"""How long a person waits in `sam-jax demo`: from the click to the mask on the screen.

    python -m benchmarks.demo                                # 40 clicks with the model that ships
    python -m benchmarks.demo --screenshot docs/media/demo_page.jpg

Starts the command and drives Chromium with playwright; SAM_JAX_CHROMIUM says where it is, if it is
not on the path. The page measures itself, from the pointer's event to the drawn frame.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

_LEAST, _MOST = 0.15, 0.85  # clicks are inside of the picture
_OPEN = re.compile(r"open (http://\S+)")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_MEASURED = "performance.getEntriesByName('click to mask').map((e) => e.duration)"
_SCENE = ((0.11, 0.70), (0.13, 0.47), (0.89, 0.58))  # clicks of the screenshot, on three things


@dataclass(frozen=True)
class Options:
    model: str = "sam2.1-hiera-nano"
    clicks: int = 40
    screenshot: Path | None = None
    """Also take a picture of the page, into this .jpg or .png."""


def main() -> None:
    args = tyro.cli(Options, prog="python -m benchmarks.demo", description=__doc__)
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-c", "from sam_jax.cli import main; raise SystemExit(main())"]
    server = subprocess.Popen(
        [*command, "demo", "--port", "0", "--model", args.model], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        found = _OPEN.search(server.stdout.readline())
        if found is None:
            raise SystemExit("the server did not start")
        chromium = os.environ.get("SAM_JAX_CHROMIUM") or shutil.which("chromium")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=_FLAGS)
            page = browser.new_page(viewport={"width": 1200, "height": 720})
            page.goto(found[1])
            page.wait_for_selector("body[data-ready]", timeout=600_000)
            page.get_by_role("button", name="Painted scene 1").click()
            page.wait_for_selector("#picture-stage canvas:not([hidden])")
            for index in range(args.clicks):  # a walk that comes near everything
                x, y = (_LEAST + (_MOST - _LEAST) * (index * step % 1) for step in (0.618, 0.414))
                _click(page, x, y)
                page.get_by_role("button", name="Clear", exact=True).click()
            times = page.evaluate(_MEASURED)
            if args.screenshot:
                _screenshot(page, args.screenshot)
            browser.close()
    finally:
        server.terminate()
        server.wait(30)
    times = sorted(times[1:])  # the first one warms the browser up
    print(
        f"{args.model}: click to mask, {len(times)} clicks: median {statistics.median(times):.0f}"
        f" ms, 90 % within {times[int(0.9 * len(times))]:.0f} ms"
    )


def _click(page: Any, x: float, y: float) -> None:
    """Clicks at a place of the picture in 0..1 and waits for the mask."""
    before = len(page.evaluate(_MEASURED))
    box = page.locator("#picture-stage canvas").bounding_box()
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    deadline = time.monotonic() + 60
    while len(page.evaluate(_MEASURED)) == before:
        if time.monotonic() > deadline:
            raise SystemExit("no mask came for a minute")
        page.wait_for_timeout(2)


def _screenshot(page: Any, path: Path) -> None:
    for x, y in _SCENE:
        page.keyboard.press("n")
        _click(page, x, y)
    page.mouse.move(10, 10)
    page.wait_for_timeout(500)  # for the pictures of the candidates
    page.screenshot(path=path)


if __name__ == "__main__":
    main()
