"""Memory encoder, memory attention and object pointers at tiny width, against the official code."""

import numpy as np
import pytest

from sam_jax.ops.position import sine_grid


def test_golden_memory_encoder(golden) -> None:
    case = golden("memory_encoder", "two")
    x = case.inputs
    memory = case.run(lambda m, *a: m.memory_encoder(*a), x["embed"], x["mask"])
    case.check(memory=memory, position=sine_grid(*memory.shape[1:]))


def test_golden_memory_attention(golden) -> None:
    case = golden("memory_attention", "two_maps")
    x = case.inputs
    n, cells, d = x["frame"].shape
    side = int(cells**0.5)
    frame = case.run(
        lambda m, *a: m.memory_attention(*a, spatial=case.extra["spatial"]),
        x["frame"].reshape(n, side, side, d),
        x["frame_pe"].reshape(side, side, d),
        x["memory"],
        np.broadcast_to(x["memory_pe"], x["memory"].shape),
        np.ones(x["memory"].shape[:2], bool),
    )
    case.check(frame=frame.reshape(n, cells, d))


@pytest.mark.parametrize("name", ["project", "time"])
def test_golden_pointers(golden, name: str) -> None:
    case = golden("pointers", name)
    layer = {"project": "obj_ptr_proj", "time": "obj_ptr_tpos_proj"}[name]
    case.check(x=case.run(lambda m, x: getattr(m, layer)(x), case.inputs["x"]))


def test_golden_mask_to_pointer_scale(golden) -> None:
    case = golden("pointers", "mask")
    case.check(mask=case.run(lambda m, x: m.mask_downsample(x), case.inputs["mask"]))
