"""Who may import whom, and what `import sam_jax` may cost."""

import ast
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent

# A unit is a module or package right below sam_jax. unit -> the units it may import besides itself.
_BASE = {"types", "config"}
_PURE = {"models", "ops"} | _BASE
ALLOWED = {
    "types": set(),
    "config": set(),
    "clip_config": set(),
    "presets": {"config"},
    "ops": _BASE,
    "models": {"ops", "clip_config"} | _BASE,
    "memory": {"types"},
    "image": _PURE,
    "frame": _PURE | {"image"},
    "per_object": {"types", "frame", "ops"},
    "per_frame": {"types", "frame", "ops"},
    "video": _PURE | {"memory", "frame", "per_frame", "per_object"},
    "everything": _PURE | {"image"},
    "clips": _PURE | {"frame", "per_frame", "video"},
    "predictors": _PURE | {"memory", "image", "frame", "video", "everything", "io", "sharding"},
    "batch": _PURE | {"image", "video", "clips", "predictors", "io", "sharding"},
    "demo": _PURE | {"predictors", "io"},
    "checkpoint": {"config", "clip_config", "presets", "files"},
    "io": {"ops", "files"},
    "files": set(),
    "sharding": set(),
    "clip": {"checkpoint", "image", "io", "models", "types"},
    "load": {"checkpoint", "models", "presets", "types", "config"},
    "instances": {"ops", "predictors"},
    "exchange": {"ops", "instances"},
    "plot": {"io"},
    "export": _PURE | {"image", "video", "predictors", "checkpoint", "load", "files"},
}
UNRESTRICTED = {"__init__", "__main__", "cli"}
# Folders beside sam_jax -> which of them (and of sam_jax) they must not import.
FORBIDDEN = {
    "sam_jax": {"train", "convert", "configs", "benchmarks", "tests"},
    "train": {"convert", "benchmarks", "tests"},
    "convert": {"train", "configs", "benchmarks", "tests"},
}


def imports(source: str) -> set[str]:
    """Every module named by an import statement, at any depth of the file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            # `from sam_jax import video` names a module, too
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def violations(path: Path, source: str) -> list[str]:
    """Imports of `path` (relative to the repository) which the two tables forbid."""
    folder, unit = path.parts[0], path.with_suffix("").parts[1]
    found = []
    for name in imports(source):
        root, *rest = name.split(".")
        if root in FORBIDDEN.get(folder, ()):
            found.append(f"{path} imports {name}")
        if folder == root == "sam_jax" and rest and unit not in UNRESTRICTED | {rest[0]}:
            assert unit in ALLOWED, f"{path} has no row in ALLOWED: say what it may import"
            if rest[0] not in ALLOWED[unit]:
                found.append(f"{path} imports {name}")
    return found


def test_every_import_follows_the_layers() -> None:
    paths = [path for folder in FORBIDDEN for path in (REPO / folder).rglob("*.py")]
    assert any(path.name == "types.py" for path in paths)
    found = [v for p in paths for v in violations(p.relative_to(REPO), p.read_text("utf-8"))]
    assert not found, "\n".join(found)


def test_the_check_can_fail() -> None:
    assert violations(Path("sam_jax/ops/a.py"), "from sam_jax.models.hiera import Hiera")
    assert violations(Path("sam_jax/ops/a.py"), "def f():\n    from sam_jax import models")
    assert violations(Path("sam_jax/io/images.py"), "import sam_jax.types")
    assert violations(Path("sam_jax/image.py"), "import convert.golden")
    assert violations(Path("train/loop.py"), "from convert import names")
    assert not violations(Path("sam_jax/ops/a.py"), "from sam_jax.ops.b import f\nimport jax")
    assert not violations(Path("sam_jax/models/a.py"), "from sam_jax.types import Masks")
    assert not violations(Path("convert/a.py"), "from sam_jax import presets")


def _run(program: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=REPO, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_import_needs_only_the_base_packages() -> None:
    _run("""
import sys
import einops, flax.linen, jax, jaxtyping, numpy, PIL.Image, safetensors.numpy
present = {name.partition(".")[0] for name in sys.modules}
present |= set(sys.stdlib_module_names) | {"sam_jax"}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in present:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

sys.meta_path.insert(0, Block())
try:
    import tyro
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("the block does not work")
import sam_jax, sam_jax.presets, sam_jax.types
for name in ("image", "load", "models"):
    __import__(f"sam_jax.{name}")
""")


def test_import_leaves_the_choice_of_device_open() -> None:
    _run("""
import jax, sam_jax, sam_jax.image, sam_jax.models
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 3)  # raises once a backend runs
assert jax.device_count() == 3
""")
