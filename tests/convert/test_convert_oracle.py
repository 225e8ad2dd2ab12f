"""Converted files, read by the code they are for: torch, sam2 and transformers."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sam_jax.checkpoint import config_json, hf_config
from sam_jax.presets import PRESETS, SAM2_1_HIERA_NANO

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


def run(*arguments: object) -> None:
    from convert.__main__ import main

    assert main([str(argument) for argument in arguments]) == 0


def test_official_to_native_and_back_loads_strictly(torch: Any, tmp_path: Path) -> None:
    from convert import official

    model = official.build_sam2(SAM2_1_HIERA_NANO, seed=0)
    torch.save({"model": model.state_dict()}, tmp_path / "in.pt")
    run(tmp_path / "in.pt", tmp_path / "native.safetensors")
    run(tmp_path / "native.safetensors", tmp_path / "out.pt")
    back = torch.load(tmp_path / "out.pt", weights_only=True)["model"]
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())
    other = official.build_sam2(SAM2_1_HIERA_NANO, seed=1)
    other.load_state_dict(back, strict=True)


def test_transformers_reads_what_we_write(torch: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from convert import official

    # nano but for the one width that transformers fixes
    memory = dataclasses.replace(SAM2_1_HIERA_NANO.memory, dim=64)
    config = dataclasses.replace(SAM2_1_HIERA_NANO, name="nano-64", memory=memory)
    (tmp_path / "config.json").write_text(config_json.to_json(config))
    own = ("--config", tmp_path / "config.json")
    model = official.build_sam2(config, seed=0)
    torch.save({"model": model.state_dict()}, tmp_path / "in.pt")
    run(tmp_path / "in.pt", tmp_path / "hf", *own)
    loaded, report = transformers.Sam2VideoModel.from_pretrained(
        tmp_path / "hf", output_loading_info=True
    )
    assert not any(report.values()), report
    rows = [embed.weight for embed in model.sam_prompt_encoder.point_embeddings]
    assert torch.equal(loaded.prompt_encoder.point_embed.weight, torch.cat(rows))

    loaded.save_pretrained(tmp_path / "saved")
    run(tmp_path / "saved", tmp_path / "out.pt", *own)
    back = torch.load(tmp_path / "out.pt", weights_only=True)["model"]
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


def test_the_recorded_lists_are_those_of_the_official_code(torch: Any, recorded) -> None:
    from convert import official

    model = official.build_sam2(PRESETS["sam2.1-hiera-tiny"], seed=0)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == {
        name: array.shape for name, array in recorded("official", "sam2.1-hiera-tiny").items()
    }


def test_transformers_builds_the_recorded_sam1_from_our_config(torch: Any, recorded) -> None:
    transformers = pytest.importorskip("transformers")
    values = json.loads(hf_config.to_json(PRESETS["sam-vit-base"]))
    config = transformers.SamConfig.from_dict(values)
    with torch.device("meta"):
        state = transformers.SamModel(config).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: array.shape for name, array in recorded("hf", "sam-vit-base").items()
    }
