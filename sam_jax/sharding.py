"""Many devices: a mesh, and tracking whose objects are spread over it.

    mesh = make_mesh()
    step = jax.jit(over_objects(partial(video.step, options=options), mesh))
    state, output = step(model, state, inputs)

Objects never look at each other, so no device waits for another: there is no collective in the
program. A batch of videos is spread in the same way, several objects of each staying together.

`jax.jit` alone does it too, with arrays placed by `NamedSharding(mesh, P("data"))`, if `options`
has `one_by_one=False` and a `fill_hole_area` of at most 64; larger holes are found by all devices
together.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh
from jax.sharding import PartitionSpec as P

DATA, FSDP = "data", "fsdp"


def make_mesh(devices: Sequence[jax.Device] | None = None, *, fsdp: int = 1) -> Mesh:
    """A mesh with the axes "data" and "fsdp".

    Args:
      devices: by default all.
      fsdp: over how many devices training spreads each parameter; the others hold other data.

    Raises:
      ValueError: `fsdp` does not divide the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    if fsdp < 1 or len(devices) % fsdp:
        raise ValueError(f"fsdp must divide the {len(devices)} devices, got {fsdp}")
    # Auto: the compiler places what is between the ends of a program. jax's own default changes.
    return jax.make_mesh(
        (len(devices) // fsdp, fsdp),
        (DATA, FSDP),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices,
    )


def over_objects(function: Callable[..., Any], mesh: Mesh | AbstractMesh) -> Callable[..., Any]:
    """`function(model, *trees)` with the objects, or videos, spread over the mesh's "data" axis.

    Every device calls `function` with the whole model and its part of the trees. Leaves are cut
    along their leading axis; where that is 1 (the features of the one video of all objects) or 0,
    every device gets the whole.

    Args:
      function: such as `sam_jax.video.step`; all that it returns has the objects first.

    Raises:
      ValueError: when called: a leading axis does not divide.
    """
    parts = mesh.shape[DATA]

    def spec(leaf: Any) -> P:
        rows = leaf.shape[0] if leaf.ndim else 1
        if rows > 1 and rows % parts:
            raise ValueError(
                f"a leading axis of {rows} cannot be cut into {parts} equal parts, one a device: "
                "use a state with more slots, empty ones cost little, or a smaller mesh"
            )
        return P(DATA) if rows > 1 else P()

    def spread(model: Any, *trees: Any) -> Any:
        specs = jax.tree.map(spec, trees)
        if parts > 1 and P(DATA) not in jax.tree.leaves(specs, is_leaf=lambda x: isinstance(x, P)):
            raise ValueError(f"there is one object for {parts} devices: use a mesh of one")
        # The loops inside start from constants, which the check of replication does not accept.
        return jax.shard_map(
            function, mesh=mesh, in_specs=(P(), *specs), out_specs=P(DATA), check_vma=False
        )(model, *trees)

    return spread
