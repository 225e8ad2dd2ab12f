"""Set-up shared by all tests: run-time type checks, exact matrix products, parameters, photos."""

import gzip
import json
import os
import zlib
from collections.abc import Callable
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
