"""Parameter groups and schedules, by hand and against the official optimiser."""

import functools
import math
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sam_jax import models
from sam_jax.checkpoint.names import from_official
from sam_jax.checkpoint.strict import flatten
from sam_jax.config import WordsConfig
from sam_jax.presets import SAM2_1_HIERA_BASE_PLUS, SAM2_1_HIERA_NANO, SAM_VIT_B
from train.config import Optimizer, Recipe, Source, Stream
from train.optimizer import is_decayed, learning_rates, make_optimizer, schedule

IMAGES = Stream(source=Source(kind="synthetic"), batch=1, frames=1, objects=1)
TRUNK = "image_encoder/trunk"


def recipe(steps: int, accumulate: int = 1, **optimizer: Any) -> Recipe:
    return Recipe(
        model="sam2.1-hiera-nano",
        folder="",
        steps=steps,
        images=IMAGES,
        accumulate=accumulate,
        optimizer=Optimizer(**optimizer),
    )


@functools.cache
def nano_paths() -> tuple[str, ...]:
    return tuple(flatten(models.abstract_params(models.build(SAM2_1_HIERA_NANO))))


def test_norms_and_biases_of_the_text_tower_are_not_decayed() -> None:
    config = WordsConfig(("red",), width=8, depth=1, num_heads=2)
    module = models.build(replace(SAM2_1_HIERA_NANO, text_dim=8, words=config))
    tower = [p for p in flatten(models.abstract_params(module)) if p.startswith("text_encoder/")]
    decayed = {path for path in tower if is_decayed(path)}
    assert decayed == {path for path in tower if path.endswith(("/kernel", "_embedding"))}
    assert (len(tower), len(decayed)) == (20, 8)  # six matrices and two tables


def test_rates_of_base_plus_are_the_official_ones() -> None:
    factors = {
        f"{TRUNK}/patch_embed/proj/kernel": 0.9**25,
        f"{TRUNK}/blocks_0/norm1/scale": 0.9**24,
        f"{TRUNK}/blocks_9/mlp/layers_0/bias": 0.9**15,
        f"{TRUNK}/blocks_23/attn/qkv/kernel": 0.9,
        f"{TRUNK}/pos_embed": 1.0,
        f"{TRUNK}/pos_embed_window": 1.0,
        "image_encoder/neck/convs_0/kernel": 1.0,
    }
    rates = learning_rates(Optimizer(), SAM2_1_HIERA_BASE_PLUS, factors)
    assert rates == {path: pytest.approx(3e-6 * factor) for path, factor in factors.items()}
    others = ("mask_decoder/transformer/layers_0/norm1/scale", "no_mem_embed")
    assert set(learning_rates(Optimizer(), SAM2_1_HIERA_BASE_PLUS, others).values()) == {5e-6}


def test_rates_of_a_vit_fall_from_the_last_block_to_the_patches_and_the_table() -> None:
    o = Optimizer(learning_rate=8e-4, encoder_rate=None, layer_decay=0.8)
    factors = {
        "image_encoder/pos_embed": 0.8**13,
        "image_encoder/patch_embed/proj/kernel": 0.8**13,
        "image_encoder/blocks_0/attn/rel_pos_h": 0.8**12,
        "image_encoder/blocks_11/mlp/layers_0/bias": 0.8,
        "image_encoder/neck_0/kernel": 1.0,
        "mask_decoder/iou_token": 1.0,
    }
    rates = learning_rates(o, SAM_VIT_B, factors)
    assert rates == {path: pytest.approx(8e-4 * factor) for path, factor in factors.items()}


def test_what_is_decayed_of_a_vit() -> None:
    paths = flatten(models.abstract_params(models.build(SAM_VIT_B)))
    encoder = {path for path in paths if path.startswith("image_encoder/")}
    kernels = {path for path in encoder if path.endswith("/kernel")}
    assert len(kernels) == 12 * 4 + 3
    assert {path for path in encoder if is_decayed(path)} == kernels


def test_one_rate_for_all() -> None:
    o = Optimizer(learning_rate=1e-3, encoder_rate=None, layer_decay=1.0)
    assert set(learning_rates(o, SAM2_1_HIERA_NANO, nano_paths()).values()) == {1e-3}


def test_a_text_tower_has_its_own_rate() -> None:
    o = Optimizer(learning_rate=1e-3, encoder_rate=None, words_rate=1e-4, layer_decay=1.0)
    rates = {"text_encoder/tower/final_layer_norm/scale": 1e-4}
    rates |= {"prompt_encoder/text_projection/kernel": 1e-3, "mask_decoder/iou_token": 1e-3}
    assert learning_rates(o, SAM2_1_HIERA_NANO, rates) == rates
    same = replace(o, words_rate=None)
    assert set(learning_rates(same, SAM2_1_HIERA_NANO, rates).values()) == {1e-3}


def test_what_is_decayed() -> None:
    """All kernels; of the rest, what is listed here."""
    scales = [f"memory_encoder/mask_downsampler/encoder_{i}/scale" for i in (1, 4, 7, 10)]
    scales += [
        f"memory_encoder/fuser/layers_{i}/{x}" for i in (0, 1) for x in ("gamma", "norm/scale")
    ]
    scales += [f"prompt_encoder/mask_downscaling_{i}/scale" for i in (1, 4)]
    scales += ["mask_decoder/output_upscaling_1/scale"]
    tokens = [f"mask_decoder/{x}" for x in ("iou_token", "mask_tokens", "obj_score_token")]
    tokens += [f"prompt_encoder/point_embeddings_{i}" for i in range(4)]
    tokens += [f"prompt_encoder/{x}" for x in ("no_mask_embed", "not_a_point_embed")]
    tokens += ["prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"]
    tables = [f"{TRUNK}/pos_embed", f"{TRUNK}/pos_embed_window", "maskmem_tpos_enc"]
    tables += ["no_mem_embed", "no_mem_pos_enc", "no_obj_embed_spatial", "no_obj_ptr"]
    others = {path for path in nano_paths() if not path.endswith("/kernel")}
    assert {path for path in others if is_decayed(path)} == {*scales, *tokens, *tables}
    assert all(is_decayed(path) for path in set(nano_paths()) - others)
    assert is_decayed("memory_attention/layers_0/self_attn/q_proj/kernel/lora_a")


def values(steps: int, at: list[int], **optimizer: Any) -> list[float]:
    shape = schedule(Optimizer(**optimizer), steps)
    return [float(shape(jnp.asarray(step))) for step in at]


def test_schedules_at_known_points() -> None:
    assert values(10, [0, 9], schedule="constant") == [1, 1]
    cosine = [0.1 + 0.45 * (1 + math.cos(math.pi * where)) for where in (0, 0.3, 0.5, 0.9)]
    assert values(10, [0, 3, 5, 9]) == pytest.approx(cosine)
    assert values(24, [0, 2, 4, 14, 24], warmup=4, final=0.0) == pytest.approx([0, 0.5, 1, 0.5, 0])
    drops = {"schedule": "step", "warmup": 10, "drops": (0.6, 0.9)}
    assert values(100, [5, 10, 59, 60, 89, 90], **drops) == pytest.approx(
        [0.5, 1, 1, 0.1, 0.1, 0.01]
    )
    rsqrt = {"schedule": "rsqrt", "warmup": 100, "cooldown": 100}
    assert values(1000, [50, 100, 400, 899, 950, 1000], **rsqrt) == pytest.approx(
        [0.5, 1, 0.5, (100 / 899) ** 0.5, 0.5 * (100 / 950) ** 0.5, 0]
    )


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"warmup": 11}, "warmup=11 and cooldown=0 do not fit into 10 steps"),
        ({"schedule": "rsqrt", "warmup": 6, "cooldown": 5}, "warmup=6 and cooldown=5 do not fit"),
        ({"cooldown": 1}, "cooldown=1 is for the schedule 'rsqrt', not 'cosine'"),
        ({"schedule": "rsqrt"}, "set warmup"),
        ({"schedule": "step", "drops": (0.5, 60_000.0)}, r"drops=.* must be parts of all steps"),
    ],
)
def test_schedules_that_cannot_be_meant(optimizer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule(Optimizer(**optimizer), 10)


def test_batches_are_averaged_and_steps_are_batches() -> None:
    params = {"no_mem_embed": jnp.ones(3), f"{TRUNK}/blocks_0/attn/qkv/bias": jnp.ones(2)}
    random = np.random.default_rng(0)
    grads = [jax.tree.map(lambda x: random.standard_normal(x.shape), params) for _ in range(4)]

    def after(grads: list[Any], accumulate: int) -> Any:
        options = {"learning_rate": 0.1, "encoder_rate": 0.2, "schedule": "step", "drops": (0.5,)}
        run = recipe(len(grads), accumulate, **options)
        optimizer = make_optimizer(run, SAM2_1_HIERA_NANO, params)
        moved, state = params, optimizer.init(params)
        for grad in grads:
            updates, state = jax.jit(optimizer.update)(grad, state, moved)
            moved = optax.apply_updates(moved, updates)
        return moved

    means = [jax.tree.map(lambda a, b: (a + b) / 2, *grads[i : i + 2]) for i in (0, 2)]
    expected = after(means, 1)
    assert all((expected[path] != x).all() for path, x in params.items())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after(grads, 2), expected
    )


class _Cosine:
    """fvcore's scheduler, which is not installed: training progress 0..1 -> value."""

    def __init__(self, start_value: float, end_value: float) -> None:
        self.start, self.end = start_value, end_value

    def __call__(self, where: float) -> float:
        return self.end + 0.5 * (self.start - self.end) * (1 + math.cos(math.pi * where))


class _Constant:
    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, where: float) -> float:
        return self.value


@pytest.mark.oracle
def test_five_steps_are_the_official_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published recipe's own groups, built by the official code; larger rates show more."""
    torch = pytest.importorskip("torch")
    from convert import official

    model = official.perturb(official.build_sam2(SAM2_1_HIERA_NANO, seed=0), seed=0)
    fvcore = types.ModuleType("fvcore.common.param_scheduler")
    fvcore.CosineParamScheduler, fvcore.ConstantParamScheduler = _Cosine, _Constant  # type: ignore[attr-defined]
    for name in ("fvcore", "fvcore.common"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, fvcore.__name__, fvcore)
    import sam2
    from omegaconf import OmegaConf
    from training.optimizer import GradientClipper, construct_optimizer

    file = "configs/sam2.1_training/sam2.1_hiera_b+_MOSE_finetune.yaml"
    published = OmegaConf.load(Path(sam2.__file__).parent / file)
    published.scratch.update(base_lr=0.05, vision_lr=0.03)
    OmegaConf.register_new_resolver("divide", lambda x, y: x / y, replace=True)
    optim = OmegaConf.create(OmegaConf.to_container(published.trainer.optim, resolve=True))
    theirs = construct_optimizer(model, optim.optimizer, optim.options, optim.param_group_modifiers)
    clip = GradientClipper(optim.gradient_clip.max_norm, optim.gradient_clip.norm_type)

    def ours_of(tensors: dict[str, Any]) -> dict[str, jax.Array]:
        # A copy: torch moves its parameters in place, and jax may share memory.
        arrays = {name: x.detach().numpy().copy() for name, x in tensors.items()}
        return {path: jnp.array(x) for path, x in from_official(arrays).items()}

    named = dict(model.named_parameters())
    params = start = ours_of(named)
    optimizer = make_optimizer(
        recipe(5, learning_rate=0.05, encoder_rate=0.03), SAM2_1_HIERA_NANO, params
    )
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    generator = torch.Generator().manual_seed(0)
    for step in range(5):
        for parameter in named.values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        updates, state = update(ours_of({n: p.grad for n, p in named.items()}), state, params)
        params = optax.apply_updates(params, updates)
        clip(model)
        theirs.step(step / 5, step)
    expected = ours_of(named)
    assert params.keys() == expected.keys()
    for path, x in params.items():
        moved = float(jnp.abs(x - start[path]).max())
        assert moved > 1e-3
        np.testing.assert_allclose(x, expected[path], atol=1e-4 * moved, err_msg=path)
