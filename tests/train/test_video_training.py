"""A tiny tracker learns a clip; what is trained is what runs; the rest stays as it is."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from sam_jax import presets
from sam_jax.config import DecoderConfig, HieraConfig, MemoryConfig, Sam2Config
from sam_jax.load import save
from sam_jax.models import build
from sam_jax.types import Model
from train import __main__ as program
from train import video as video_training
from train.clips import make_clips
from train.config import VideoConfig
from train.evaluate import evaluate_video
from train.video import initial_params, make_optimizer, shrink

TINY = Sam2Config(
    "tiny-tracker-for-tests",
    HieraConfig(8, 1, (1, 1, 1, 1), (), window_spec=(4, 4, 4, 4)),
    image_size=64,
    dim=32,
    decoder=DecoderConfig(
        depth=1, num_heads=2, mlp_dim=32, iou_hidden_dim=16, stability_fallback=False
    ),
    memory=MemoryConfig(dim=8, attention_layers=1, mlp_dim=16, fuser_layers=1),
)
CONFIG = VideoConfig(
    model=TINY.name,
    start="",
    output="",
    checkpoint="",
    steps=8,
    clips=1,
    objects=2,
    frames=3,
    warmup=1,
    balance_steps=4,
    learning_rate=3e-3,
    photos=False,
    eval_clips=1,
    eval_objects=2,
    eval_frames=3,
)
CLIP = make_clips((0,), 1, 2, frames=3, size=64, photos=False)
STILL = {
    "image_encoder",
    "prompt_encoder",
    "no_mem_embed",
    "no_mem_pos_enc",
    "mask_decoder/conv_s0",
    "mask_decoder/conv_s1",
    "memory_encoder/fuser",
}


@pytest.fixture(scope="module")
def model(random_params) -> Model:
    """With a fuser as it is born, which training leaves out, and objects that are present."""
    params = jax.tree.map(jnp.asarray, random_params(build(TINY)))
    for layer in params["memory_encoder"]["fuser"].values():
        layer["gamma"] = 1e-6 * jnp.ones_like(layer["gamma"])
    params["mask_decoder"]["pred_obj_score_head"]["layers_2"]["bias"] += 10
    return Model(params=params, module=build(TINY))


def _moved(before, after) -> set[str]:
    pairs = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for (path, a), b in pairs
        if not np.array_equal(a, b)
    }


def test_a_run_learns_its_clip_and_leaves_the_encoder_alone(
    model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(presets.PRESETS, TINY.name, TINY)
    monkeypatch.setattr(
        program, "training_batches", lambda config, size, start: [CLIP] * (config.steps - start)
    )
    monkeypatch.setattr(video_training, "initial_params", lambda module, trained, key: trained)
    start = tmp_path / "image.safetensors"
    save(model, start)
    config = replace(CONFIG, start=str(start), checkpoint=str(tmp_path / "run"))
    state, losses = program.train(config, Console(quiet=True))
    totals = [float(loss.total(1.0)) for loss in losses]
    assert np.mean(totals[-3:]) < np.mean(totals[:3])

    moved = _moved(model.params, state.params) | _moved(model.params, state.ema)
    assert not [name for name in moved if any(name.startswith(still) for still in STILL)]
    parts = {name.split("/")[0] for name in moved}
    assert parts >= {"memory_attention", "memory_encoder", "maskmem_tpos_enc", "mask_decoder"}
    assert parts >= {"obj_ptr_proj", "obj_ptr_tpos_proj", "mask_downsample"}


def test_a_start_of_another_shape_is_refused(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(presets.PRESETS, TINY.name, replace(TINY, dim=16))
    start = tmp_path / "image.safetensors"
    save(model, start)
    with pytest.raises(SystemExit, match=r"image\.safetensors is a tiny"):
        program.train(replace(CONFIG, start=str(start)), Console(quiet=True))


def test_evaluation_names_every_protocol(model) -> None:
    found = evaluate_video(model, program.held_out_batches(CONFIG, 64))
    shown = [name for name in found if name.startswith("mIoU, shown by its ")]
    assert len(shown) == 4
    assert all(0 <= value <= 1 for value in found.values())
    assert found["mIoU, first answer kept, shown by its mask"] > 0.3  # its clip moves little


def test_a_decoder_with_rate_zero_does_not_move(model) -> None:
    optimizer = make_optimizer(replace(CONFIG, decoder_rate=0.0))
    grads = jax.tree.map(jnp.ones_like, model.params)
    update = jax.jit(optimizer.update)
    _, state = update(grads, optimizer.init(model.params), model.params)  # warm-up: nothing moves
    updates, _ = update(grads, state, model.params)
    moving = {name for name, x in updates.items() if any(u.any() for u in jax.tree.leaves(x))}
    assert "mask_decoder" not in moving
    assert "memory_attention" in moving


def test_masks_shrink_by_majority() -> None:
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    mask[0, 2] = mask[3, 3] = True
    assert np.array_equal(shrink(jnp.asarray(mask), 2), [[True, False], [False, False]])


def test_new_memory_parts_and_old_image_parts(model) -> None:
    params = initial_params(model.module, model.params, jax.random.key(0))
    assert set(params) == set(model.params)
    assert params["image_encoder"] is model.params["image_encoder"]
    assert params["mask_decoder"] is model.params["mask_decoder"]
    attention = params["memory_attention"]["layers_0"]["cross_attn_image"]
    np.testing.assert_array_equal(attention["q_proj"]["bias"], attention["k_proj"]["bias"])
    assert _moved(model.params["memory_encoder"], params["memory_encoder"])
