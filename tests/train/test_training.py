"""A tiny model learns a batch, and an interrupted run ends like an uninterrupted one."""

import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from sam_jax import presets
from sam_jax.config import DecoderConfig, HieraConfig, MemoryConfig, Sam2Config
from sam_jax.load import load, save
from sam_jax.models import build
from sam_jax.types import Model
from train import __main__ as program
from train.config import Run, TrainConfig
from train.evaluate import evaluate
from train.step import init_state, make_optimizer, make_step
from train.synthetic import make_batch

TINY = Sam2Config(
    "tiny-for-tests",
    HieraConfig(8, 1, (1, 1, 1, 1), (), window_spec=(4, 4, 4, 4)),
    image_size=64,
    dim=32,
    decoder=DecoderConfig(depth=1, num_heads=2, mlp_dim=32, iou_hidden_dim=16),
    memory=MemoryConfig(dim=8, attention_layers=1, mlp_dim=16),
)
CONFIG = TrainConfig(
    model=TINY.name,
    output="",
    checkpoint="",
    steps=6,
    images=2,
    prompts=2,
    warmup=1,
    locate_steps=0,
    balance_steps=3,
    learning_rate=3e-3,
    photos=False,
)
BATCH = make_batch((0,), 2, 2, size=64, photos=False)


def _params(random_params) -> dict:
    return jax.tree.map(np.asarray, random_params(build(TINY)))


def test_three_steps_reduce_the_loss_of_one_batch(random_params) -> None:
    optimizer = make_optimizer(CONFIG)
    step = make_step(build(TINY), optimizer, CONFIG)
    params = _params(random_params)
    state = init_state(jax.tree.map(jax.numpy.array, params), optimizer)
    totals = []
    for _ in range(4):
        # The step number is part of the randomness: held, so that the prompts stay the same.
        state = state.replace(step=jax.numpy.zeros((), int))
        state, losses = step(state, jax.random.key(0), *BATCH)
        totals.append(float(losses.total()))
    assert totals[-1] < totals[0]

    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), params, state.params)
    frozen = [name for name in moved if not any(jax.tree.leaves(moved[name]))]
    assert set(frozen) == {
        "maskmem_tpos_enc",
        "mask_downsample",
        "memory_attention",
        "memory_encoder",
        "no_mem_pos_enc",
        "no_obj_embed_spatial",
        "no_obj_ptr",
        "obj_ptr_proj",
        "obj_ptr_tpos_proj",
    }
    still = jax.tree_util.tree_leaves_with_path(
        {name: moved[name] for name in moved if name not in frozen}
    )
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, m in still if not m]
    # The bias of a key shifts all scores of a softmax alike, and leaves where the image is read.
    names = [name for name in names if not name.endswith("token_to_image/k_proj/bias")]
    assert names == ["prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, random_params) -> None:
    """The tiny model as a preset, scenes painted in this process, quick initial values."""
    monkeypatch.setitem(presets.PRESETS, TINY.name, TINY)
    monkeypatch.setattr(program, "initial_params", lambda module, key: _params(random_params))

    def paint(config: TrainConfig, size: int, start: int):
        for step in range(start, config.steps):
            yield make_batch((0, step), 2, 2, size=size, photos=False)

    monkeypatch.setattr(program, "training_batches", paint)


def _values(losses: list) -> np.ndarray:
    return np.array([jax.tree.leaves(x) for x in losses])


def test_a_resumed_run_equals_an_uninterrupted_one(
    quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(quiet=True)
    state, losses = program.train(replace(CONFIG, checkpoint=str(tmp_path / "whole")), console)
    assert len(losses) == CONFIG.steps

    config = replace(CONFIG, checkpoint=str(tmp_path / "parts"), save_minutes=0)
    paint = program.training_batches

    def interrupted(config: TrainConfig, size: int, start: int):
        for i, batch in enumerate(paint(config, size, start)):
            if i == 4:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(program, "training_batches", interrupted)
        program.train(config, console)
    resumed, rest = program.train(config, console)
    assert len(rest) == 2
    assert int(resumed.step) == CONFIG.steps
    np.testing.assert_array_equal(_values(losses)[4:], _values(rest))
    jax.tree.map(np.testing.assert_array_equal, state.ema, resumed.ema)


def test_evaluation_names_every_protocol_and_survives_a_file(random_params, tmp_path) -> None:
    model = Model(params=random_params(build(TINY)), module=build(TINY))
    found = evaluate(model, [BATCH])
    assert [name.split(", ")[1] for name in found] == ["1 box"] + ["1 click"] * 3 + ["3 clicks"]
    assert all(0 <= value <= 1 for value in found.values())
    by_prediction, by_truth = (
        found[f"mIoU, 1 click, best of three by {x} IoU"] for x in ("predicted", "true")
    )
    assert by_prediction <= by_truth
    save(model, tmp_path / "m.safetensors")
    assert evaluate(load(tmp_path / "m.safetensors"), [BATCH]) == found


def test_worker_processes_paint_each_batch_once_and_in_order() -> None:
    config = replace(CONFIG, steps=5, images=1, prompts=1)
    batches = list(program.training_batches(config, 64, 2))
    assert len(batches) == 3
    for step, (images, masks) in enumerate(batches, 2):
        expected = make_batch((0, 0, step), 1, 1, size=64, photos=False)
        assert np.array_equal(images, expected[0])
        assert np.array_equal(masks, expected[1])


def test_recipes_are_configs_of_known_models() -> None:
    import configs

    recipes = [module.name for module in pkgutil.iter_modules(configs.__path__)]
    assert recipes
    for name in recipes:
        module = importlib.import_module(f"configs.{name}")
        assert isinstance(module.config, Run)
        assert f"python -m train {name}" in module.__doc__
        presets.preset(module.config.model)
