"""Worker of `python -m benchmarks.scaling`: one size of one thing, in a process of its own."""

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sam_jax
from benchmarks.accelerator_ours import peak_mb, random_model
from benchmarks.worker import Case, boxes, resident_mb, serve
from sam_jax import image, memory, video
from sam_jax.frame import no_prompts
from sam_jax.io.videos import open_video
from sam_jax.presets import preset
from sam_jax.types import FrameInput, FrameMemory, Model

_FULL = 16  # frames until all slots of a memory are in use, those of pointers too
_NOISE = 1024  # pixels, side of what pictures are cut from
_MB = 2**20

Run = Callable[[], object]


def prepare(case: Case) -> tuple[Run, Case]:
    """What one turn calls, and what is known of it beforehand; `each` in it is filled by turns."""
    config = preset(case["model"])
    if "size" in case:
        config = replace(config, image_size=case["size"])
    return RUNS[case["run"]](random_model(config, jnp.dtype(case["dtype"])), case)


def _step(model: Model, case: Case) -> tuple[Run, Case]:
    """`video.step` for some objects whose memory is full, on a frame that is encoded before."""
    n, config = case["objects"], video.require_memory(model.config)
    side, random = config.image_size, np.random.default_rng(0)
    maps = random.standard_normal((n, config.grid, config.grid, config.memory.dim), np.float32)
    remembered = FrameMemory(
        features=jnp.asarray(maps, jnp.bfloat16),
        pointer=jnp.asarray(random.standard_normal((n, config.dim), np.float32)),
    )
    state, yes, no = video.init_state(model, n), jnp.ones(n, bool), jnp.zeros(n, bool)
    bank, write = state.bank, jax.jit(memory.write)
    for frame in range(_FULL):
        shown = yes if frame == 0 else no
        bank = write(bank, remembered, jnp.full(n, frame), prompted=shown, keep=yes)
    state = replace(state, bank=bank, frame=jnp.full(n, _FULL, jnp.int32))
    features = video.jit_encode(model, np.zeros((1, side, side, 3), np.uint8))
    inputs = FrameInput(features, no_prompts(n, config.mask_size), no, no)
    compiled = video.jit_step.lower(model, state, inputs).compile()

    def run() -> None:
        nonlocal state
        state, output = compiled(model, state, inputs)
        jax.block_until_ready((state, output))

    return run, _program(compiled)


def _encode(model: Model, case: Case) -> tuple[Run, Case]:
    """`image.encode_image` for pictures at once."""
    side = model.config.image_size
    shape = (case["pictures"], side, side, 3)
    pictures = jnp.asarray(np.random.default_rng(0).random(shape, np.float32))
    compiled = jax.jit(image.encode_image).lower(model, pictures).compile()
    return lambda: jax.block_until_ready(compiled(model, pictures)), _program(compiled)


def _track(model: Model, case: Case) -> tuple[Run, Case]:
    """`video.track` for a clip of one object: compiled, not run."""
    t, side, low = case["frames"], model.config.image_size, model.config.mask_size
    state = jax.eval_shape(lambda: video.init_state(model, 1))
    asked = jax.eval_shape(lambda: no_prompts(1, low))
    asked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((t, *x.shape), x.dtype), asked)
    images = jax.ShapeDtypeStruct((t, 1, side, side, 3), np.uint8)
    flags = jax.ShapeDtypeStruct((t, 1), bool)
    track = jax.jit(video.track, donate_argnames="state")
    compiled = track.lower(model, state, images, asked, flags, flags).compile()
    return lambda: None, _program(compiled)


def _stream(model: Model, case: Case) -> tuple[Run, Case]:
    """`Stream` with one object; a turn is `items` frames, of the clip to and fro."""
    stream = sam_jax.Stream(model)
    with open_video(case["video"]) as clip:
        frames = list(clip.model_inputs(model.config.image_size))
        stream.add(0, box=boxes(1, clip.height, clip.width)[0])
    frames = itertools.cycle([*frames, *frames[-2:0:-1]])

    def step() -> np.ndarray:
        return stream.step(*next(frames))[0].mask

    return _one_by_one(step, case["items"])


def _pictures(model: Model, case: Case) -> tuple[Run, Case]:
    """`ImagePredictor` with a click on one picture after the other, each of another size."""
    predictor, random = sam_jax.ImagePredictor(model), np.random.default_rng(0)
    noise = random.integers(0, 256, (_NOISE, _NOISE, 3), np.uint8)

    def click() -> Any:
        h, w = random.integers(_NOISE // 4, _NOISE // 2, 2)
        predictor.set_image(noise[:h, :w])
        return predictor.predict([[w / 2, h / 2]], [1])

    return _one_by_one(click, case["items"])


def _batch(model: Model, case: Case) -> tuple[Run, Case]:
    """`set_image_batch` and `predict_batch` with a click on each of some pictures."""
    predictor, count = sam_jax.ImagePredictor(model), case["pictures"]
    shape = (_NOISE // 2, _NOISE // 2, 3)
    pictures = [np.random.default_rng(i).integers(0, 256, shape, np.uint8) for i in range(count)]
    clicks = [[[shape[1] / 2, shape[0] / 2]]] * count

    def run() -> Any:
        predictor.set_image_batch(pictures)
        return predictor.predict_batch(clicks, [[1]] * count)

    return run, {}


RUNS: dict[str, Callable[[Model, Case], tuple[Run, Case]]] = {
    "step": _step,
    "encode": _encode,
    "track": _track,
    "stream": _stream,
    "pictures": _pictures,
    "batch": _batch,
}


def _one_by_one(step: Callable[[], object], items: int) -> tuple[Run, Case]:
    """A turn of `items` steps that notes the seconds of each; the first ones are not in a turn."""
    for _ in range(_FULL):
        step()
    each: list[float] = []

    def run() -> None:
        each.clear()
        for _ in range(items):
            started = time.perf_counter()
            step()
            each.append(time.perf_counter() - started)

    return run, {"each": each}


def _program(compiled: Any) -> Case:
    """MB, as the compiler counts them. What is donated is an argument and an output at once."""
    m = compiled.memory_analysis()
    return {
        "arguments_mb": m.argument_size_in_bytes / _MB,
        "temporaries_mb": m.temp_size_in_bytes / _MB,
        "output_mb": (m.output_size_in_bytes - m.alias_size_in_bytes) / _MB,
    }


def now_mb() -> float:
    """Resident memory of this process at this moment; where that is not told, its peak."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return resident_mb()
    return int(statm.read_text().split()[1]) * 4096 / _MB


def main() -> None:
    known: Case = {}
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def prepared(case: Case) -> Run:
        run, found = prepare(case)
        known.update(found)
        return run

    jax.monitoring.register_event_duration_secs_listener(listen)
    serve(prepared, peak_mb, lambda: known | {"now_mb": now_mb(), "programs": len(compiled)})


if __name__ == "__main__":
    main()
