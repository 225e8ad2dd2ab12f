"""What `benchmarks.tpu` compiles: programs that the library and the trainer run, without values.

Everything is an abstract array with a sharding, so nothing is computed and no weights are needed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from configs.sam2_full import config as sam2_full
from sam_jax import everything, video
from sam_jax.config import Config
from sam_jax.frame import encode_frames, no_prompts
from sam_jax.models import abstract_params, build, init_params
from sam_jax.ops.formulation import tracing_for
from sam_jax.presets import preset
from sam_jax.sharding import DATA, FSDP, over_objects
from sam_jax.types import (
    FrameInput,
    ImageFeatures,
    MaskLimits,
    Model,
    PictureView,
    PointGrid,
    VideoState,
)
from train.config import Recipe, Stream
from train.optimizer import make_optimizer
from train.placement import batch_shapes, batch_shardings, state_shardings, whole
from train.start import model_config
from train.step import TrainState, init_state, make_step
from train.trainable import split


@dataclass(frozen=True)
class Program:
    """Attributes:
    text: what it does, for people.
    each: what one run makes on each chip: how many of what.
    traced: the program, ready to be compiled for the chips of the mesh.
    busy: how often branches work that otherwise do nothing.
    """

    text: str
    each: tuple[float, str]
    traced: jax.stages.Traced
    busy: float = 1.0


def train(mesh: Mesh, model: str, *, batch: int, changes: Callable[[Recipe], Recipe]) -> Program:
    """A step of `configs.sam2_full` on clips.

    Args:
      batch: clips on each chip.
      changes: to the recipe.
    """
    stream = sam2_full.videos
    assert stream is not None
    stream = replace(stream, batch=batch * mesh.size)
    recipe = changes(replace(sam2_full, model=model, videos=stream, fsdp=mesh.shape[FSDP]))
    stream = recipe.videos
    assert stream is not None
    config = model_config(recipe)
    module = build(
        config,
        jnp.dtype(recipe.dtype),
        drop_path=recipe.drop_path,
        remat=recipe.remat == "all",
        dropout=recipe.dropout,
    )
    key = jax.eval_shape(lambda: jax.random.key(0))

    def state(key: Any) -> TrainState:
        trained, fixed = split(init_params(module, key), recipe, key)
        return init_state(trained, fixed, make_optimizer(recipe, config, trained), recipe)

    shapes = jax.eval_shape(state, key)
    shardings, same = state_shardings(mesh, shapes), whole(mesh)
    step = jax.jit(
        make_step(module, make_optimizer(recipe, config, shapes.trained), recipe, mesh),
        in_shardings=(shardings, same, batch_shardings(mesh)),
        out_shardings=(shardings, same),
        donate_argnums=0,
    )
    with tracing_for("tpu"):
        traced = step.trace(shapes, key, batch_shapes(mesh, stream, config.image_size))
    text = (
        f"train, clips of {stream.frames} frames at {config.image_size}, {stream.objects} objects, "
        f"{batch} a chip, remat {recipe.remat}, fsdp {recipe.fsdp}"
    )
    return Program(text, (batch, "clips"), traced, _rounds_taken(stream))


def encode(mesh: Mesh, model: str, *, batch: int) -> Program:
    """Pictures to features.

    Args:
      batch: pictures on each chip.
    """
    config, whole = _model(model)
    images = _images(config, batch * mesh.size)
    spread = NamedSharding(mesh, P((DATA, FSDP)))
    encoder = jax.jit(encode_frames, in_shardings=(NamedSharding(mesh, P()), spread))
    with tracing_for("tpu"):
        traced = encoder.trace(whole, images)
    return Program(f"encode, {batch} pictures at {config.image_size}", (batch, "pictures"), traced)


def track(mesh: Mesh, model: str, *, objects: int, prompted: int = 4) -> Program:
    """A frame of a stream: it is encoded, and objects are tracked on it.

    Args:
      objects: on each chip; every chip encodes the frame.
      prompted: frames of an object that are remembered, as `sam_jax.Stream` has it.
    """
    config, whole = _model(model)
    n = objects * mesh.size
    state = jax.eval_shape(lambda: video.init_state(Model({}, whole.module), n, prompted=prompted))
    prompts = jax.eval_shape(lambda: no_prompts(n, config.mask_size))
    flags = jax.ShapeDtypeStruct((n,), jnp.bool_)

    def frame(model: Model, state: VideoState, image: Any, prompts: Any, *asked: Any) -> tuple:
        features = encode_frames(model, image)
        return video.step(model, state, FrameInput(features, prompts, *asked))

    spread = over_objects(frame, mesh) if mesh.size > 1 else frame
    same, cut = NamedSharding(mesh, P()), NamedSharding(mesh, P(DATA))
    step = jax.jit(
        spread,
        in_shardings=(same, cut, same, _prompt_shardings(prompts, same, cut), cut, cut),
        donate_argnums=1,
    )
    with tracing_for("tpu"):
        traced = step.trace(whole, state, _images(config, 1), prompts, flags, flags)
    text = f"track, encoding and {objects} objects a chip at {config.image_size}"
    return Program(text, (1, "frames"), traced)


def find_everything(mesh: Mesh, model: str, *, points: int = 32, sides: int = 2048) -> Program:
    """All masks of a picture on each chip, which is encoded before.

    Args:
      points: along each side of the grid.
      sides: of the picture, pixels.
    """
    config, whole = _model(model)
    b, room = mesh.size, -(-(points**2) // everything.PADDING) * everything.PADDING
    taps = 4 if config.keep_aspect else 2

    def inputs() -> tuple:
        zeros, ints = jnp.zeros, partial(jnp.zeros, dtype=jnp.int32)
        view = PictureView(
            rows=ints((b, sides, taps)),
            row_weights=zeros((b, sides, taps)),
            columns=zeros((b, sides, config.mask_size)),
            size=ints((b, 2)),
            crop=ints((b, 4)),
            whole=ints((b, 4)),
        )
        return PointGrid(zeros((b, room, 2)), zeros((b, room), bool)), view

    grid, view = jax.eval_shape(inputs)
    limits = jax.eval_shape(lambda: MaskLimits(*[jnp.float32(0)] * 6))
    options = everything.EverythingOptions()

    def search(model: Model, image: Any, grid: PointGrid, view: PictureView, limits: Any) -> Any:
        features: ImageFeatures = encode_frames(model, image)
        return everything.find_masks(model, features, grid, view, limits, options=options)

    spread = over_objects(search, mesh) if mesh.size > 1 else search
    same, cut = NamedSharding(mesh, P()), NamedSharding(mesh, P(DATA))
    found = jax.jit(spread, in_shardings=(same, cut, cut, cut, same))
    with tracing_for("tpu"):
        traced = found.trace(whole, _images(config, b), grid, view, limits)
    text = f"everything, {points} x {points} points on pictures up to {sides} x {sides}"
    return Program(text, (1, "pictures"), traced)


def _rounds_taken(stream: Stream) -> float:
    """Of the rounds that a frame has room for, how many a user takes on average: the first of each
    frame, and corrections where there are some; see `train.rollout.make_plan`."""
    p, t = stream.prompts, stream.frames
    first = range(1, min(p.first_frames, t) + 1)
    counts = [range(f, max(min(p.corrected_frames, t), f) + 1) for f in first]
    corrected = p.point_share * float(np.mean([np.mean(c) for c in counts]))
    return (t + corrected * p.corrections) / (t * (1 + p.corrections))


def _model(name: str) -> tuple[Config, Model]:
    config = preset(name)
    module = build(config, jnp.bfloat16)
    return config, Model(abstract_params(module), module)


def _images(config: Config, count: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((count, config.image_size, config.image_size, 3), np.uint8)


def _prompt_shardings(prompts: Any, same: NamedSharding, cut: NamedSharding) -> Any:
    """Of the leaves of prompts; those that are not there cannot be cut."""
    return jax.tree.map(lambda x: cut if x.shape[0] else same, prompts)
