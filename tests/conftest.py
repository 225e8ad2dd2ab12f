"""Set-up shared by all tests: run-time type checks, exact matrix products, parameters, photos."""

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import hypothesis
import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

REPO = Path(__file__).resolve().parent.parent


def _checked_modules() -> list[str]:
    """Everything in sam_jax but types.py.

    A checked struct could not be mapped over: jax rebuilds structs with None, shardings and shape
    descriptions as leaves. With all structs in one unchecked module, functions still are checked.
    """
    children = (REPO / "sam_jax").iterdir()
    names = {
        path.stem for path in children if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    return [f"sam_jax.{name}" for name in sorted(names - {"types", "__init__"})]


install_import_hook(_checked_modules(), "beartype.beartype")  # before sam_jax is first imported

hypothesis.settings.register_profile("untimed", deadline=None)  # the first example compiles
hypothesis.settings.load_profile("untimed")

jax.config.update("jax_default_matmul_precision", "highest")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _user_cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", str(Path(_user_cache) / "sam_jax" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


_MAPS = Path("/proc/self/maps")


@pytest.fixture(scope="module", autouse=True)
def _room_for_programs() -> Generator[None]:
    """Linux allows a process 65530 pieces of memory, and a program of XLA takes some dozens: where
    there are too many, jax dies by a segmentation fault, in whatever test is running."""
    yield
    if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > 20_000:
        jax.clear_caches()


def _fill(path: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Values with which every parameter of that name visibly changes the output."""
    name = path.rsplit("/", 1)[-1]
    if name == "kernel":
        bound = np.prod(shape[:-1]) ** -0.5  # fan-in
        return random.uniform(-bound, bound, shape)
    if name == "scale":
        return 1 + 0.1 * random.standard_normal(shape)
    if name == "bias":
        return 0.1 * random.standard_normal(shape)
    if name == "gamma":  # ConvNeXt layer scale
        return 0.5 + 0.1 * random.standard_normal(shape)
    if name.endswith("gaussian_matrix"):  # Fourier frequencies of the coordinates
        return random.standard_normal(shape)
    return 0.3 * random.standard_normal(shape)  # tokens and position tables


def _random_params(abstract: Any, seed: int = 0) -> Any:
    """Fills a tree of shapes (`sam_jax.models.abstract_params`) with random float32 numbers.

    Far quicker than compiling `module.init`. A leaf depends on the seed and its own path only, so a
    parameter added elsewhere does not change it.
    """

    def fill(keys: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        random = np.random.default_rng([seed, zlib.crc32(path.encode())])
        return _fill(path, leaf.shape, random).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, abstract)


@pytest.fixture(scope="session")
def random_params() -> Callable[..., Any]:
    """`random_params(module, seed=0)`: a parameter tree for one of `sam_jax.models`' whole models.

    Also takes a tree of shapes, such as `jax.eval_shape(module.init, ...)["params"]`.
    """
    from sam_jax.models import abstract_params

    def fill(source: Any, seed: int = 0) -> Any:
        abstract = source if isinstance(source, dict) else abstract_params(source)
        return _random_params(abstract, seed)

    return fill


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder of photos and clips that are not part of the project; its tests skip without it."""
    folder = Path(os.environ.get("SAM_JAX_MEDIA") or REPO.parent / "shared" / "media")
    if not folder.is_dir():
        pytest.skip(f"no photos in {folder}; set SAM_JAX_MEDIA to a folder that has them")
    return folder


@pytest.fixture(scope="session")
def docs_media() -> Path:
    """Folder of the two photos that are part of the project."""
    return REPO / "docs" / "media"


@pytest.fixture(scope="session")
def recorded() -> Callable[[str, str], dict[str, np.ndarray]]:
    """`recorded(scheme, model)`: a released model's key list (tests/names) as a state dict.

    Names -> arrays of the recorded shape, filled with their index.

    Every array is one number, repeated by stride 0, and no two arrays hold the same.
    """

    def read(scheme: str, model: str) -> dict[str, np.ndarray]:
        shapes = json.loads(
            gzip.decompress((REPO / "tests" / "names" / f"{scheme}_{model}.json.gz").read_bytes())
        )
        return {
            name: np.broadcast_to(np.float32(i), shape)
            for i, (name, shape) in enumerate(shapes.items())
        }

    return read


@pytest.fixture(scope="session")
def small_tracker(random_params: Callable[..., Any]) -> Callable[..., Any]:
    """`small_tracker(presence=1.0, text_dim=0, words=None)`: a SAM 2.1 for 96-pixel frames, quick
    to compile.

    Its parameters are random, but such that prompts and memory show in every mask. `presence` moves
    all object logits: at 1 most objects are there, at -1.2 they come and go. `words` is the config
    of a text tower.
    """
    import dataclasses

    import jax.numpy as jnp

    from sam_jax.config import DecoderConfig, HieraConfig, MemoryConfig, Sam2Config
    from sam_jax.models import build
    from sam_jax.types import Model

    config = Sam2Config(
        "small-tracker",
        HieraConfig(8, 1, (1, 1, 2, 1), global_att_blocks=(3,), window_spec=(4, 4, 4, 2)),
        image_size=96,
        dim=32,
        mask_channels=16,
        decoder=DecoderConfig(depth=1, num_heads=2, mlp_dim=32, iou_hidden_dim=16),
        memory=MemoryConfig(dim=8, attention_layers=1, mlp_dim=32, fuser_layers=1),
    )

    def stronger(keys: Any, leaf: np.ndarray, presence: float) -> jax.Array:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        gain = 3 if path.endswith("kernel") else 1
        if "cross_attn_image/out_proj" in path or "cross_attn_image/v_proj" in path:
            gain *= 3
        shift = presence if path.endswith("pred_obj_score_head/layers_2/bias") else 0
        return jnp.asarray(gain * leaf + shift, leaf.dtype)

    def make(presence: float = 1.0, text_dim: int = 0, words: Any = None) -> Any:
        text_dim = words.width if words else text_dim
        module = build(dataclasses.replace(config, text_dim=text_dim, words=words))
        params = random_params(module)
        lively = jax.tree_util.tree_map_with_path(lambda k, x: stronger(k, x, presence), params)
        return Model(params=lively, module=module)

    return make


@pytest.fixture(scope="session")
def small_sam(random_params: Callable[..., Any]) -> Any:
    """A SAM 1 for 96 pixels, whose windows pad; with random parameters."""
    import dataclasses

    import jax.numpy as jnp

    from sam_jax.config import SamConfig, VitConfig
    from sam_jax.models import build
    from sam_jax.presets import SAM_VIT_B
    from sam_jax.types import Model

    config = SamConfig(
        "small-sam",
        VitConfig(16, 2, 2, global_att_blocks=(1,), window=4, pos_embed_grid=(6, 6)),
        image_size=96,
        dim=32,
        decoder=dataclasses.replace(
            SAM_VIT_B.decoder, depth=1, num_heads=2, mlp_dim=32, iou_hidden_dim=16
        ),
    )
    module = build(config)
    return Model(jax.tree.map(jnp.asarray, random_params(module)), module)


@pytest.fixture(scope="session")
def drifting() -> Callable[..., np.ndarray]:
    """`drifting(t, height=96, width=96, seed=1)`: uint8 [t h w 3], blurred colours that move."""
    from PIL import Image

    def make(t: int, height: int = 96, width: int = 96, seed: int = 1) -> np.ndarray:
        colours = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
        wide = Image.fromarray(colours).resize((2 * width, 2 * height), Image.Resampling.BICUBIC)
        moved = (np.roll(wide, (3 * i, 5 * i), (0, 1)) for i in range(t))
        return np.stack([frame[:height, :width] for frame in moved])

    return make


# Words that get tokens of their own in the tests' vocabulary; all else is spelt in bytes.
_MERGES = ["r e", "re d</w>", "c u", "cu p</w>", "c i", "l e</w>"]


def _vocabulary() -> dict[str, int]:
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    merged = [merge.replace(" ", "") for merge in _MERGES]
    signs = [*letters, *(letter + "</w>" for letter in letters), *merged]
    return {sign: i for i, sign in enumerate([*signs, "<|startoftext|>", "<|endoftext|>"])}


@pytest.fixture(scope="session")
def vocabulary_size() -> int:
    return len(_vocabulary())


@pytest.fixture(scope="session")
def clip_tokenizer() -> Callable[[Path], Path]:
    """`clip_tokenizer(folder)`: writes a small vocabulary of CLIP's kind there."""

    def write(folder: Path) -> Path:
        vocabulary = json.dumps(_vocabulary(), ensure_ascii=False)
        (folder / "vocab.json").write_text(vocabulary, "utf-8")
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(_MERGES) + "\n", "utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def clip_folder(
    clip_tokenizer: Callable[[Path], Path], random_params: Callable[..., Any]
) -> Callable[..., Path]:
    """`clip_folder(folder, seed=0)`: writes a small CLIP there as Hugging Face would."""
    from sam_jax.checkpoint.native import write_safetensors
    from sam_jax.checkpoint.strict import flatten
    from sam_jax.clip_config import ClipConfig, ClipImageConfig, ClipTextConfig
    from sam_jax.models.clip import Clip, abstract_clip_params

    text = ClipTextConfig(32, 2, 4, context=20, vocab_size=len(_vocabulary()))
    config = ClipConfig("small-clip", 24, text, ClipImageConfig(48, 2, 4, patch=8, image_size=32))
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}

    def write(folder: Path, seed: int = 0) -> Path:
        state = {}
        for path, array in flatten(random_params(abstract_clip_params(Clip(config)), seed)).items():
            name = re.sub(r"_(\d+)(?=/)", r".\1", path).replace("/", ".")
            name = re.sub(r"\.(kernel|scale)$|(?<=n_embedding)$", ".weight", name)
            is_kernel = path.endswith("/kernel")
            state[name] = array.transpose(axes[array.ndim]) if is_kernel else array
        write_safetensors(clip_tokenizer(folder) / "model.safetensors", state, {})
        values = {
            "model_type": "clip",
            "projection_dim": 24,
            "text_config": {
                "hidden_size": 32,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "max_position_embeddings": 20,
                "vocab_size": text.vocab_size,
                "eos_token_id": 2,
            },
            "vision_config": {
                "hidden_size": 48,
                "intermediate_size": 192,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "patch_size": 8,
                "image_size": 32,
            },
        }
        (folder / "config.json").write_text(json.dumps(values))
        return folder

    return write
