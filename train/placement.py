"""Where the parts of a training step lie: which device has which parameters and clips."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sam_jax.sharding import DATA, FSDP
from train.config import Stream
from train.types import Batch

_SPREAD_FROM = 256 * 2**10  # bytes; of smaller ones the large models have 6 MB, in many arrays


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """Shardings of a tree: large arrays are cut over "fsdp", along the longest axis that divides.

    Args:
      state: arrays, or their shapes.
    """
    parts = mesh.shape[FSDP]

    def of_leaf(leaf: Any) -> NamedSharding:
        bytes_ = np.prod(leaf.shape, dtype=np.int64) * leaf.dtype.itemsize
        axes = [i for i, length in enumerate(leaf.shape) if length % parts == 0]
        if parts == 1 or bytes_ < _SPREAD_FROM or not axes:
            return whole(mesh)
        longest = max(axes, key=lambda i: leaf.shape[i])
        return NamedSharding(mesh, P(*[None] * longest, FSDP))

    return jax.tree.map(of_leaf, state)


def whole(mesh: Mesh) -> NamedSharding:
    """Everything on every device."""
    return NamedSharding(mesh, P())


def batch_shardings(mesh: Mesh) -> Batch:
    """Shardings of a batch: clips over all devices, frames together."""
    clips = (DATA, FSDP)
    frames_first, clips_first = NamedSharding(mesh, P(None, clips)), NamedSharding(mesh, P(clips))
    return Batch(frames_first, frames_first, *[clips_first] * 4)  # ty: ignore


def batch_shapes(mesh: Mesh, stream: Stream, size: int, phrase: int = 0, text: int = 0) -> Batch:
    """What `to_devices` makes of a stream's batches, without values.

    Args:
      phrase: tokens of each object's phrase; 0 where they have none.
      text: width of the embedding that stands in place of it, likewise.
    """
    t, b, n = stream.frames, stream.batch, stream.batch * stream.objects

    def shape(dtype: type, *lengths: int) -> Any:
        return jax.ShapeDtypeStruct(lengths, dtype)

    shapes = Batch(
        images=shape(np.uint8, t, b, size, size, 3),
        masks=shape(np.bool_, t, n, size, size),
        valid=shape(np.bool_, n),
        tokens=shape(np.int32, n if phrase else 0, phrase),
        text=shape(np.float32, n if text else 0, text),
        named=shape(np.bool_, n if phrase or text else 0),
    )
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        batch_shardings(mesh),
    )


def on_one_device(mesh: Mesh, tree: Any) -> Any:
    """All of a tree, on the first device of each process. A copy, if the mesh has several.

    What is measured between steps is the program of one device, wherever the parameters lie.
    """
    if mesh.size > 1:
        tree = jax.jit(lambda x: x, out_shardings=whole(mesh))(tree)
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def to_devices(mesh: Mesh, batch: Batch) -> Batch:
    """The clips that this process read, as its part of the batch of all processes."""
    return jax.tree.map(jax.make_array_from_process_local_data, batch_shardings(mesh), batch)


def check_batch(mesh: Mesh, clips: int, name: str) -> None:
    """Raises:
    ValueError: the clips of a step cannot be spread evenly.
    """
    if clips % mesh.size:
        raise ValueError(
            f"{name}.batch is {clips}, and {mesh.size} devices cannot share that evenly: use a "
            f"multiple of {mesh.size}"
        )
