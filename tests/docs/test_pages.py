"""The pages build, and warnings are errors."""

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


def test_the_pages_build(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    options = ["--fail-on-warning", "--keep-going", "--quiet"]
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", str(tmp_path)],
        check=False,
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    api = (tmp_path / "api.html").read_text("utf-8")
    assert 'id="sam_jax.ImagePredictor.predict"' in api
    page = (tmp_path / "notebooks" / "image.html").read_text("utf-8")
    assert "show_candidates" in page
