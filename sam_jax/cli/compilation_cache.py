"""Compiled programs on disk, so that only the first start of a command pays for compiling."""

import os
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

# The flag of every command that compiles.
KeepPrograms = Annotated[
    bool,
    arg(
        help="Keep compiled programs for the next start, in the folder that the environment"
        " variable SAM_JAX_CACHE names, or else in ~/.cache/sam_jax/xla."
    ),
]


def cache_folder() -> Path | None:
    """Folder for compiled programs: SAM_JAX_CACHE if set (None if "off"), or one in ~/.cache."""
    chosen = os.environ.get("SAM_JAX_CACHE")
    if chosen is None:
        user_cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(user_cache) / "sam_jax" / "xla"
    return None if chosen.lower() in ("", "0", "off") else Path(chosen)


def enable_compilation_cache() -> None:
    """Points jax at `cache_folder`, unless jax's own JAX_COMPILATION_CACHE_DIR says otherwise."""
    folder = cache_folder()
    if folder is None or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
