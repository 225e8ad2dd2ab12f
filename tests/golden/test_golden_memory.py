"""Memory encoder, memory attention and object pointers at tiny width, against the official code."""

import jax
import numpy as np
import pytest

from sam_jax.ops.formulation import tracing_for
from sam_jax.ops.position import sine_grid
from sam_jax.types import MemoryTokens


def test_golden_memory_encoder(golden) -> None:
    case = golden("memory_encoder", "two")
    x = case.inputs
    memory = case.run(lambda m, *a: m.memory_encoder(*a), x["embed"], x["mask"])
    case.check(memory=memory, position=sine_grid(*memory.shape[1:]))


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_golden_memory_attention(golden, platform: str) -> None:
    """One object at a time (empty slots are skipped) and both at once (empty slots are masked)."""
    case = golden("memory_attention", "two_maps")
    x, spatial = case.inputs, case.extra["spatial"]
    n, cells, d = x["frame"].shape
    side = int(cells**0.5)
    random = np.random.default_rng(0)

    def tokens(name: str) -> tuple[np.ndarray, np.ndarray]:
        """Maps with an empty slot in the middle, pointers with an empty one at the end."""
        values = np.broadcast_to(x[name], x["memory"].shape)
        width = values.shape[-1]
        maps = values[:, :spatial].reshape(n, -1, cells, width)
        empty = random.normal(size=(n, 1, cells, width)).astype(np.float32)
        pointers = np.concatenate([values[:, spatial:], empty[:, 0, :1]], 1)
        return np.concatenate([maps[:, :1], empty, maps[:, 1:]], 1), pointers

    (maps, pointers), (maps_pe, pointers_pe) = tokens("memory"), tokens("memory_pe")
    maps_valid = np.tile(np.arange(maps.shape[1]) != 1, (n, 1))
    pointers_valid = np.tile(np.arange(pointers.shape[1]) < pointers.shape[1] - 1, (n, 1))
    memory = MemoryTokens(maps, maps_pe, maps_valid, pointers, pointers_pe, pointers_valid)

    def read(frame: np.ndarray, memory: MemoryTokens) -> np.ndarray:
        position = x["frame_pe"].reshape(side, side, d)
        with tracing_for(platform):
            out = case.run(lambda m, *a: m.memory_attention(*a), frame, position, memory)
        return np.asarray(out).reshape(-1, cells, d)

    frame = x["frame"].reshape(n, side, side, d)
    case.check(frame=read(frame, memory))
    alone = zip(*(np.split(a, n) for a in (frame, *jax.tree.leaves(memory))), strict=True)
    one = [read(x, jax.tree.unflatten(jax.tree.structure(memory), parts)) for x, *parts in alone]
    case.check(frame=np.concatenate(one))


@pytest.mark.parametrize("name", ["project", "time"])
def test_golden_pointers(golden, name: str) -> None:
    case = golden("pointers", name)
    layer = {"project": "obj_ptr_proj", "time": "obj_ptr_tpos_proj"}[name]
    case.check(x=case.run(lambda m, x: getattr(m, layer)(x), case.inputs["x"]))


def test_golden_mask_to_pointer_scale(golden) -> None:
    case = golden("pointers", "mask")
    case.check(mask=case.run(lambda m, x: m.mask_downsample(x), case.inputs["mask"]))
