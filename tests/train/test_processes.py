"""Several processes train as one, end together, and go on as fewer or more. Real ones, on loopback.

The step is a cheap one that needs all clips of all processes; the real one is in test_loop.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from train.__main__ import split_words

pytestmark = pytest.mark.timeout(900)
REPO = Path(__file__).resolve().parents[2]
DRIVER = """
import sys, time
import jax, jax.numpy as jnp, numpy as np, optax
from rich.console import Console
from train import loop, placement, processes
from train.__main__ import split_words
from train.config import *
from train.losses import Losses
from train.step import Metrics, TrainState

def params(*_):
    ramp = jnp.arange(512.0).reshape(8, 64) / 512
    return {"moves": {"kernel": ramp, "bias": ramp[0]}, "rests": ramp + 1}

def make_step(module, optimizer, recipe, mesh):
    def loss(trained, batch):
        light = batch.images.mean() / 255
        return light * sum(jnp.square(x).mean() for x in trained.values())

    def step(state, key, batch):
        total, grads = jax.value_and_grad(loss)(state.trained, batch)
        updates, moved = optimizer.update(grads, state.optimizer, state.trained)
        trained = jax.tree.map(jnp.add, state.trained, updates)
        metrics = Metrics(Losses(*[total] * 5), total, optax.tree.norm(grads))
        return TrainState(trained, state.fixed, state.ema, moved, state.step + 1), metrics

    return step

def to_devices(*arguments):
    time.sleep(0.25 if jax.process_count() > 1 else 0)  # time to be interrupted
    return placement.to_devices(*arguments)

def evaluate(model, evaluation):
    kernel = model.params["moves"]["kernel"]
    assert kernel.shape == (8, 64) and kernel.devices() == {jax.local_devices()[0]}
    return {"mean": float(np.mean(kernel))}

placement._SPREAD_FROM, processes._SILENCE = 1024, 15
loop.make_step, loop.to_devices, loop.evaluate = make_step, to_devices, evaluate
loop.init_params, loop.initial_params = params, lambda *_: (params(), "weights")
member, (folder, fsdp, *_) = split_words(sys.argv[1:])
recipe = Recipe(
    model="sam2.1-hiera-nano", image_size=64, folder=folder, steps=32, fsdp=int(fsdp),
    images=Stream(source=Source(kind="synthetic"), batch=4, frames=1, objects=2),
    frozen=("^rests",), optimizer=Optimizer(learning_rate=1e-2, clip=10),
    dtype="float32", save_every=4, log_every=0, pictures_every=0, workers=0, seed=5,
)
processes.begin(**member)
with processes.ending_together(recipe.folder):
    loop.run(recipe, Console())
"""


class Run:
    """Processes of the driver that train together."""

    def __init__(self, folder: Path, *, processes: int, devices: int, fsdp: int) -> None:
        driver = folder.with_name("driver.py")
        driver.write_text(DRIVER)
        environment = os.environ | {
            "PYTHONPATH": str(REPO),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_backend_optimization_level=0 "
            f"--xla_force_host_platform_device_count={devices}",
        }
        self.processes = []
        port = _free_port()
        for i in range(processes):
            words = f"{fsdp} --coordinator 127.0.0.1:{port} --processes {processes} --process {i}"
            command = [sys.executable, str(driver), str(folder)]
            command += words.split() if processes > 1 else [str(fsdp)]
            with folder.with_name(f"{folder.name}-{i}.txt").open("w") as said:
                process = subprocess.Popen(
                    command, env=environment, stdout=said, stderr=subprocess.STDOUT
                )
            self.processes.append(process)
        self.folder = folder

    def wait_for(self, step: int) -> None:
        """Until its checkpoint is complete."""
        path = self.folder / "checkpoints" / str(step)
        while not path.exists():
            assert all(process.poll() is None for process in self.processes), self.end()
            time.sleep(0.01)

    def end(self, *, within: float = 400) -> tuple[list[int], list[str]]:
        """Statuses and what was said, of each process."""
        end = time.monotonic() + within
        statuses = [p.wait(timeout=end - time.monotonic()) for p in self.processes]
        names = [f"{self.folder.name}-{i}.txt" for i in range(len(statuses))]
        return statuses, [self.folder.with_name(name).read_text() for name in names]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_processes_end_together_and_others_go_on(tmp_path: Path) -> None:
    """On 2 x 2 devices, of which one process is killed; 2 x 1, until a signal; then 1."""
    folder, whole = tmp_path / "run", tmp_path / "whole"

    run = Run(folder, processes=2, devices=2, fsdp=2)
    run.wait_for(4)
    run.processes[1].kill()
    statuses, said = run.end(within=120)
    # Either a collective fails, or jax notices that nothing is heard, and aborts.
    assert statuses[0] in (1, -signal.SIGABRT) and statuses[1] == -signal.SIGKILL, said
    assert re.search("another (one has ended|task died)", said[0]), said
    assert "the same command in all of them goes on from the last checkpoint" in said[0].lower()

    run = Run(folder, processes=2, devices=1, fsdp=2)
    run.wait_for(12)
    run.processes[1].send_signal(signal.SIGTERM)
    statuses, said = run.end()
    assert statuses == [0, 0], said
    assert re.search("going on from step [48] ", said[0])
    done = len(_rows(folder))
    assert done < 32
    assert f"stopped by a signal to one of the processes after step {done}" in said[0]
    assert (folder / "checkpoints" / str(done)).is_dir()
    assert "after step" in said[0] and "after step" not in said[1]

    # On one device from what two wrote, and on one from the beginning.
    for path in (folder, whole):
        statuses, said = Run(path, processes=1, devices=1, fsdp=1).end()
        assert statuses == [0] and "32 steps are done" in said[0], said
        assert ("going on from step" in said[0]) == (path == folder)
    for name in ("metrics.jsonl", "scores.jsonl"):
        found, expected = _rows(folder, name), _rows(whole, name)
        assert [row["step"] for row in found] == [row["step"] for row in expected]
        for row, wanted in zip(found, expected, strict=True):
            assert row == pytest.approx(wanted, rel=1e-5)
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in whole.iterdir())


def test_processes_with_different_recipes_all_end(tmp_path: Path) -> None:
    address = f"127.0.0.1:{_free_port()}"
    words = ["debug", "--folder", str(tmp_path / "run"), "--coordinator", address]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "train", *words, "--processes", "2", "--process", str(i), *more],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            cwd=REPO,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, more in enumerate([[], ["--steps", "4", "--losses.iou", "2"]])
    ]
    try:
        said = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    for i, text in enumerate(said):
        assert (
            f"error: process {i} of 2: the processes were started with different steps, losses"
            in text
        )
    assert [process.returncode for process in started] == [1, 1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--coordinator a:1 --process 0", "--processes missing"),
        ("--processes 2", "--coordinator and --process missing"),
        ("--coordinator a --processes 2 --process 0", "must be HOST:PORT, got 'a'"),
        ("--coordinator a:99999 --processes 2 --process 0", "must be HOST:PORT, got 'a:99999'"),
        ("--coordinator a:1 --processes 0 --process 0", "--processes must be at least 1, got 0"),
        ("--coordinator a:1 --processes 2 --process 2", "--process must be 0 to 1 of 2"),
        ("--coordinator a:1 --processes two --process 0", "--processes: invalid int value: 'two'"),
    ],
)
def test_words_that_say_too_little_are_refused(words: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_words(words.split())


def test_words_of_processes_are_apart_from_the_recipe() -> None:
    words = "--steps 3 --process 1 --processes 2 --coordinator a.b:1 --proc 4"
    member, rest = split_words(words.split())
    assert member == {"coordinator": "a.b:1", "processes": 2, "process": 1}
    assert rest == ["--steps", "3", "--proc", "4"]
    assert split_words(["--steps", "3"]) == ({}, ["--steps", "3"])
