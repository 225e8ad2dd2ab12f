"""Train, write the weights, evaluate: `python -m train RECIPE [--field value]`."""

import importlib
import multiprocessing
import pkgutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import tyro
from flax import serialization
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sam_jax.config import Sam2Config
from sam_jax.files import replacing
from sam_jax.load import load, save
from sam_jax.models import build
from sam_jax.presets import preset
from sam_jax.types import Model
from train import video
from train.clips import make_clips
from train.config import TrainConfig, VideoConfig
from train.evaluate import evaluate, evaluate_video
from train.losses import Losses
from train.step import TrainState, init_state, initial_params, make_optimizer, make_step
from train.synthetic import make_batch

_TRAINING, _HELD_OUT = 0, 1  # first part of a scene's seed
_AHEAD = 4  # batches painted before they are wanted
_LOG_STEPS = 50

Batch = tuple[np.ndarray, np.ndarray]


def _painter(config: TrainConfig | VideoConfig, size: int) -> Callable[[tuple[int, ...]], Batch]:
    """What paints the batch of a seed."""
    if isinstance(config, VideoConfig):
        return partial(
            make_clips,
            clips=config.clips,
            objects=config.objects,
            frames=config.frames,
            size=size,
            photos=config.photos,
        )
    return partial(
        make_batch, images=config.images, prompts=config.prompts, size=size, photos=config.photos
    )


def training_batches(config: TrainConfig | VideoConfig, size: int, start: int) -> Iterator[Batch]:
    """The batches of steps `start`, `start` + 1, ...; each depends on its number only."""
    paint = _painter(config, size)
    # Not forked: a fork of a process with JAX's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(config.workers, mp_context=context) as pool:
        wanted = deque[Future[Batch]]()
        for step in range(start, config.steps):
            wanted.append(pool.submit(paint, (_TRAINING, config.seed, step)))
            if len(wanted) > _AHEAD:
                yield wanted.popleft().result()
        while wanted:
            yield wanted.popleft().result()


def held_out_batches(config: TrainConfig | VideoConfig, size: int) -> Iterator[Batch]:
    """The same scenes or clips for every seed of the training."""
    if isinstance(config, VideoConfig):
        for i in range(config.eval_clips):
            yield make_clips(
                (_HELD_OUT, i),
                clips=1,
                objects=config.eval_objects,
                frames=config.eval_frames,
                size=size,
                photos=config.photos,
            )
        return
    for i in range(0, config.eval_images, config.images):
        images = min(config.images, config.eval_images - i)
        yield make_batch(
            (_HELD_OUT, i), images, config.eval_prompts, size=size, photos=config.photos
        )


def _begin(
    config: TrainConfig | VideoConfig, module: nn.Module
) -> tuple[TrainState, Callable[..., tuple[TrainState, Losses]]]:
    """The state before the first step, and the step."""
    key = jax.random.key(config.seed)
    if isinstance(config, VideoConfig):
        start = load(config.start)
        if start.config != module.config:  # type: ignore[unresolved-attribute]
            raise SystemExit(f"{config.start} is a {start.config.name}, not a {config.model}")
        optimizer = video.make_optimizer(config)
        params = jax.jit(partial(video.initial_params, module))(start.params, key)
        return init_state(params, optimizer), video.make_step(module, optimizer, config)
    optimizer = make_optimizer(config)
    params = jax.jit(partial(initial_params, module))(key)
    return init_state(params, optimizer), make_step(module, optimizer, config)


def train(config: TrainConfig | VideoConfig, console: Console) -> tuple[TrainState, list[Losses]]:
    """Run the steps that are left, and save.

    Returns:
      the last state, and the losses of the steps taken here.
    """
    module = build(preset(config.model))
    state, step = _begin(config, module)
    checkpoint = Path(config.checkpoint)
    if checkpoint.exists():
        state = serialization.from_bytes(state, checkpoint.read_bytes())
        console.print(f"going on from step {int(state.step)} of {checkpoint}")
    key = jax.random.key(config.seed)
    start, losses, saved, logged = int(state.step), [], time.time(), time.time()

    def keep() -> None:
        with replacing(checkpoint) as temporary:
            Path(temporary).write_bytes(serialization.to_bytes(jax.device_get(state)))

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("compiling", total=config.steps, completed=start)
        size = module.config.image_size
        if isinstance(config, VideoConfig):
            shown, unit = config.clips, "clips"
        else:
            shown, unit = config.images, "images"
        for images, masks in training_batches(config, size, start):
            state, loss = step(state, key, images, masks)
            losses.append(jax.device_get(loss))
            done = start + len(losses)
            if done % _LOG_STEPS == 0 or done == config.steps:
                recent = losses[-_LOG_STEPS:]
                mean = jax.tree.map(lambda *x: float(np.mean(x)), *recent)
                rate = len(recent) * shown / (time.time() - logged)
                logged = time.time()
                line = (
                    f"loss {mean.total():.3f} (balanced {mean.balanced:.3f} focal {mean.focal:.4f} "
                    f"dice {mean.dice:.3f} iou {mean.iou:.3f} object {mean.object:.3f}), "
                    f"{rate:.1f} {unit}/s"
                )
                progress.update(task, description=line)
                if not console.is_terminal:
                    left = (config.steps - done) * shown / rate / 60
                    console.print(f"step {done}: {line}, {left:.0f} min left", soft_wrap=True)
            progress.update(task, completed=done)
            if time.time() - saved > 60 * config.save_minutes:
                keep()
                saved = time.time()
        keep()
    return state, losses


def main() -> None:
    recipes = [m.name for m in pkgutil.iter_modules(importlib.import_module("configs").__path__)]
    if len(sys.argv) < 2 or sys.argv[1] not in recipes:
        raise SystemExit(f"usage: python -m train RECIPE [--field value]; recipes: {recipes}")
    recipe = importlib.import_module(f"configs.{sys.argv[1]}").config
    config = tyro.cli(
        type(recipe), default=recipe, args=sys.argv[2:], prog=f"python -m train {sys.argv[1]}"
    )
    console = Console()
    model_config = preset(config.model)
    assert isinstance(model_config, Sam2Config)
    began = time.time()
    state, losses = train(config, console)
    if losses:
        console.print(f"{len(losses)} steps in {(time.time() - began) / 60:.1f} minutes")
    model = Model(params=state.ema, module=build(model_config))
    save(model, config.output)
    console.print(f"wrote {config.output}")
    score = evaluate_video if isinstance(config, VideoConfig) else evaluate
    for name, value in score(model, held_out_batches(config, model_config.image_size)).items():
        console.print(f"{value:.3f}  {name}")


if __name__ == "__main__":
    main()
