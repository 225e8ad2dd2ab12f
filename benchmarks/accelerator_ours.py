"""Worker of `benchmarks.accelerator`: sam_jax."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

import sam_jax
from benchmarks.flops import flops
from benchmarks.tpu_programs import Program, encode, track
from benchmarks.worker import Case, boxes, resident_mb, serve
from sam_jax import clips, image, video
from sam_jax.config import Config
from sam_jax.frame import no_prompts
from sam_jax.io.images import read_image
from sam_jax.io.videos import open_video
from sam_jax.models import abstract_params, build
from sam_jax.presets import preset
from sam_jax.sharding import make_mesh
from sam_jax.types import ClipWindow, Model

_WINDOW = 16  # frames of each clip, as `sam-jax batch` has it
_known: Case = {}  # of the case: how many frames or pictures a call is, the chip, FLOPs of each
_to_count: list[Callable[[], Program]] = []  # programs, until their FLOPs are counted

# What a call does, how many frames or pictures that is, and a program to count FLOPs of, if any.
Prepared = tuple[Callable[[], object], int, Callable[[], Program] | None]


def prepare(case: Case) -> Callable[[], object]:
    dtype, checkpoint = jnp.dtype(case["dtype"]), case["checkpoint"]
    if checkpoint:
        model = sam_jax.load(checkpoint, dtype=dtype)
    else:  # nobody else needs the weights
        model = random_model(preset(case["model"]), dtype)
    run, each, program = _CASES[case["part"]](model, case)
    run()  # compiles
    _known.update(each=each, device=jax.devices()[0].device_kind, flops=None)
    if program:
        _to_count.append(program)
    return run


def known() -> Case:
    """FLOPs are counted when they are first asked for, which no clock sees."""
    while _to_count:
        program = _to_count.pop()()
        work = flops(program.traced.jaxpr.jaxpr, busy=program.busy)
        _known["flops"] = work / program.each[0]
    return _known


def random_model(config: Config, dtype: DTypeLike) -> Model:
    """Random weights, on the default device."""
    module = build(config, dtype)
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(0.05 * random.standard_normal(leaf.shape, np.float32)),
        abstract_params(module),
    )
    return Model(params, module)


def _prepare_video(model: Model, case: Case) -> Prepared:
    """A whole clip, whose frames are decoded and resized before, and its masks at its own size."""
    with open_video(case["video"]) as clip:
        squares = [square for _, square in clip.model_inputs(model.config.image_size)]
        size = clip.height, clip.width
    objects = case["objects"]

    def run() -> None:
        before: dict[int, sam_jax.Tracked] = {}
        for found in tracked(model, squares, size, objects):
            _masks(before)  # of the frame before, while the device works on this one
            before = found
        _masks(before)

    return run, len(squares), lambda: track(_one_chip(), case["model"], objects=objects, prompted=1)


def _masks(found: dict[int, sam_jax.Tracked]) -> list[np.ndarray]:
    return [tracked.mask for tracked in found.values()]


def _prepare_clips(model: Model, case: Case) -> Prepared:
    """A window of several clips with one object each."""
    b, low, side = case["clips"], model.config.mask_size, model.config.image_size
    centre = np.full((b, _WINDOW, 2, 2), side / 2, np.float32)
    labels = np.tile(np.array([1, -1], np.int32), (b, _WINDOW, 1))
    prompts = no_prompts(b, low)
    prompts = jax.tree.map(lambda x: jnp.zeros((len(x), _WINDOW, *x.shape[1:]), x.dtype), prompts)
    prompted = np.zeros((b, _WINDOW), bool)
    prompted[:, 0] = True
    window = ClipWindow(
        images=jnp.zeros((b, _WINDOW, side, side, 3), jnp.uint8),
        live=jnp.ones((b, _WINDOW), bool),
        begins=jnp.ones(b, bool),
        num_frames=jnp.full(b, _WINDOW),
        prompts=prompts.replace(points=jnp.asarray(centre), labels=jnp.asarray(labels)),
        prompted=jnp.asarray(prompted),
        correcting=jnp.zeros((b, _WINDOW), bool),
        masks=jnp.zeros((0, side, side), jnp.uint8),
        mask_at=jnp.full(b, -1),
    )
    state, step = video.init_state(model, b, prompted=1), jax.jit(clips.track_window)
    return (
        lambda: jax.block_until_ready(step(model, state, window)),
        b * _WINDOW,
        lambda: track(_one_chip(), case["model"], objects=1, prompted=1),
    )


def _prepare_pictures(model: Model, case: Case) -> Prepared:
    side, batch = model.config.image_size, case["batch"]
    pictures = jnp.zeros((batch, side, side, 3))
    run = jax.jit(image.encode_image)
    return (
        lambda: jax.block_until_ready(run(model, pictures)),
        batch,
        lambda: encode(_one_chip(), case["model"], batch=batch),
    )


def _prepare_everything(model: Model, case: Case) -> Prepared:
    """With the official limits, which no mask of random weights passes. Its program is a loop over
    prompts of unknown length, whose FLOPs are not in it."""
    generator, picture = sam_jax.AutomaticMaskGenerator(model), read_image(case["photo"])
    return lambda: generator.generate(picture), 1, None


_CASES: dict[str, Callable[[Model, Case], Prepared]] = {
    "video": _prepare_video,
    "clips": _prepare_clips,
    "pictures": _prepare_pictures,
    "everything": _prepare_everything,
}


def _one_chip() -> Any:
    return make_mesh(jax.devices()[:1])


def tracked(
    model: Model, squares: list[np.ndarray], size: tuple[int, int], objects: int = 1
) -> Iterator[dict[int, sam_jax.Tracked]]:
    """Objects through a clip whose frames are decoded and resized already."""
    stream = sam_jax.Stream(model, objects, prompted_frames=1)
    frame = np.zeros((*size, 3), np.uint8)  # only its size is looked at
    for number, box in enumerate(boxes(objects, *size)):
        stream.add(number, box=box)
    for square in squares:
        yield stream.step(frame, square)


def peak_mb() -> float:
    """Of the device where it counts its memory, else of this process."""
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**20
    return resident_mb()


if __name__ == "__main__":
    serve(prepare, peak_mb, known)
