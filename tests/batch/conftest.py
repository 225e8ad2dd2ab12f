"""A small model in a file, and folders of small pictures and clips with their prompts."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import sam_jax


@dataclass(frozen=True)
class Job:
    """Attributes:
    rows: of the prompts file.
    """

    inputs: Path
    prompts: Path
    rows: list[dict[str, Any]]

    def write(self, rows: list[dict[str, Any]]) -> None:
        self.prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def model_file(small_tracker: Callable[..., Any], tmp_path_factory: Any) -> Path:
    file = tmp_path_factory.mktemp("model") / "small.safetensors"
    sam_jax.save(small_tracker(), file)
    return file


@pytest.fixture(autouse=True)
def cache_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands in processes of their own, too."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir or "")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


@pytest.fixture(scope="session")
def make_job(drifting: Callable[..., np.ndarray]) -> Callable[..., Job]:
    """`make_job(folder, pictures=5, lengths=(3, 20))`: clips of so many frames, as folders."""

    def make(folder: Path, pictures: int = 5, lengths: tuple[int, ...] = (3, 20)) -> Job:
        inputs = folder / "in"
        inputs.mkdir()
        rows: list[dict[str, Any]] = []
        for i in range(pictures):
            h, w = 40 + 7 * (i % 5), 60 + 11 * (i % 3)
            Image.fromarray(drifting(1, h, w, seed=i)[0]).save(inputs / f"p{i:03d}.png")
            rows.append({"input": f"p{i:03d}.png", "points": [[w / 2, h / 2]]})
            if i % 2:
                box = {"object": 2, "box": [5, 5, w - 9, h - 5], "points": [[8, 8]], "labels": [0]}
                rows.append({"input": f"p{i:03d}.png"} | box)
        for i, length in enumerate(lengths):
            h, w = 50 + 6 * i, 70 - 4 * i
            (inputs / f"clip{i}").mkdir()
            for t, frame in enumerate(drifting(length, h, w, seed=50 + i)):
                Image.fromarray(frame).save(inputs / f"clip{i}" / f"{t:05d}.png")
            rows.append({"input": f"clip{i}", "points": [[w // 2, h // 2]]})
            if length > 3:
                late = {"object": 7, "frame": length - 2, "box": [4, 6, 40, 30]}
                rows.append({"input": f"clip{i}"} | late)
        job = Job(inputs, folder / "prompts.jsonl", rows)
        job.write(rows)
        return job

    return make
