"""`python -m convert IN OUT`: checkpoints between PyTorch, Hugging Face and sam_jax."""

import contextlib
import dataclasses
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from sam_jax import models
from sam_jax.checkpoint import (
    config_json,
    detect,
    hf_config,
    native,
    run_folder,
    strict,
    torch_file,
)
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.huggingface import to_huggingface
from sam_jax.checkpoint.names import to_official
from sam_jax.config import Config, Sam2Config
from sam_jax.files import check_writable, replacing
from sam_jax.load import locate

Target = Literal["native", "official", "hf"]
_PYTORCH = (".pt", ".pth")
_SAFETENSORS = ".safetensors"
_HF_METADATA = {"format": "pt"}  # transformers asks for it
_DESCRIPTION = """\
Convert a SAM, SAM 2 or SAM 2.1 checkpoint between PyTorch, Hugging Face and sam_jax, or take the
latest one out of the folder of a training run.

Names change and axes are permuted, so a round trip is exact to the bit; only a run's low-rank
additions are added to their kernels. Every parameter of the model must be there, and nothing else.
What reads text is ours alone: it stays in native files, and others are written without it.

examples:
  python -m convert sam2.1_hiera_tiny.pt tiny.safetensors
  python -m convert tiny.safetensors sam2.1_hiera_tiny.pt
  python -m convert tiny.safetensors tiny-hf
  python -m convert tiny-hf official.safetensors --to official
  python -m convert runs/mine mine.safetensors
  python -m convert runs/mine mine.pt
"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to convert into what."""

    # Checkpoint file, Hugging Face folder, folder of a training run, or model name. Its kind is
    # found out from its content.
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    # File or folder to write.
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    # native: one .safetensors file with its config; official: the PyTorch names, in a .pt that
    # torch.load reads or in .safetensors; hf: a folder for transformers, or only its .safetensors.
    # Default: .safetensors is native, .pt and .pth official, a folder hf.
    to: Annotated[Target | None, tyro.conf.arg(metavar="native|official|hf")] = None
    # Replace OUT if it exists.
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    # Native only: store 16-bit floats, which makes half the file. They are float32 again when read.
    half: tyro.conf.FlagCreatePairsOff[bool] = False
    # JSON file with the config of a model that is none of the released ones.
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None


def convert(arguments: Arguments) -> str:
    """Do it, and return what was done, in words.

    Raises:
      FileNotFoundError: no such input.
      ValueError: the output cannot be written or has the wrong suffix (found out before any work),
        or the input is unreadable or not exactly one model.
    """
    output = arguments.output
    target = arguments.to or _target(output)
    _check_output(output, target, overwrite=arguments.overwrite)
    if arguments.half and target != "native":
        raise CheckpointError(f"--half is for native files, and {output} would be {target}")
    given = None
    if arguments.config is not None:
        given = _read_config(arguments.config)
    found = detect.read(locate(arguments.source), config=given)
    config = found.config
    params = strict.flatten(strict.merge(_expected(config), found.params, arguments.source))
    notices = []
    if target != "native" and config.text_dim:
        notices.append("left out: all that reads text, which only native files hold")
    if arguments.half:
        params = {path: array.astype(np.float16) for path, array in params.items()}
    source = locate(arguments.source)
    notes = run_folder.notes(source) if run_folder.is_run_folder(source) else {}
    _write(output, target, config, params, notes)
    if target == "hf" and (obstacle := hf_config.obstacle(config)):
        notices.append(f"transformers cannot build this model: {obstacle}")
    count = sum(math.prod(array.shape) for array in params.values())
    done = (
        f"{arguments.source}: {found.kind}, model {config.name}, {len(params)} arrays, "
        f"{count:,} parameters -> {output}: {target}"
    )
    return "\n".join([done, *(f"note: {notice}" for notice in notices)])


def _read_config(path: Path) -> Config:
    try:
        return config_json.from_json(path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise CheckpointError(f"--config {path} is no JSON file: it is not text") from error
    except ValueError as error:
        raise CheckpointError(f"--config {path}: {error}") from error


def _target(output: Path) -> Target:
    if _suffix(output) == _SAFETENSORS:
        return "native"
    return "official" if _suffix(output) in _PYTORCH else "hf"


def _suffix(output: Path) -> str:
    return output.suffix.lower()


def _check_output(output: Path, target: Target, *, overwrite: bool) -> None:
    suffixes = {"native": (_SAFETENSORS,), "official": (*_PYTORCH, _SAFETENSORS)}
    if target in suffixes and _suffix(output) not in suffixes[target]:
        raise CheckpointError(f"{output}: {target} ends in {' or '.join(suffixes[target])}")
    named_like_a_file = re.fullmatch(r"\.[a-z]\w*", _suffix(output))  # unlike sam2.1-hiera-tiny
    if _is_folder(output, target) and named_like_a_file and not output.is_dir():
        raise CheckpointError(
            f"{output}: hf is a folder, or ends in {_SAFETENSORS}; native ends in {_SAFETENSORS}, "
            f"official in {' or '.join(_PYTORCH)}"
        )
    files = [output / name for name in _hf_files()] if _is_folder(output, target) else [output]
    if (taken := [str(file) for file in files if file.exists()]) and not overwrite:
        raise CheckpointError(f"{', '.join(taken)} exists; --overwrite replaces it")
    if _is_folder(output, target) and output.is_file():
        raise CheckpointError(f"{output} is a file, and hf is a folder")
    for file in files if output.is_dir() else [output]:
        check_writable(file)


def _is_folder(output: Path, target: Target) -> bool:
    return target == "hf" and _suffix(output) != _SAFETENSORS


def _hf_files() -> tuple[str, str]:
    return "model.safetensors", "config.json"


def _expected(config: Config) -> Mapping[str, Any]:
    return models.abstract_params(models.build(config))


def _write(
    output: Path,
    target: Target,
    config: Config,
    params: dict[str, np.ndarray],
    notes: Mapping[str, str],
) -> None:
    if target == "native":
        native.write(output, config, params, notes)
        return
    official = to_official(params, config)
    if target == "official" and _suffix(output) in _PYTORCH:
        # The files Meta published: SAM 2 under "model", SAM 1 bare.
        torch_file.write(output, official, key="model" if isinstance(config, Sam2Config) else None)
    elif target == "official":
        native.write_safetensors(output, official, {"format": "pt"})
    else:
        renamed = to_huggingface(official, config)
        if _is_folder(output, target):
            _write_folder(output, config, renamed)
        else:
            native.write_safetensors(output, renamed, _HF_METADATA)


def _write_folder(folder: Path, config: Config, renamed: dict[str, np.ndarray]) -> None:
    """Both files or, after an error, neither."""
    weights, description = _hf_files()
    created = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        with replacing(folder / description) as temporary:
            temporary.write_text(hf_config.to_json(config) + "\n", "utf-8")
            native.write_safetensors(folder / weights, renamed, _HF_METADATA)
    except BaseException:
        if created:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    arguments = tyro.cli(Arguments, prog="python -m convert", description=_DESCRIPTION, args=argv)
    try:
        print(convert(arguments))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
