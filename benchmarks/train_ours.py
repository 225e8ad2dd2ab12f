"""Worker of `benchmarks.train`: the training step of sam_jax."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp

import sam_jax
from benchmarks.accelerator_ours import peak_mb
from benchmarks.train_case import SHAPES, Shape, arrays
from benchmarks.worker import Case, serve
from sam_jax.types import Model
from train.config import Prompting, Recipe, Source, Stream
from train.data.pipeline import make_loader
from train.optimizer import make_optimizer
from train.step import init_state, make_step
from train.trainable import split
from train.types import Batch


def recipe_of(case: Case) -> Recipe:
    """The official losses and optimiser; all else as recipes have it."""
    name, shape = case["batch"], SHAPES[case["batch"]]
    stream = Stream(
        source=Source(kind="synthetic"),
        batch=shape.clips,
        frames=shape.frames,
        objects=shape.objects,
        prompts=_prompting(shape),
    )
    return Recipe(
        model=case["model"],
        folder=case["folder"],
        steps=1000,
        images=stream if name == "images" else None,
        videos=stream if name == "videos" else None,
        dtype=case["dtype"],
    )


def _prompting(shape: Shape) -> Prompting:
    return Prompting(
        point_share=1.0,
        box_share=0.0,
        first_frames=1,
        corrected_frames=1,
        corrections=shape.corrections,
    )


_known: Case = {}  # which part of the time steps wait for the loader, where that was asked


def prepare(case: Case) -> Callable[[], object]:
    """Each call takes a step on the same batch; or, in a case with `loader_steps`, nothing."""
    if "loader_steps" in case:
        _known["waiting"] = waiting(case, case["loader_steps"], case["loader_workers"])
        return lambda: None
    model = sam_jax.load(case["checkpoint"], dtype=jnp.dtype(case["dtype"]))
    images, masks = arrays(SHAPES[case["batch"]], model.config.image_size)
    batch = Batch(*map(jnp.asarray, (images, masks, masks[0].any((1, 2)))))
    step = _stepper(model, recipe_of(case), batch)
    return lambda: step(batch)


def _stepper(model: Model, recipe: Recipe, batch: Batch) -> Callable[[Batch], float]:
    """Takes a step on a batch like the given one, and waits for its loss."""
    key = jax.random.key(0)
    trained, fixed = split(model.params, recipe, key)
    trained, fixed = jax.tree.map(jnp.asarray, (trained, fixed))
    optimizer = make_optimizer(recipe, model.config, trained)
    state = init_state(trained, fixed, optimizer, recipe)
    step = jax.jit(make_step(model.module, optimizer, recipe), donate_argnums=0)
    compiled = step.lower(state, key, batch).compile()

    def run(batch: Batch) -> float:
        nonlocal state
        state, metrics = compiled(state, key, batch)
        return float(metrics.total)

    return run


def waiting(case: Case, steps: int, workers: int) -> float:
    """Which part of the time steps wait for the loader, which paints its clips on the way."""
    recipe = replace(recipe_of(case), workers=workers)
    model = sam_jax.load(case["checkpoint"], dtype=jnp.dtype(case["dtype"]))
    loader = make_loader(recipe, model.config.image_size)
    step = _stepper(model, recipe, next(loader))
    step(next(loader))
    waited, since = share_of_waiting(loader, step, steps)
    loader.close()
    return waited / since


def share_of_waiting(
    batches: Iterator[Batch], step: Callable[[Batch], object], steps: int
) -> tuple[float, float]:
    """Seconds spent waiting for batches, and seconds in all."""
    started, waited = time.perf_counter(), 0.0
    for _ in range(steps):
        since = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - since
        step(batch)
    return waited, time.perf_counter() - started


if __name__ == "__main__":
    serve(prepare, peak_mb, lambda: _known)
