"""The notebooks of docs/notebooks run, cell by cell, in this process: programs are shared."""

import json
import os
from pathlib import Path

import jax
import matplotlib
import pytest

REPO = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPO / "docs" / "notebooks").glob("*.ipynb"))
FIGURES = {"everything": 3, "finetune": 2, "image": 3, "video": 3}
# What a test has no time for -> what it does instead.
SHORTER = {"finetune": ("steps, size, folder = 200,", "steps, size, folder = 2,")}


def code_of(path: Path) -> list[str]:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that looks like docs/notebooks, and may be written to."""
    for name in ("docs/media", "examples", "train", "configs"):
        link = tmp_path / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(REPO / name)
    folder = tmp_path / "docs" / "notebooks"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(jax.config.jax_compilation_cache_dir))
    monkeypatch.setattr("sys.path", [str(REPO), *os.sys.path])
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, workplace):
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    plt.close("all")
    code = code_of(path)
    if path.stem in SHORTER:
        long, short = SHORTER[path.stem]
        assert long in code[0]
        code[0] = code[0].replace(long, short)
    names = {"__name__": "__main__"}
    for number, source in enumerate(code, start=1):
        exec(compile(source, f"{path.name}, code cell {number}", "exec"), names)
    assert len(plt.get_fignums()) == FIGURES[path.stem]
    plt.close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_results(path):
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        assert not cell.get("outputs"), "clear the outputs before saving"
        assert cell.get("execution_count") is None
