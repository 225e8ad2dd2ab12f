"""A training step on eight devices: what they keep, and what they tell each other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)
REPO = Path(__file__).resolve().parents[2]
SCRIPT = """
from dataclasses import replace
import jax, jax.numpy as jnp, numpy as np
from benchmarks.hlo import collectives
from sam_jax.config import DecoderConfig, HieraConfig, MemoryConfig, Sam2Config
from sam_jax.models import build, init_params
from sam_jax.presets import preset
from sam_jax.sharding import make_mesh
from train import placement
from train.checkpoints import abstract
from train.config import *
from train.optimizer import make_optimizer
from train.placement import batch_shapes, batch_shardings, state_shardings, whole
from train.step import init_state, make_step
from train.trainable import split

TINY = Sam2Config(
    "tiny-test",
    HieraConfig(8, 1, (1, 1, 2, 1), global_att_blocks=(3,), window_spec=(4, 4, 4, 2)),
    image_size=96, dim=32, mask_channels=16,
    decoder=DecoderConfig(depth=1, num_heads=2, mlp_dim=32, iou_hidden_dim=16),
    memory=MemoryConfig(dim=8, attention_layers=1, mlp_dim=32, fuser_layers=1),
)
clips = Stream(
    source=Source(kind="synthetic"), batch=8, frames=2, objects=2,
    prompts=Prompting(point_share=1, corrections=1),
)
recipe = Recipe(
    model="", folder="", steps=1, videos=clips, losses=LossWeights(stride=4), dtype="float32"
)

def shapes_of(module):
    key = jax.random.key(0)
    def state():
        trained, fixed = split(init_params(module, key), recipe, key)
        return init_state(trained, fixed, make_optimizer(recipe, module.config, trained), recipe)
    return jax.eval_shape(state)

def of_a_device(shapes, fsdp):
    shardings = state_shardings(make_mesh(fsdp=fsdp), shapes)
    parts = jax.tree.map(lambda x, s: np.prod(s.shard_shape(x.shape)) * 4, shapes, shardings)
    return sum(jax.tree.leaves(parts)), shardings

def size(tree):
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

# The largest model, without values.
shapes = shapes_of(build(preset("sam2.1-hiera-large")))
total = size(shapes)
spread = sum(
    size(x) for x, s in zip(*map(jax.tree.leaves, (shapes, of_a_device(shapes, 8)[1])))
    if s != whole(make_mesh(fsdp=8))
)
for n in (1, 2, 4, 8):
    assert of_a_device(shapes, n)[0] == total - spread + spread // n, n
assert spread > 0.99 * total, spread / total
print(f"of {total / 2**20:.0f} MB {(total - spread) / 2**20:.1f} are on every device")

# A small one, with values: the same on real arrays.
placement._SPREAD_FROM = 4096
module = build(TINY)
shapes = shapes_of(module)
for n in (1, 2, 4, 8):
    expected, shardings = of_a_device(shapes, n)
    placed = jax.tree.map(lambda x, s: jax.device_put(jnp.zeros(x.shape, x.dtype), s), shapes,
                          shardings)
    held = sum(x.addressable_shards[3].data.nbytes for x in jax.tree.leaves(placed))
    assert held == expected, n

# Its step, on two groups of four.
mesh = make_mesh(fsdp=4)
shardings, same = state_shardings(mesh, shapes), whole(mesh)
optimizer = make_optimizer(recipe, TINY, shapes.trained)
step = jax.jit(
    make_step(module, optimizer, recipe, mesh),
    in_shardings=(shardings, same, batch_shardings(mesh)),
    out_shardings=(shardings, same),
    donate_argnums=0,
)
key = jax.eval_shape(jax.random.key, 0)
found = collectives(step.lower(shapes, key, batch_shapes(mesh, clips, 96)).compile().as_text())
parameters = [
    (x, s) for x, s in zip(*map(jax.tree.leaves, ((shapes.trained, shapes.fixed),
                                                  (shardings.trained, shardings.fixed))))
]
gathered = sum(c.bytes for c in found if c.kind == "all-gather")
summed = sum(c.bytes for c in found if c.kind == "all-reduce")
print({kind: sum(c.bytes for c in found if c.kind == kind) for kind in {c.kind for c in found}})
# Parameters once; no picture, no feature, no activation.
assert {c.kind for c in found} == {"all-gather", "all-reduce"}
assert gathered == sum(size(x) for x, s in parameters if s != same), gathered
# Gradients once, or what a loop adds to them; and some numbers.
assert size(shapes.trained) <= summed < 1.05 * size(shapes.trained), summed
print("as declared")
"""


def test_memory_falls_with_devices_and_only_parameters_and_gradients_travel() -> None:
    environment = os.environ | {
        "PYTHONPATH": str(REPO),
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    print(done.stdout)
    assert done.stdout.endswith("as declared\n"), done.stdout + done.stderr[-3000:]
