"""Checkpoints go from any mesh to any other; shapes of batches are those that devices get."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from sam_jax.sharding import make_mesh
from train import placement
from train.checkpoints import Checkpoints, abstract
from train.config import Source, Stream
from train.step import TrainState
from train.types import Batch

placement._SPREAD_FROM = 0
values = {"a": np.arange(32.0, dtype=np.float32).reshape(4, 8), "b": np.arange(3.0)}
state = TrainState(values, {}, {}, {"mu": values}, np.int32(7))
meshes = [make_mesh(jax.devices()[:n], fsdp=f) for n, f in ((1, 1), (2, 1), (2, 2), (4, 2), (1, 1))]
step = 0
for before, after in zip(meshes, meshes[1:]):
    step += 1
    checkpoints = Checkpoints(Path(sys.argv[1]), keep=1)
    placed = jax.device_put(state, placement.state_shardings(before, state))
    checkpoints.save(step, placed, {"step": step})
    checkpoints.wait()
    wanted = placement.state_shardings(after, state)
    found, data = checkpoints.restore(abstract(placed, wanted), step)
    assert data == {"step": step} and checkpoints.latest() == step
    assert jax.tree.map(lambda x: x.sharding, found) == wanted
    whole = placement.on_one_device(after, found)
    for x, y, z in zip(*map(jax.tree.leaves, (state, found, whole)), strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(x, z)
        assert z.devices() == {jax.devices()[0]}
    checkpoints.close()
assert not found.trained["a"].sharding.spec[0:]
assert placement.state_shardings(meshes[3], state).trained["a"].spec[1] == "fsdp"
stream = Stream(source=Source(kind="synthetic"), batch=4, frames=2, objects=3)
shapes = placement.batch_shapes(meshes[3], stream, 8)
batch = Batch(
    np.zeros((2, 4, 8, 8, 3), np.uint8), np.zeros((2, 12, 8, 8), bool), np.zeros(12, bool)
)
sent = placement.to_devices(meshes[3], batch)
for x, y in zip(jax.tree.leaves(shapes), jax.tree.leaves(sent), strict=True):
    assert (x.shape, x.dtype, x.sharding) == (y.shape, y.dtype, y.sharding)
shapes = placement.batch_shapes(meshes[3], stream, 8, phrase=5)
tokens, named = np.zeros((12, 5), np.int32), np.zeros(12, bool)
named = Batch(batch.images, batch.masks, batch.valid, tokens=tokens, named=named)
sent = placement.to_devices(meshes[3], named)
assert sent.tokens.shape == (12, 5) and len(sent.tokens.sharding.device_set) == 4
for x, y in zip(jax.tree.leaves(shapes), jax.tree.leaves(sent), strict=True):
    assert (x.shape, x.dtype, x.sharding) == (y.shape, y.dtype, y.sharding)
print("all equal")
"""


def test_a_state_goes_from_any_mesh_to_any_other(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": str(REPO),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "checkpoints")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.endswith("all equal\n"), done.stderr
