"""A training run from its first step, or from where it stopped, to its last."""

import fcntl
import math
import sys
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from rich.console import Console

from sam_jax.files import output_dir
from sam_jax.models import build, init_params
from sam_jax.sharding import make_mesh
from sam_jax.types import Model
from sam_jax.video import require_memory
from train.checkpoints import Checkpoints, abstract
from train.config import Recipe, Stream
from train.data.pipeline import Loader, make_loader
from train.description import changed, describe
from train.evaluate import evaluate
from train.log import Log, scored
from train.optimizer import make_optimizer
from train.pictures import answers
from train.placement import (
    batch_shapes,
    batch_shardings,
    check_batch,
    on_one_device,
    state_shardings,
    to_devices,
    whole,
)
from train.start import initial_params, model_config
from train.step import Metrics, TrainState, init_state, make_step
from train.stopping import Stop
from train.trainable import join, split
from train.types import Batch

_AHEAD = 2  # steps the host may be ahead of what it knows of the losses
_SPREADS = 1.0  # seconds, in which a signal has reached all processes of a terminal


class NotFinite(ArithmeticError):
    """The loss of a step is not a number."""


def run(recipe: Recipe, console: Console) -> None:
    """Train, from the last checkpoint of the run's folder if there is one.

    SIGTERM and SIGINT end the run after the step in work, with a checkpoint; while it is compiled
    or measured, at once, and the process with it.

    Raises:
      NotFinite: the loss of a step is not finite; the last checkpoint is from before it.
      ValueError: the recipe does not fit the machine, the data, the weights or the folder.
    """
    folder = Path(recipe.folder)
    with Stop() as stop:
        with _alone_in(folder):
            _run(recipe, folder, console, stop)
        stop.leave()


def _run(recipe: Recipe, folder: Path, console: Console, stop: Stop) -> None:
    mesh = make_mesh(fsdp=recipe.fsdp)
    for name in ("images", "videos"):
        if (stream := getattr(recipe, name)) is not None:
            check_batch(mesh, stream.batch, name)
    dtype = jnp.dtype(recipe.dtype)
    remat = recipe.remat == "all"
    config = model_config(recipe)
    if recipe.videos or recipe.evaluation.videos:
        require_memory(config)
    module = build(config, dtype, drop_path=recipe.drop_path, remat=remat, dropout=recipe.dropout)
    loader = make_loader(
        recipe,
        config.image_size,
        keep_aspect=config.keep_aspect,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    checkpoints = Checkpoints(folder / "checkpoints", keep=recipe.keep)
    try:
        state, start, said = _begin(recipe, module, mesh, checkpoints, loader)
        if jax.process_index() == 0:
            describe(recipe, config, folder)
        else:  # all processes do the same, and one is heard
            console = Console(quiet=True)
        with (
            TemporaryDirectory() as unread,
            Log(
                folder if jax.process_index() == 0 else Path(unread),
                console,
                start=start,
                steps=recipe.steps,
                every=recipe.log_every,
                skipped=loader.skipped,
            ) as log,
        ):
            log.say(said)
            _descend(recipe, module, mesh, state, start, loader, checkpoints, log, stop)
            if skipped := loader.skipped():
                log.say(f"{skipped} broken samples were left out: {folder}/skipped*.jsonl")
    finally:
        loader.close()
        # After an error, processes that it waits for may be gone.
        if jax.process_count() == 1 or sys.exception() is None:
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
        changes = f"; changed: {', '.join(differ)}" if differ else ""
        try:
            state, data = checkpoints.restore(abstract(shapes, shardings), step)
        except ValueError as error:
            raise ValueError(f"{error}{changes}") from error
        loader.set_state(data)
        return state, step, f"going on from step {step} of {recipe.folder}{changes}"
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
    stop: Stop,
) -> None:
    shardings = jax.tree.map(lambda x: x.sharding, state)
    optimizer = make_optimizer(recipe, module.config, state.trained)
    same = whole(mesh)
    step = jax.jit(
        make_step(module, optimizer, recipe, mesh),
        in_shardings=(shardings, same, batch_shardings(mesh)),
        out_shardings=(shardings, same),
        donate_argnums=0,
    )
    key = jax.jit(partial(jax.random.key, recipe.seed), out_shardings=same)()
    programs: dict[int, Any] = {}  # by frames of a clip

    def compile_all() -> None:
        streams = {"images": recipe.images, "videos": recipe.videos}
        shares = {"images": recipe.image_share, "videos": 1 - recipe.image_share}
        for name, stream in streams.items():
            if stream is not None and (shares[name] or None in streams.values()):
                shapes = batch_shapes(
                    mesh, stream, module.config.image_size, *_text(recipe, stream)
                )
                programs[stream.frames] = step.lower(state, key, shapes).compile()

    # Before the first step, when there is nothing to save. They refuse batches of other shapes.
    if start < recipe.steps and not stop.unless_asked(compile_all):
        return log.say(f"stopped by {stop.asked} while compiling; the same command goes on")
    log.begins()
    under_way: deque[tuple[int, Metrics, int]] = deque()

    def settle(ahead: int) -> None:
        """Wait for the metrics of all but the last few steps."""
        while len(under_way) > ahead:
            number, metrics, clips = under_way.popleft()
            row = _row(jax.device_get(metrics))
            for name in ("total", "gradient"):
                if not math.isfinite(row[name]):
                    with suppress(ValueError):
                        checkpoints.wait()
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

    def take() -> Batch | None:
        """The next batch; None if those who read were asked to stop, as this process is."""
        since = time.monotonic()
        try:
            return next(loader)
        except Exception:
            time.sleep(_SPREADS)
            if stop.asked and jax.process_count() == 1:
                return None
            raise
        finally:
            log.waited(time.monotonic() - since)

    def end(done: int) -> None:
        keep(done)
        checkpoints.wait()
        log.say(f"stopped by {stop.asked} after step {done}; the same command goes on")

    def measure(done: int) -> bool:
        model = _model(recipe, module, on_one_device(mesh, state))
        found: dict[str, float] = {}
        if not stop.unless_asked(lambda: found.update(evaluate(model, recipe.evaluation))):
            return False
        if found:
            log.scores(done, found)
        return True

    def show(done: int, batch: Batch) -> None:
        model = _model(recipe, module, on_one_device(mesh, state))
        stop.unless_asked(lambda: log.picture(done, answers(model, batch)))

    pictures, every = recipe.pictures_every, recipe.evaluation.every
    measured = scored(Path(recipe.folder), start)
    if every and start and start % every == 0 and not measured:  # it was stopped meanwhile
        measured = measure(start)
    for done in range(start + 1, recipe.steps + 1):
        if (batch := take()) is None:
            return end(done - 1)
        state, metrics = programs[len(batch.images)](state, key, to_devices(mesh, batch))
        under_way.append((done, metrics, batch.images.shape[1] * jax.process_count()))
        settle(_AHEAD)
        if done == recipe.steps or done - saved >= recipe.save_every:
            keep(done)
        if pictures and done % pictures == 0:
            show(done, batch)
        measured = every > 0 and done % every == 0 and measure(done)
        if done < recipe.steps and stop.now(done):
            return end(done)
    checkpoints.wait()
    done = max(start, recipe.steps)
    if not measured and not measure(done):
        return log.say(f"stopped by {stop.asked} while measuring; the same command goes on")
    return log.say(
        f"{done} steps are done; python -m convert {recipe.folder} OUT.safetensors writes "
        "the weights"
    )


def _text(recipe: Recipe, stream: Stream) -> tuple[int, int]:
    """Tokens of a phrase, or the width of the embedding in its place, in a stream's batches."""
    if not stream.prompts.text_share:
        return 0, 0
    return (recipe.words.context, 0) if recipe.words is not None else (0, recipe.text_dim)


def _model(recipe: Recipe, module: nn.Module, state: TrainState) -> Model:
    """The model that a run would hand over now."""
    trained = state.ema or state.trained
    return Model(params=join(trained, state.fixed, recipe.lora), module=module)


def _row(metrics: Metrics) -> dict[str, float]:
    parts = {name: float(value) for name, value in metrics.losses.__dict__.items()}
    return {"total": float(metrics.total), **parts, "gradient": float(metrics.gradient)}


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """The folder of a run, which goes again if nothing comes into it. Two runs in one would mix.

    Of several processes, the first sees to it.

    Raises:
      ValueError: another run is under way, or the folder cannot be written.
    """
    if jax.process_index():
        yield
        return
    lock = folder / ".lock"
    with output_dir(folder), lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"another run is under way in {folder}: use another folder") from error
        try:
            with output_dir(folder / "checkpoints"):
                yield
        finally:
            if list(folder.iterdir()) == [lock]:
                lock.unlink()
