"""Python in README.md and docs/*.md runs, and the names that the pages use are there."""

import importlib
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from blocks import PAGES, REPO, Block, blocks

PAGES_WITH_PYTHON = [
    page for page in PAGES if any(block.language == "python" for block in blocks(page))
]
# First words of blocks that are not run -> why.
LEFT_OUT = {
    "import numpy as np\nimport torch": "needs torch, transformers and the detector's weights",
    "clip = sam_jax.load_clip": "needs CLIP's weights; tests/predictors runs text prompts",
    "from run_exported import": "needs exported programs; tests/export runs this class",
}
# What is changed, so that the model that ships will do, quickly.
CHANGED = {
    r'"(sam2(\.1)?-hiera-\w+(-plus)?|sam-vit-\w+)"': '"sam2.1-hiera-nano"',
    r'(AutomaticMaskGenerator\(sam_jax.load\("[^"]+"\))': r"\1, points_per_side=4",
    r'open_video\("docs/media/clip.mp4"\):': 'open_video("docs/media/clip.mp4").frames(stop=3):',
}


def detector(image: np.ndarray, phrases: list[str]) -> list[np.ndarray]:
    """Stands for OWLv2: a box around the cup for each phrase."""
    return [np.array([[230, 60, 490, 240]]) for _ in phrases]


def is_run(block: Block) -> bool:
    return block.language == "python" and not block.text.startswith(tuple(LEFT_OUT))


@pytest.mark.filterwarnings("ignore:OpenCV")  # supervision does without
@pytest.mark.parametrize("page", PAGES_WITH_PYTHON, ids=lambda page: page.name)
def test_python_runs(page: Path, tmp_path, monkeypatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    from sam_jax.io.images import read_image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(REPO / "docs")
    photo = read_image("docs/media/coffee.jpg")
    names = {"photo": photo, "frames": [photo] * 2, "detector": detector}
    cache = jax.config.jax_compilation_cache_dir  # a page shows how to set it
    try:
        for block in filter(is_run, blocks(page)):
            text = block.text
            for old, new in CHANGED.items():
                text = re.sub(old, new, text)
            exec(compile("\n" * (block.line - 1) + text, str(REPO / block.page), "exec"), names)
    finally:
        jax.config.update("jax_compilation_cache_dir", cache)
        plt.close("all")


def test_what_is_left_out_is_there() -> None:
    every = [block.text for page in PAGES for block in blocks(page)]
    for start in LEFT_OUT:
        assert any(text.startswith(start) for text in every), f"{start!r} is gone"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_are_there(page: Path) -> None:
    for name in set(re.findall(r"\bsam_jax(?:\.[a-z_]\w*)+(?:\.\w+)*", page.read_text("utf-8"))):
        parts = name.split(".")
        found, at = importlib.import_module(parts[0]), 1
        while at < len(parts):
            if not hasattr(found, parts[at]):
                importlib.import_module(".".join(parts[: at + 1]))
            found, at = getattr(found, parts[at]), at + 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_are_there(page: Path) -> None:
    """Paths of this project that a page names, in links or as code."""
    text = page.read_text("utf-8")
    prose = re.sub(r"`[^`\n]+`", "", text)
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose)}
    for link in {link for link in links if link and "://" not in link}:
        assert (page.parent / link).exists(), f"{link} is not there"
    code = re.findall(r"`((?:sam_jax|tests|docs|convert|train|configs|examples)/[\w./]*)`", text)
    for path in code:
        assert (REPO / path).exists(), f"{path} is not there"
