"""Runs that meet a full disk, broken data, a changed recipe, signals at bad moments."""

import gc
import inspect
import io
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from rich.console import Console

from sam_jax.config import WordsConfig
from sam_jax.load import load
from sam_jax.predictors.text import own_encoder
from train import loop, start, stopping
from train.config import (
    Augment,
    Evaluation,
    Lora,
    LossWeights,
    Optimizer,
    Prompting,
    Recipe,
    Source,
    Stream,
)
from train.losses import Losses
from train.step import Metrics, TrainState
from train.stopping import Stop
from train.types import Batch
from train.world.asking import VOCABULARY

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(orbax|tensorboardX|google).*")

STEPS = 4


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a square each; one of them is broken."""
    root = tmp_path_factory.mktemp("pairs")
    for name in ("images", "masks"):
        (root / name).mkdir()
    random = np.random.default_rng(0)
    for i in range(6):
        picture = random.integers(0, 200, (64, 64, 3), np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        mask[16:48, 8 + 4 * i : 36 + 4 * i] = 255
        picture[mask > 0] += 50
        Image.fromarray(picture).save(root / "images" / f"{i}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")
    (root / "images" / "0.png").write_bytes(b"no picture")
    return root


@pytest.fixture
def tiny(
    pairs: Path, tmp_path: Path, small_tracker: Callable, monkeypatch: pytest.MonkeyPatch
) -> Recipe:
    """A recipe for a small model and `_step`."""
    config = small_tracker().config
    wider = replace(config, memory=replace(config.memory, dim=16))
    monkeypatch.setattr(start, "preset", {"tiny": config, "wider": wider}.__getitem__)
    monkeypatch.setattr(loop, "make_step", _make_step)
    monkeypatch.setattr(loop, "initial_params", lambda *_: (small_tracker().params, "weights"))
    stream = Stream(
        source=Source(kind="pairs", root=str(pairs)),
        batch=2,
        frames=1,
        objects=1,
        prompts=Prompting(point_share=1, corrections=0),
    )
    return Recipe(
        model="tiny",
        folder=str(tmp_path / "run"),
        steps=STEPS,
        images=stream,
        losses=LossWeights(stride=8),
        optimizer=Optimizer(learning_rate=1e-3, encoder_rate=None),
        dtype="float32",
        remat="none",
        save_every=2,
        log_every=0,
        pictures_every=0,
        workers=0,
    )


def _make_step(
    _: Any, optimizer: optax.GradientTransformation, recipe: Recipe, __: Any
) -> Callable:
    """In place of the training step, which takes minutes to compile: parameters shrink."""

    def loss(trained: dict, batch: Batch) -> jax.Array:
        light = batch.images.mean() / 255
        return light * sum(jnp.square(x).mean() for x in trained.values())

    def step(state: TrainState, key: jax.Array, batch: Batch) -> tuple[TrainState, Metrics]:
        total, grads = jax.value_and_grad(loss)(state.trained, batch)
        updates, moved = optimizer.update(grads, state.optimizer, state.trained)
        trained = jax.tree.map(jnp.add, state.trained, updates)
        metrics = Metrics(Losses(*[total] * 5), total, optax.tree.norm(grads))
        return TrainState(trained, state.fixed, state.ema, moved, state.step + 1), metrics

    return step


def _run(recipe: Recipe) -> str:
    said = io.StringIO()
    loop.run(recipe, Console(file=said, width=200))
    return said.getvalue()


def _steps(folder: str) -> list[int]:
    """Of the checkpoints."""
    names = [path.name for path in (Path(folder) / "checkpoints").iterdir()]
    return sorted(int(name) for name in names if name.isdigit())


def _rows(folder: str, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder) / name).read_text().splitlines()]


@pytest.fixture
def no_exit(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses with which the process would have ended at once."""
    ended: list[int] = []
    monkeypatch.setattr(stopping.os, "_exit", ended.append)
    return ended


def test_a_run_compiles_before_its_first_step_only_and_gives_its_state_away(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[int] = []  # steps begun at each compilation
    taken: list[Any] = []

    def listen(name: str, *_: Any, **__: Any) -> None:
        if name == "/jax/core/compile/backend_compile_duration":
            compiled.append(len(taken))

    jax.monitoring.register_event_duration_secs_listener(listen)
    place = loop.to_devices
    monkeypatch.setattr(loop, "to_devices", lambda *a: taken.append(a) or place(*a))
    states: list[Any] = []
    begin = loop._begin

    def begun(*arguments: Any) -> Any:
        state, *rest = begin(*arguments)
        states.append(state)
        return state, *rest

    monkeypatch.setattr(loop, "_begin", begun)
    save = loop.Checkpoints.save

    def note(self: Any, step: int, state: Any, data: Any) -> None:
        # What is before the checkpoint is on record already: the process may be killed later.
        assert [row["step"] for row in _rows(tiny.folder)] == list(range(1, step + 1))
        save(self, step, state, data)

    monkeypatch.setattr(loop.Checkpoints, "save", note)
    said = _run(tiny)
    assert "4 steps are done" in said
    assert "broken samples were left out" in said
    assert len(taken) == STEPS
    assert set(compiled) == {0}, f"compiled before steps {sorted(set(compiled))}"
    assert all(x.is_deleted() for x in jax.tree.leaves(states[0]))
    assert not (Path(tiny.folder) / "scores.jsonl").exists()
    assert "4 steps are done" in _run(tiny)  # again: nothing is left to do
    assert len(taken) == STEPS


def test_the_last_checkpoint_is_from_before_a_loss_that_is_no_number(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, seen = loop._row, []

    def spoilt(metrics: Any) -> dict[str, float]:
        seen.append(1)
        return row(metrics) | ({"gradient": float("nan")} if len(seen) == 4 else {})

    monkeypatch.setattr(loop, "_row", spoilt)
    with pytest.raises(loop.NotFinite, match=r"step 4: gradient is nan.* checkpoint is of step 3"):
        _run(replace(tiny, save_every=3))
    assert _steps(tiny.folder) == [3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_full_disk_leaves_the_checkpoint_before(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = loop.Checkpoints.save
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fills(self: Any, step: int, state: Any, data: Any) -> None:
        if step == 4:
            self.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        save(self, step, state, data)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoints, "save", fills)
        try:
            with pytest.raises(ValueError, match="cannot write") as caught:
                _run(tiny)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "last complete one is of step 2" in str(caught.value)
    for left in gc.get_objects():  # what orbax never began would complain, in a later test
        if inspect.iscoroutine(left) and inspect.getcoroutinestate(left) == inspect.CORO_CREATED:
            left.close()
    assert _steps(tiny.folder) == [2]
    assert "going on from step 2" in _run(tiny)
    assert _steps(tiny.folder) == [2, 4]
    assert [row["step"] for row in _rows(tiny.folder)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "wider"}, "of another model or recipe: .*changed: model"),
        ({"lora": Lora(rank=2)}, "of another model or recipe: .*changed: .*lora.rank"),
        ({"ema": 0.9}, "of another model or recipe: .*changed: ema"),
        ({"accumulate": 2}, "of another model or recipe .*changed: accumulate"),
        ({"frozen": ("^image_encoder/",)}, "of another model or recipe: .*changed: frozen"),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(
    finished: Recipe, change: dict, message: str
) -> None:
    before = (Path(finished.folder) / "recipe.json").read_text()
    with pytest.raises(ValueError, match="(?s)" + message):
        _run(replace(finished, **change))
    assert (Path(finished.folder) / "recipe.json").read_text() == before


@pytest.mark.parametrize("made", [False, True])
def test_a_refused_run_leaves_nothing(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("weights of another model")

    monkeypatch.setattr(loop, "initial_params", refuse)
    folder = tmp_path / "some" / "run"
    if made:
        folder.mkdir(parents=True)
    with pytest.raises(ValueError, match="weights of another model"):
        _run(replace(tiny, folder=str(folder)))
    assert list(tmp_path.rglob("*")) == ([tmp_path / "some", folder] if made else [])


def test_a_damaged_checkpoint_is_named(finished: Recipe) -> None:
    path = Path(finished.folder) / "checkpoints" / str(STEPS)
    for file in (path / "state").rglob("*"):
        if file.is_file() and file.name != "commit_success.txt":
            file.write_bytes(b"")
    with pytest.raises(ValueError, match=f"checkpoint {path} is damaged .*remove it"):
        _run(finished)


@pytest.fixture(scope="module")
def run_once() -> list[Path]:
    return []


@pytest.fixture
def finished(tiny: Recipe, run_once: list[Path]) -> Recipe:
    """A run that is done: a copy of the first one that is asked for."""
    if run_once:
        shutil.copytree(run_once[0], tiny.folder)
        return tiny
    _run(tiny)
    copy = Path(tiny.folder).with_name("copy")
    shutil.copytree(tiny.folder, copy)
    run_once.append(copy)
    return tiny


def test_fewer_steps_than_were_taken_are_done(finished: Recipe) -> None:
    said = _run(replace(finished, steps=3))
    assert "changed: steps" in said
    assert "4 steps are done" in said


def test_an_evaluation_is_given_up_and_made_up_for(
    tiny: Recipe, no_exit: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def long(*_: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", long)
        patch.setattr(loop, "_alone_in", contextless)
        since = time.monotonic()
        said = _run(replace(tiny, evaluation=Evaluation(every=2)))
        assert time.monotonic() - since < 25
    assert "stopped by SIGTERM after step 2" in said
    assert no_exit == [0]
    assert _steps(tiny.folder) == [2]
    monkeypatch.setattr(loop, "evaluate", lambda *_: {"score": 0.5})
    _run(replace(tiny, evaluation=Evaluation(every=2)))
    assert _rows(tiny.folder, "scores.jsonl") == [
        {"step": 2, "score": 0.5},
        {"step": 4, "score": 0.5},
    ]


class contextless:
    """In place of a lock."""

    def __init__(self, *_: Any) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: Any) -> None: ...


def test_work_ends_with_its_error_or_is_left_at_a_signal(no_exit: list[int]) -> None:
    with Stop() as stop:
        assert stop.unless_asked(lambda: None)
        with pytest.raises(ZeroDivisionError):
            stop.unless_asked(lambda: print(1 / 0))
        stop.leave()
        assert not no_exit

        def waits() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(3)

        since = time.monotonic()
        assert not stop.unless_asked(waits)
        assert time.monotonic() - since < 2
        assert stop.asked == "SIGINT" and stop.now(1)
        stop.leave()
        assert no_exit == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture(autouse=True)
def signals() -> Generator[None]:
    """Handlers as they were, whatever a test did."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_run_with_a_text_tower_becomes_a_model_that_reads_phrases(
    tiny: Recipe, small_tracker: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches with phrases have the shapes that the step was compiled for, in both streams."""
    words = WordsConfig(VOCABULARY, width=16, depth=1, num_heads=2)
    model = small_tracker(words=words)
    monkeypatch.setattr(loop, "initial_params", lambda *_: (model.params, "weights"))
    assert tiny.images is not None
    prompts = replace(tiny.images.prompts, text_share=0.5)
    still = Augment(**{name: 0 for name in vars(Augment())})
    world = Source(kind="synthetic")
    images = replace(tiny.images, source=world, prompts=prompts, augment=still)
    videos = replace(tiny.images, source=world, frames=2)
    recipe = replace(tiny, words=words, images=images, videos=videos)
    assert f"{STEPS} steps are done" in _run(recipe)
    loaded = load(recipe.folder)
    assert loaded.config.words == words and loaded.config.text_dim == 16
    embedding = own_encoder(loaded)(["red striped circle"])
    assert embedding.shape == (1, 16) and np.linalg.norm(embedding) == pytest.approx(1)
