"""The official code runs every model we describe, with exactly the parameters we expect."""

import dataclasses

import numpy as np
import pytest

from convert import official_sam
from sam_jax.checkpoint.names import from_official
from sam_jax.checkpoint.strict import flatten
from sam_jax.models import abstract_params, build
from sam_jax.presets import PRESETS

pytestmark = pytest.mark.oracle
SAM2 = [name for name in PRESETS if name.startswith("sam2")]


@pytest.mark.parametrize("name", SAM2)
def test_names_and_shapes(official, name: str) -> None:
    config = PRESETS[name]
    state = official.state_dict(official.build_sam2(config, seed=0))
    ours = {k: v.shape for k, v in flatten(abstract_params(build(config))).items()}
    assert {k: v.shape for k, v in from_official(state).items()} == ours


def test_a_small_change_of_a_released_model_is_followed(official) -> None:
    config = dataclasses.replace(PRESETS["sam2.1-hiera-tiny"], image_size=512)
    model = official.build_sam2(config, seed=0)
    assert model.image_size == 512
    assert model.memory_attention.layers[0].self_attn.freqs_cis.shape[0] == 32 * 32
    trunk = dataclasses.replace(config.trunk, stages=(1, 2, 5, 2), global_att_blocks=(4,))
    model = official.build_sam2(dataclasses.replace(config, trunk=trunk), seed=0)
    assert len(model.image_encoder.trunk.blocks) == 10
    decoder = dataclasses.replace(config.decoder, stability_fallback=False, mlp_dim=64)
    model = official.build_sam2(dataclasses.replace(config, decoder=decoder), seed=0)
    assert not model.sam_mask_decoder.dynamic_multimask_via_stability
    assert model.sam_mask_decoder.transformer.layers[0].mlp.layers[0].out_features == 64


def test_seed_and_perturbation_are_reproducible(official) -> None:
    config = PRESETS["sam2.1-hiera-nano"]
    first, again, other = (
        official.state_dict(official.perturb(official.build_sam2(config, seed=s), seed=s))
        for s in (0, 0, 1)
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not any(np.array_equal(first[name], other[name]) for name in first)


def test_perturbed_models_have_no_idle_parameters(official) -> None:
    """No table of zeros, no norm that does nothing, no residual scale of 1e-6."""
    state = official.state_dict(
        official.perturb(official.build_sam2(PRESETS["sam2.1-hiera-nano"], seed=0), seed=0)
    )
    for name, array in state.items():
        assert np.abs(array).max() > 1e-3, name
        assert array.size == 1 or array.std() > 1e-4, name


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("sam-")])
def test_names_and_shapes_of_sam1(official, name: str) -> None:
    from segment_anything import sam_model_registry

    config = PRESETS[name]
    short = {"base": "vit_b", "large": "vit_l", "huge": "vit_h"}[name.rpartition("-")[2]]
    ours = {k: v.shape for k, v in flatten(abstract_params(build(config))).items()}
    released = sam_model_registry[short]()
    for model in (released, official_sam.build_sam(config, seed=0)):
        assert {k: v.shape for k, v in from_official(official.state_dict(model)).items()} == ours
