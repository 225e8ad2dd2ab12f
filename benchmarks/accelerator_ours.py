"""Worker of `benchmarks.accelerator`: sam_jax."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

import sam_jax
from benchmarks.flops import flops
from benchmarks.tpu_programs import Program, encode, find_everything, track
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
_known: Case = {}  # of the case: how many frames or pictures a call is, and FLOPs of each


def prepare(case: Case) -> Callable[[], object]:
    dtype, checkpoint = jnp.dtype(case["dtype"]), case["checkpoint"]
    if checkpoint:
        model = sam_jax.load(checkpoint, dtype=dtype)
    else:  # nobody else needs the weights
        model = random_model(preset(case["model"]), dtype)
    run, each, program = _CASES[case["part"]](model, case)
    work = flops(program.traced.jaxpr.jaxpr, busy=program.busy) / program.each[0]
    run()  # compiles
    _known.update(each=each, flops=work, device=jax.devices()[0].device_kind)
    return run


def random_model(config: Config, dtype: DTypeLike) -> Model:
    """Random weights, on the default device."""
    module = build(config, dtype)
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(0.05 * random.standard_normal(leaf.shape, np.float32)),
        abstract_params(module),
    )
    return Model(params, module)


def _prepare_video(model: Model, case: Case) -> tuple[Callable[[], object], int, Program]:
    """A whole clip, whose frames are decoded and resized before."""
    with open_video(case["video"]) as clip:
        squares = [square for _, square in clip.model_inputs(model.config.image_size)]
        size = clip.height, clip.width
    objects = case["objects"]

    def run() -> None:
        *_, last = tracked(model, squares, size, objects)
        assert last[0].iou > -1  # waits for the last frame

    return run, len(squares), track(_one_chip(), case["model"], objects=objects)


def _prepare_clips(model: Model, case: Case) -> tuple[Callable[[], object], int, Program]:
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
    state, step = video.init_state(model, b), jax.jit(clips.track_window)
    program = track(_one_chip(), case["model"], objects=1)
    return lambda: jax.block_until_ready(step(model, state, window)), b * _WINDOW, program


def _prepare_pictures(model: Model, case: Case) -> tuple[Callable[[], object], int, Program]:
    side, batch = model.config.image_size, case["batch"]
    pictures = jnp.zeros((batch, side, side, 3))
    run = jax.jit(image.encode_image)
    program = encode(_one_chip(), case["model"], batch=batch)
    return lambda: jax.block_until_ready(run(model, pictures)), batch, program


def _prepare_everything(model: Model, case: Case) -> tuple[Callable[[], object], int, Program]:
    """With the official limits, which no mask of random weights passes."""
    generator, picture = sam_jax.AutomaticMaskGenerator(model), read_image(case["photo"])
    program = find_everything(_one_chip(), case["model"])
    return lambda: generator.generate(picture), 1, program


_CASES: dict[str, Callable[[Model, Case], tuple[Callable[[], object], int, Program]]] = {
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
    serve(prepare, peak_mb, lambda: _known)
