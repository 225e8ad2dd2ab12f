"""Exported programs, called in a process that has neither sam_jax nor flax."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import sam_jax
from sam_jax import image, video
from sam_jax.cli import main
from sam_jax.config import WordsConfig
from sam_jax.export import folder
from sam_jax.export.arrays import FEATURES
from sam_jax.io.canvas import Canvas
from sam_jax.predictors.text import score_texts
from sam_jax.types import NOT_A_POINT, PAD, FrameInput, ImageFeatures, Masks, Model, Prompts

REPO = Path(__file__).resolve().parents[2]
PROGRAMS = ("encoder", "decoder", "track-step", "track-masks", "text")

_ALONE = f"""
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sam_jax", "flax"):
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Block())
try:
    import sam_jax
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("the block does not work")
sys.path.insert(0, {str(REPO / "docs")!r})
import jax
import numpy as np
from PIL import Image
from run_exported import Exported, main, to_input

given = dict(np.load("given.npz"))
found = {{}}
"""


def alone(program: str, where: Path, **given: Any) -> dict[str, np.ndarray]:
    """What a program puts into `found`, in a process of its own that works in a folder."""
    np.savez(where / "given.npz", **given)
    (where / "alone.py").write_text(f"{_ALONE}{program}\nnp.savez('found.npz', **found)\n")
    command = [sys.executable, "-W", "error", "alone.py"]
    result = subprocess.run(command, check=False, cwd=where, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return dict(np.load(where / "found.npz"))


@pytest.fixture(scope="module")
def model(small_tracker) -> Model:
    words = WordsConfig(("red", "blue", "circle"), width=16, num_heads=2, context=5)
    return small_tracker(words=words)


@pytest.fixture(scope="module")
def place(model, tmp_path_factory) -> Path:
    """A folder with `exported`: programs for three platforms, as the command writes them."""
    where = tmp_path_factory.mktemp("export")
    sam_jax.save(model, where / "model.safetensors")
    program = "from sam_jax.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", program, "export", str(where / "exported")]
    command += ["--model", str(where / "model.safetensors"), "--what", ",".join(PROGRAMS)]
    subprocess.run(command, check=True, cwd=REPO)  # types unchecked, which is quicker
    return where


@jax.jit
def _answers(model: Model, features: ImageFeatures, prompts: Prompts) -> tuple[Masks, Masks]:
    masks = (image.predict(model, features, prompts, multimask=m) for m in (True, False))
    multi, single = (score_texts(model.config.decoder, m, prompts) for m in masks)
    return multi, single


def _asked(config, b: int, o: int) -> dict[str, np.ndarray]:
    """A click, a box with a text, and so on; every second one with a mask, too."""
    random = np.random.default_rng(0)
    n, side = b * o, config.mask_size
    labels = np.resize(np.array([[1, PAD, PAD], [2, 3, 0]], np.int32), (n, 3))
    text = random.standard_normal((n, config.text_dim)).astype(np.float32)
    flat = {
        "points": random.uniform(0, config.image_size, (n, 3, 2)).astype(np.float32),
        "labels": labels,
        "mask": random.uniform(-40, 40, (n, side, side)).astype(np.float32),
        "has_mask": np.arange(n) % 2 == 1,
        "text": text / np.linalg.norm(text, axis=1, keepdims=True),
        "has_text": np.arange(n) % 3 == 1,
    }
    return {name: array.reshape(b, o, *array.shape[1:]) for name, array in flat.items()}


def _ours(config, asked: dict[str, np.ndarray]) -> Prompts:
    """The same with the closing token, and logits within their limits."""
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in asked.items()}
    most = config.largest_logit
    return Prompts(
        points=np.pad(flat["points"], ((0, 0), (0, 1), (0, 0))),
        labels=np.pad(flat["labels"], ((0, 0), (0, 1)), constant_values=NOT_A_POINT),
        mask=flat["mask"].clip(-most, most)[..., None],
        has_mask=flat["has_mask"],
        text=flat["text"],
        has_text=flat["has_text"],
    )


_DECODE = 'found |= Exported("exported").run("decoder", given)'
_PICTURES = """
exported = Exported("exported")
found |= exported.run("text", {"tokens": given.pop("tokens")})
features = exported.run("encoder", {"images": given.pop("images")})
found |= features
found |= exported.run("decoder", {**features, **given})
"""


def _same_answers(
    found: dict[str, np.ndarray],
    model: Model,
    features: ImageFeatures,
    asked: dict[str, np.ndarray],
) -> None:
    multi, single = _answers(model, features, _ours(model.config, asked))
    assert np.ptp(multi.logits) > 1
    shape = asked["has_mask"].shape
    for name, array in (
        ("multi_logits", multi.logits),
        ("multi_iou", multi.iou),
        ("single_logits", single.logits[:, 0]),
        ("single_iou", single.iou[:, 0]),
        ("object_logit", multi.object_logit),
    ):
        np.testing.assert_array_equal(found[name], array.reshape(*shape, *array.shape[1:]), name)


def test_pictures_and_phrases_bit_for_bit(place, model) -> None:
    """Sizes were open; for two pictures with two objects there is one formulation."""
    images = np.random.default_rng(1).random((2, 96, 96, 3), np.float32)
    asked = _asked(model.config, 2, 2)
    tokens = np.array([[3, 0, 2, 4, 4], [3, 1, 4, 4, 4], [3, 0, 4, 4, 4]], np.int32)
    found = alone(_PICTURES, place, images=images, tokens=tokens, **asked)
    features = video.jit_encode(model, images)
    for name, array in zip(FEATURES, (features.embed, *features.high_res), strict=True):
        np.testing.assert_array_equal(found[name], array, name)
    _same_answers(found, model, features, asked)
    encode = jax.jit(lambda model, tokens: image.apply(model, "encode_text", tokens))
    np.testing.assert_array_equal(found["text"], encode(model, tokens))


def test_fixed_sizes_bit_for_bit(tmp_path, model) -> None:
    """One picture, and objects that CPUs decode in groups."""
    sizes = {"b": 1, "o": 8}
    folder.write(model, tmp_path / "exported", what=["decoder"], platforms=["cpu"], sizes=sizes)
    about = json.loads((tmp_path / "exported" / "export.json").read_text())
    assert about["sizes"] == sizes
    decoder = about["programs"]["decoder"]
    assert decoder["inputs"]["points"]["shape"] == [1, 8, "p", 2]
    assert decoder["outputs"]["multi_logits"]["shape"] == [1, 8, 3, 24, 24]
    random = np.random.default_rng(1)
    shapes = {"embed": (6, 6, 32), "high_res_0": (24, 24, 4), "high_res_1": (12, 12, 8)}
    given = {name: random.standard_normal((1, *s), np.float32) for name, s in shapes.items()}
    asked = _asked(model.config, 1, 8)
    found = alone(_DECODE, tmp_path, **given, **asked)
    embed, *high_res = given.values()
    _same_answers(found, model, ImageFeatures(embed, tuple(high_res)), asked)


def test_tracking_as_the_page_has_it_bit_for_bit(place, model, drifting) -> None:
    """docs/deploying.md, and then an object that is given by its mask."""
    page = (REPO / "docs" / "deploying.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    frames = drifting(3)
    mask = np.zeros((1, 2, 96, 96), np.float32)
    mask[0, 1, 10:50, 30:60] = 1
    program = f"""
frames = [Image.fromarray(frame) for frame in given["frames"]]
{block}
given_masks = exported.empty("track-masks", b=1, o=2)
given_masks["masks"], given_masks["given"] = given["mask"], np.array([[False, True]])
state, answer = exported.run("track-masks", state, {{**features, **given_masks}})
found |= {{name: np.asarray(array, np.float32) for name, array in state.items()}}
found |= {{"masks": np.stack(masks), "logits": answer["logits"]}}
"""
    found = alone(program, place, frames=frames, mask=mask)

    state = video.init_state(model, 2, prompted=4)
    step, give = jax.jit(video.step), jax.jit(video.prompt_masks)
    for t, frame in enumerate(frames):
        features = video.jit_encode(model, Canvas(96, 96, 96, False).paint(frame)[None])
        prompts = Prompts(
            points=jnp.array([[[40, 50], [0, 0], [0, 0]], [[8, 8], [60, 70], [0, 0]]], float),
            labels=jnp.array([[1, PAD, NOT_A_POINT], [2, 3, NOT_A_POINT]]),
            mask=jnp.zeros((0, 24, 24, 1)),
            has_mask=jnp.zeros(0, bool),
            text=jnp.zeros((2, 16)),
            has_text=jnp.zeros(2, bool),
        )
        asked = FrameInput(features, prompts, jnp.full(2, t == 0), jnp.zeros(2, bool))
        state, answer = step(model, state, asked)
        assert (answer.logits > 0).any((1, 2)).all() and (answer.logits < 0).any()
        np.testing.assert_array_equal(found["masks"][t, 0], answer.logits > 0)
    state, answer = give(model, state, features, mask[0], np.array([False, True]))
    np.testing.assert_array_equal(found["logits"][0], answer.logits)
    assert found["bank_features"].shape == (1, 2, 10, 6, 6, 8)
    for name, array in vars(state.bank).items():
        np.testing.assert_array_equal(found[f"bank_{name}"][0], array.astype(jnp.float32), name)
    np.testing.assert_array_equal(found["frame"], [[3, 3]])


_EXAMPLE = """
sys.argv[1:] = "exported a.png --box 20,30,90,80".split()
main()
exported = Exported("exported")
images = to_input(exported.about["picture"], Image.open("a.png"))
asked = exported.empty("segment", b=1, o=1, p=2)
scale = np.array([96 / 140, 62 / 90], np.float32)  # the rows are rounded
asked["points"] = np.array([[[[20, 30], [90, 80]]]], np.float32) * scale
asked["labels"] = np.array([[[2, 3]]], np.int32)
found |= exported.run("segment", {"images": images, **asked})
"""


def test_the_example_gives_the_predictors_mask(small_sam, tmp_path) -> None:
    folder.write(small_sam, tmp_path / "exported", platforms=["cpu"])
    about = json.loads((tmp_path / "exported" / "export.json").read_text())
    assert list(about["programs"]) == ["encoder", "decoder", "segment"]  # all that SAM 1 can do
    pixels = np.random.default_rng(2).integers(0, 256, (90, 140, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = alone(_EXAMPLE, tmp_path)
    predictor = sam_jax.ImagePredictor(small_sam)
    predictor.set_image(pixels)
    (mask,), _, low = predictor.predict(box=[20, 30, 90, 80], multimask_output=False)
    assert 0.05 < mask.mean() < 0.95
    np.testing.assert_allclose(found["single_logits"][0], low, atol=1e-4)
    found = np.asarray(Image.open(tmp_path / "mask.png"))
    assert (found != (mask > 0)).mean() < 2e-3  # logits near 0


def _read(place: Path, name: str, platform: str) -> jax.export.Exported:
    file = place / "exported" / f"{name}.{platform}.jaxexport"
    return jax.export.deserialize(bytearray(file.read_bytes()))


def test_every_platform_gets_what_is_described(place, model) -> None:
    about = json.loads((place / "exported" / "export.json").read_text())
    assert about["compute"] == {"cpu": "float32", "cuda": "bfloat16", "tpu": "bfloat16"}
    assert about["words"] == {"list": ["red", "blue", "circle"], "start": 3, "end": 4}
    assert tuple(about["programs"]) == PROGRAMS
    for name, program in about["programs"].items():
        assert list(program["files"]) == ["cpu", "cuda", "tpu"]
        for platform in program["files"]:
            exported = _read(place, name, platform)
            assert exported.platforms == (platform,) and exported.nr_devices == 1
            (weights, *dicts), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
            results = jax.tree.unflatten(exported.out_tree, exported.out_avals)
            assert len(weights) == len(jax.tree.leaves(model.params))
            kinds = ["state", "inputs"][-len(dicts) :]
            *state, outputs = results if len(dicts) > 1 else [results]
            described = [*(program[kind] for kind in kinds), *(program["state"] for _ in state)]
            for avals, arrays in zip(
                [*dicts, *state, outputs], [*described, program["outputs"]], strict=True
            ):
                assert set(avals) == set(arrays) <= set(about["meanings"])
                for array, what in arrays.items():
                    assert [str(s) for s in avals[array].shape] == [str(s) for s in what["shape"]]
                    compute = about["compute"][platform]
                    dtype = compute if what["dtype"] == "compute" else what["dtype"]
                    assert avals[array].dtype == dtype, (name, platform, array)


def test_platforms_get_their_own_formulation(place) -> None:
    """On GPU objects as a batch, in which nothing branches; else in turn, skipped where idle."""
    for name in ("track-step", "track-masks"):
        branches = {
            platform: _read(place, name, platform).mlir_module().count("stablehlo.case")
            for platform in ("cpu", "cuda", "tpu")
        }
        assert branches["cuda"] == 0 < min(branches["cpu"], branches["tpu"])


def test_the_weights_are_a_checkpoint(place, model) -> None:
    again = sam_jax.load(place / "exported" / "weights.safetensors")
    assert again.config == model.config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--what", "encode"], "what: 'encode' is none of encoder, decoder"),
        (["--what", ","], "--what ',': name some of encoder, decoder"),
        (["--platforms", "gpu"], "platforms: 'gpu' is none of cpu, cuda, rocm, tpu"),
        (["--platforms", ","], "platforms: name at least one of cpu"),
        (["--fix", "b"], "--fix takes LETTER=SIZE,... such as b=1,p=4; got 'b'"),
        (["--fix", "z=1"], "sizes: 'z' is none of b, o, p, c, n"),
        (["--fix", "b=0"], "sizes must be at least 1 and below 2**31, got b=0"),
        (["--fix", f"b={2**64}"], "sizes must be at least 1 and below 2**31, got b=18446"),
        (["--fix", "b=1,n=2"], "sizes: n (phrases) is no size of encoder, decoder, segment, track"),
        (["--fix", "b=1,p=2,b=3"], "--fix says two sizes of b: 1 and 3"),
        (
            ["--what", "text"],
            "small-tracker has no program 'text', only encoder, decoder, segment, tr",
        ),
    ],
)
def test_refusals(options, message, tmp_path, capsys, monkeypatch, small_tracker) -> None:
    load = importlib.import_module("sam_jax.load")
    monkeypatch.setattr(load, "load", lambda name: small_tracker())
    assert main(["export", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_name_is_not_the_working_folder(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", ""]) == 2
    assert "the name of the output folder is empty: name one" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_sam1_does_not_track(small_sam, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"small-sam has no program .track-step.* SAM 2 model"):
        folder.write(small_sam, tmp_path / "out", what=["track-step"])


def test_only_an_export_is_replaced(small_sam, tmp_path, capsys) -> None:
    out = tmp_path / "new" / "out"
    folder.write(small_sam, out, what=["encoder"], platforms=["cpu", "tpu"])
    folder.write(small_sam, out, what=["encoder"], platforms=["tpu"], dtype="float32")
    names = {"encoder.tpu.jaxexport", "export.json", "weights.safetensors"}
    assert {file.name for file in out.iterdir()} == names
    assert json.loads((out / "export.json").read_text())["compute"] == {"tpu": "float32"}
    (out / "mine.txt").touch()
    assert main(["export", str(out)]) == 2
    assert "holds something else, which would be lost" in capsys.readouterr().err
    assert {file.name for file in out.iterdir()} == names | {"mine.txt"}
    assert [entry.name for entry in out.parent.iterdir()] == ["out"]
