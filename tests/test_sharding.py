"""Objects and videos spread over devices: the same numbers, and no device waits for another."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

import sam_jax
from sam_jax.sharding import make_mesh, over_objects

REPO = Path(__file__).resolve().parent.parent
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")

# Run in a process of its own, which has 8 devices.
PROGRAM = """
import sys
from functools import partial

import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_compilation_cache_dir", sys.argv[2] or None)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
import sam_jax
from sam_jax import video
from sam_jax.frame import TrackOptions, no_prompts
from sam_jax.sharding import make_mesh, over_objects
from sam_jax.types import FrameInput

model = sam_jax.load(sys.argv[1])
n, t, side = 8, 3, model.config.image_size
random = np.random.default_rng(0)
images = random.integers(0, 256, (t, 8, side, side, 3), np.uint8)
prompts = no_prompts(n, model.config.mask_size).replace(
    points=random.uniform(0, side, (n, 2, 2)).astype(np.float32),
    labels=np.tile(np.array([[1, -1]], np.int32), (n, 1)),
)
# Object 3 has no prompt, object 5 is corrected on the last frame.
prompted = np.array([[i != 3 for i in range(n)], [False] * n, [i == 5 for i in range(n)]])
features = [video.jit_encode(model, x) for x in images]
one = [jax.tree.map(lambda x: x[:1], f) for f in features]
together = TrackOptions(one_by_one=False)
mesh = make_mesh()
rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())

def run(step, features, place):
    state = place(video.init_state(model, n))
    seen = []
    for i in range(t):
        now = FrameInput(features[i], prompts, prompted[i], prompted[i] & (i > 0))
        state, output = step(state, place(now))
        seen.append(output)
    return jax.device_get((seen, state))

def sharded(tree):
    return jax.tree.map(lambda x: jax.device_put(x, rows if x.shape[0] > 1 else whole), tree)

def compiled(step, features):
    inputs = FrameInput(features[0], prompts, prompted[0], prompted[0])
    arguments = sharded((video.init_state(model, n), inputs))
    step = jax.jit(step).lower(spread_model, *arguments).compile()
    text = step.as_text()
    found = [name for name in COLLECTIVES if name + "(" in text or name + "-start(" in text]
    assert not found, f"{found} in a step of {name}"
    assert "num_partitions=8" in text  # it is a program for all of them
    return partial(step, spread_model)

spread_model = jax.device_put(model, whole)
plain = jax.jit(partial(video.step, options=together))
for name, features in {"videos": features, "objects": one}.items():
    repeated = [jax.tree.map(lambda x: np.tile(x, (8 // x.shape[0], 1, 1, 1)), f) for f in features]
    expected = run(partial(plain, model), repeated, lambda x: x)
    assert np.ptp(expected[0][-1].object_logit) > 0.1
    steps = {
        "shard_map": over_objects(video.step, mesh),
        "jit": partial(video.step, options=together),
    }
    for how, step in steps.items():
        name = f"{name}, {how}"
        found = run(compiled(step, features), features, sharded)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(
                np.float32(a), np.float32(b), rtol=2e-2, atol=2e-2, err_msg=name
            ),
            found, expected,
        )
print("all equal")
"""


def test_equal_sharded_and_whole_without_collectives(small_tracker, tmp_path: Path) -> None:
    """Eight objects of one video and eight videos, spread by shard_map and by jit alone."""
    sam_jax.save(small_tracker(), tmp_path / "model.safetensors")
    program = PROGRAM.replace("COLLECTIVES", repr(COLLECTIVES))
    cache = jax.config.jax_compilation_cache_dir or ""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model.safetensors"), cache],
        check=False,
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "all equal" in result.stdout


def test_leaves_that_cannot_be_cut_are_refused() -> None:
    spread = over_objects(lambda model, x: x, AbstractMesh((4, 1), ("data", "fsdp")))
    with pytest.raises(ValueError, match="leading axis of 6 cannot be cut into 4 equal parts"):
        jax.eval_shape(spread, {}, np.zeros((6, 2)))
    with pytest.raises(ValueError, match="there is one object for 4 devices: use a mesh of one"):
        jax.eval_shape(spread, {}, np.zeros((1, 2)))


def test_a_mesh_of_one_takes_any_number() -> None:
    spread = over_objects(lambda model, x: {"twice": model * x}, make_mesh(jax.devices()[:1]))
    for n in (1, 3):
        np.testing.assert_array_equal(spread(2, np.ones((n, 2)))["twice"], np.full((n, 2), 2))


def test_a_mesh_has_two_axes() -> None:
    mesh = make_mesh()
    assert dict(mesh.shape) == {"data": jax.device_count(), "fsdp": 1}
    assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)
    assert make_mesh(jax.devices()[:1]).size == 1
    for fsdp in (0, 3 * jax.device_count()):
        with pytest.raises(ValueError, match=f"fsdp must divide the .* devices, got {fsdp}"):
            make_mesh(fsdp=fsdp)
