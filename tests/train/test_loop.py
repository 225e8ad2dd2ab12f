"""Runs: interrupted in every way, on other devices, with numbers that are none. Real processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)  # processes that start and compile, some for each test
REPO = Path(__file__).resolve().parents[2]
# The model is tiny, and nothing is optimised: compilation takes nearly all of the time.
DRIVER = """
import sys
from dataclasses import replace
from rich.console import Console
from sam_jax.config import DecoderConfig, HieraConfig, MemoryConfig, Sam2Config
from train import loop, placement, processes, start
from train.__main__ import split_words
from train.config import *

TINY = Sam2Config(
    "tiny-test",
    HieraConfig(8, 1, (1, 1, 2, 1), global_att_blocks=(3,), window_spec=(4, 4, 4, 2)),
    image_size=96, dim=32, mask_channels=16,
    decoder=DecoderConfig(depth=1, num_heads=2, mlp_dim=32, iou_hidden_dim=16),
    memory=MemoryConfig(dim=8, attention_layers=1, mlp_dim=32, fuser_layers=1),
)
start.preset = lambda name: replace(TINY, dim=64) if name == "wider" else TINY
placement._SPREAD_FROM = 4096
member, (folder, *change) = split_words(sys.argv[1:])
recipe = Recipe(
    model="tiny", folder=folder, steps=12,
    images=Stream(
        source=Source(kind="synthetic"), batch=4, frames=1, objects=2,
        prompts=Prompting(point_share=1, corrections=0),
    ),
    losses=LossWeights(stride=4), optimizer=Optimizer(learning_rate=1e-3, encoder_rate=None),
    dtype="float32", ema=0.9, save_every=3, log_every=1, pictures_every=0, workers=0, seed=5,
)
recipe = eval(change[0], globals() | {"recipe": recipe}) if change else recipe
processes.begin(**member)
try:
    with processes.ending_together(folder):
        loop.run(recipe, Console())
except (ValueError, loop.NotFinite) as error:
    raise SystemExit(f"error: {error}")
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("driver") / "driver.py"
    path.write_text(DRIVER)
    return path


def _start(
    driver: Path, folder: Path, recipe: str = "recipe", devices: int = 1, words: str = ""
) -> subprocess.Popen:
    flags = "--xla_backend_optimization_level=0"
    environment = os.environ | {
        "PYTHONPATH": str(REPO),
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(driver.parent / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    command = [sys.executable, str(driver), str(folder), recipe, *words.split()]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _run(driver: Path, folder: Path, recipe: str = "recipe", devices: int = 1) -> tuple[int, str]:
    process = _start(driver, folder, recipe, devices)
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def _losses(folder: Path) -> dict[int, dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return {row["step"]: row for row in rows}


def _wait_for_step(process: subprocess.Popen, folder: Path, step: int) -> None:
    """Until the log has that step, and a checkpoint is there or being written."""
    end = time.monotonic() + 200
    while time.monotonic() < end and process.poll() is None:
        path = folder / "metrics.jsonl"
        if path.exists() and path.read_bytes().count(b"\n") >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"no step {step}: {process.stdout.read() if process.stdout else ''}")


@pytest.fixture(scope="module")
def whole(driver: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    status, output = _run(driver, folder)
    assert status == 0, output
    assert "12 steps are done" in output
    assert len(_losses(folder)) == 12
    return folder


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    driver: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for step in (4, 8):
        process = _start(driver, folder)
        _wait_for_step(process, folder, step)
        process.kill()
        process.communicate()
    status, output = _run(driver, folder)
    assert status == 0, output
    assert "going on from step" in output
    assert _losses(folder) == _losses(whole)
    kept = {int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {6, 9, 12}


def test_sigterm_saves_and_is_no_failure(driver: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = _start(driver, folder, "replace(recipe, save_every=100)")
    _wait_for_step(process, folder, 2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert "stopped by SIGTERM after step" in output
    status, output = _run(driver, folder)
    assert status == 0, output
    assert _losses(folder) == _losses(whole)


def test_a_run_goes_on_with_more_devices_of_two_processes(
    driver: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / "12")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    words = f"--coordinator 127.0.0.1:{port} --processes 2 --process"
    change = "replace(recipe, fsdp=2)"
    both = [_start(driver, folder, change, devices=2, words=f"{words} {i}") for i in range(2)]
    said = [process.communicate(timeout=400)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "going on from step 9" in said[0]
    found, expected = _losses(folder), _losses(whole)
    for step in range(10, 13):
        assert found[step]["total"] == pytest.approx(expected[step]["total"], rel=1e-5)


def test_a_finished_run_says_so_and_another_model_is_refused(driver: Path, whole: Path) -> None:
    before = sorted(path.name for path in (whole / "checkpoints").iterdir())
    status, output = _run(driver, whole)
    assert status == 0 and "12 steps are done" in output
    status, output = _run(driver, whole, "replace(recipe, model='wider')")
    assert status == 1
    assert "is of another model or recipe" in output and "changed: model" in output
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == before


def test_a_loss_that_is_no_number_stops_the_run(driver: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    wild = "replace(recipe, optimizer=replace(recipe.optimizer, learning_rate=1e30, clip=1e30))"
    status, output = _run(driver, folder, f"replace({wild}, save_every=1)")
    assert status == 1
    assert "not a finite number; stopped. The last checkpoint is of step" in output


def test_two_runs_do_not_share_a_folder(driver: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = _start(driver, folder)
    while not (folder / ".lock").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    status, output = _run(driver, folder)
    process.kill()
    process.communicate()
    assert status == 1
    assert "another run is under way" in output
