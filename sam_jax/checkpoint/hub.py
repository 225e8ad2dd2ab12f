"""Model name -> weights on this machine, downloaded from the Hugging Face hub when needed.

huggingface_hub does the work: cache, progress bar, resuming a broken connection, and its
environment variables (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN). It is imported when first
needed.
"""

from pathlib import Path

from sam_jax.checkpoint.error import CheckpointError
from sam_jax.config import Sam2Config
from sam_jax.presets import preset

# Weights that are part of the package.
_SHIPPED = Path(__file__).resolve().parent.parent / "weights"
_SHIPPED_NAMES = {"sam2.1-hiera-nano"}


def source(name: str) -> tuple[str, str]:
    """Repository and file that Meta published for a model name.

    SAM 2 as the original .pt; SAM 1, of which the hub has no original, with Hugging Face names.

    Raises:
      ValueError: unknown name.
    """
    file = f"{name.replace('-', '_')}.pt" if _is_sam2(name) else "model.safetensors"
    return f"facebook/{name}", file


def ships(name: str) -> bool:
    """Whether the weights of a model name are part of the package."""
    return name in _SHIPPED_NAMES


def located(name: str) -> Path | None:
    """Where the weights of a model name are on this machine, or None. Never uses the network.

    Raises:
      ValueError: unknown name.
    """
    preset(name)
    if ships(name):
        path = _shipped(name)
        return path if path.exists() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(*source(name))
    return Path(found) if isinstance(found, str) else None


def fetch(name: str) -> Path:
    """Path of the weights of a model name, downloading them unless they are cached.

    Raises:
      ValueError: unknown name.
      CheckpointError: they cannot be had; the message says what to do by hand.
    """
    if (path := located(name)) is not None:
        return path
    if ships(name):
        raise CheckpointError(
            f"the weights of {name} belong into this package but are not in it: "
            f"{_shipped(name)} is missing. Install sam_jax again, or pass the path of a checkpoint"
        )
    import huggingface_hub

    repository, file = source(name)
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file))
    except Exception as error:  # of huggingface_hub, of its HTTP client, or of the disk
        cause = error.__cause__ or error
        raise CheckpointError(
            f"cannot download {name}: {type(cause).__name__}: {_first_line(cause)}\n"
            "By hand, on a machine with a connection, get\n"
            f"  {huggingface_hub.hf_hub_url(repository, file)}\n"
            f"and pass the path of the file instead of the name: {str(Path('FOLDER', file))!r}. "
            "Or, where the hub can be reached, run\n"
            f"  hf download {repository} {file}\n"
            f"and copy its cache folder to {huggingface_hub.constants.HF_HUB_CACHE}."
        ) from error


def _is_sam2(name: str) -> bool:
    return isinstance(preset(name), Sam2Config)


def _shipped(name: str) -> Path:
    return _SHIPPED / f"{name}.safetensors"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
