"""A training run from its first step, or from where it stopped, to its last."""

import fcntl
import math
import signal
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from rich.console import Console

from sam_jax.files import check_output_dir
from sam_jax.models import build, init_params
from sam_jax.presets import preset
from sam_jax.sharding import make_mesh
from sam_jax.types import Model
from train.checkpoints import Checkpoints, abstract
from train.config import Recipe
from train.data.pipeline import Loader, make_loader
from train.description import changed, describe
from train.evaluate import evaluate
from train.log import Log
from train.optimizer import make_optimizer
from train.pictures import answers
from train.placement import batch_shardings, check_batch, state_shardings, to_devices
from train.start import initial_params
from train.step import Metrics, TrainState, init_state, make_step
from train.trainable import join, split

_AHEAD = 2  # steps the host may be ahead of what it knows of the losses


class NotFinite(ArithmeticError):
    """The loss of a step is not a number."""


def run(recipe: Recipe, console: Console) -> None:
    """Train, from the last checkpoint of the run's folder if there is one.

    SIGTERM and SIGINT end the run after the step in work, with a checkpoint; while it is measured,
    at once.

    Raises:
      NotFinite: the loss of a step is not finite; the last checkpoint is from before it.
      ValueError: the recipe does not fit the machine, the data, the weights or the folder.
    """
    folder = check_output_dir(recipe.folder)
    with _alone_in(folder):
        _run(recipe, folder, console)


def _run(recipe: Recipe, folder: Path, console: Console) -> None:
    mesh = make_mesh(fsdp=recipe.fsdp)
    for name in ("images", "videos"):
        if (stream := getattr(recipe, name)) is not None:
            check_batch(mesh, stream.batch, name)
    dtype = jnp.dtype(recipe.dtype)
    remat = recipe.remat == "all"
    module = build(preset(recipe.model), dtype, drop_path=recipe.drop_path, remat=remat)
    checkpoints = Checkpoints(folder / "checkpoints", keep=recipe.keep)
    loader = make_loader(
        recipe,
        module.config.image_size,  # type: ignore[unresolved-attribute]
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    try:
        state, start, said = _begin(recipe, module, mesh, checkpoints, loader)
        describe(recipe, module.config, folder)  # type: ignore[unresolved-attribute]
        with (
            Log(folder, console, start=start, steps=recipe.steps, every=recipe.log_every) as log,
            _Stop() as stop,
        ):
            log.say(said)
            _descend(recipe, module, mesh, state, start, loader, checkpoints, log, stop)
            if skipped := loader.skipped():
                log.say(f"{skipped} broken samples were left out: {folder}/skipped*.jsonl")
    finally:
        loader.close()
        with suppress(ValueError):  # an error that is under way says more
            checkpoints.wait()
        checkpoints.close()


def _begin(
    recipe: Recipe, module: nn.Module, mesh: Mesh, checkpoints: Checkpoints, loader: Loader
) -> tuple[TrainState, int, str]:
    """The state to go on from, its step, and a line that says where it is from."""
    key = jax.random.key(recipe.seed)

    def shape() -> TrainState:
        trained, fixed = split(init_params(module, key), recipe, key)
        return init_state(trained, fixed, make_optimizer(recipe, module.config, trained), recipe)

    shapes = jax.eval_shape(shape)
    shardings = state_shardings(mesh, shapes)
    step = checkpoints.latest()
    if step is not None:
        differ = changed(recipe, Path(recipe.folder))
        state, data = checkpoints.restore(abstract(shapes, shardings), step)
        loader.set_state(data)
        said = f"going on from step {step} of {recipe.folder}"
        return state, step, said + (f"; changed: {', '.join(differ)}" if differ else "")
    params, said = initial_params(recipe, module, key)
    trained, fixed = split(params, recipe, key)
    optimizer = make_optimizer(recipe, module.config, trained)
    state = jax.jit(
        partial(init_state, optimizer=optimizer, recipe=recipe), out_shardings=shardings
    )(trained, fixed)
    return state, 0, said


def _descend(
    recipe: Recipe,
    module: nn.Module,
    mesh: Mesh,
    state: TrainState,
    start: int,
    loader: Loader,
    checkpoints: Checkpoints,
    log: Log,
    stop: "_Stop",
) -> None:
    shardings = jax.tree.map(lambda x: x.sharding, state)
    optimizer = make_optimizer(recipe, module.config, state.trained)
    step = jax.jit(
        make_step(module, optimizer, recipe),
        in_shardings=(shardings, None, batch_shardings(mesh)),
        out_shardings=(shardings, None),
        donate_argnums=0,
    )
    key = jax.random.key(recipe.seed)
    under_way: deque[tuple[int, Metrics, int]] = deque()

    def settle(ahead: int) -> None:
        """Wait for the metrics of all but the last few steps."""
        while len(under_way) > ahead:
            number, metrics, clips = under_way.popleft()
            row = _row(jax.device_get(metrics))
            for name in ("total", "gradient"):
                if not math.isfinite(row[name]):
                    raise NotFinite(
                        f"step {number}: {name} is {row[name]}, not a finite number; stopped. The "
                        f"last checkpoint is of step {checkpoints.latest()}. A lower learning rate "
                        "or --dtype float32 may help"
                    )
            log.step(number, row, clips)

    saved = start

    def keep(done: int) -> None:
        nonlocal saved
        if done > saved:
            settle(0)
            checkpoints.save(done, state, loader.get_state())
            saved = done

    def measure(done: int) -> None:
        log.scores(done, evaluate(_model(recipe, module, state), recipe.evaluation))

    pictures, every = recipe.pictures_every, recipe.evaluation.every
    for done in range(start + 1, recipe.steps + 1):
        since = time.monotonic()
        batch = next(loader)
        log.waited(time.monotonic() - since)
        state, metrics = step(state, key, to_devices(mesh, batch))
        under_way.append((done, metrics, batch.images.shape[1] * jax.process_count()))
        settle(_AHEAD)
        if done == recipe.steps or done - saved >= recipe.save_every:
            keep(done)
        with stop.at_once():
            if pictures and done % pictures == 0:
                log.picture(done, answers(_model(recipe, module, state), batch))
            if every and done % every == 0:
                measure(done)
        if stop.asked:
            keep(done)
            checkpoints.wait()
            log.say(f"stopped by {stop.asked} after step {done}; the same command goes on")
            return
    checkpoints.wait()
    with stop.at_once():
        if not log.scored(recipe.steps):
            measure(recipe.steps)
    if stop.asked:
        log.say(f"stopped by {stop.asked} while it was measured; the same command goes on")
        return
    log.say(
        f"{recipe.steps} steps are done; python -m convert {recipe.folder} OUT.safetensors writes "
        "the weights"
    )


def _model(recipe: Recipe, module: nn.Module, state: TrainState) -> Model:
    """The model that a run would hand over now."""
    trained = state.ema or state.trained
    return Model(params=join(trained, state.fixed, recipe.lora), module=module)


def _row(metrics: Metrics) -> dict[str, float]:
    parts = {name: float(value) for name, value in metrics.losses.__dict__.items()}
    return {"total": float(metrics.total), **parts, "gradient": float(metrics.gradient)}


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """Two runs in one folder would mix.

    Raises:
      ValueError: another one is under way.
    """
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"another run is under way in {folder}: use another folder") from error
        yield


class _Interrupted(BaseException):
    """Asked to stop where that can be done at once."""


class _Stop:
    """Notes signals that ask to stop; a second one is not waited for.

    Attributes:
      asked: name of the signal; empty before there is one.
    """

    def __init__(self) -> None:
        self.asked = ""
        self._at_once = False

    def __enter__(self) -> Self:
        signals = (signal.SIGTERM, signal.SIGINT)
        self._before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Generator[None]:
        """What is inside is given up when a signal comes."""
        self._at_once = True
        try:
            yield
        except _Interrupted:
            pass
        finally:
            self._at_once = False

    def _note(self, number: int, _: Any) -> None:
        self.asked = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)
        if self._at_once:
            raise _Interrupted
