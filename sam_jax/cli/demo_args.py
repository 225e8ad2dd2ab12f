"""What `sam-jax demo` takes; apart from the command, which imports jax."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from sam_jax.cli.compilation_cache import KeepPrograms


@dataclass(frozen=True)
class Demo:
    r"""Click on pictures, videos and a camera in the browser.

    Prints an address to open. There, drop a picture or choose a sample; a click says what is on the
    object, a click with Alt or the right button what is not part of it, a drag is a box. Masks can
    be painted, objects named, and results saved as PNG, COCO JSON or a picture. The key ? lists the
    keys. Ctrl-C stops the server; what was uploaded is deleted then, or when its browser tab is
    closed.

    Needs: pip install 'sam_jax[demo]'

    Only this machine can open the page unless --host says otherwise; then the address that is
    printed contains a token, and whoever does not have it is refused. Traffic is not encrypted: on
    a network that is not yours put it behind a proxy with TLS, or use ssh -L.

    With the model that ships and the samples that come with it:
      sam-jax demo

    Your own files among the samples, and a model that knows photos:
      sam-jax demo truck.jpg bedroom.mp4 --model sam2.1-hiera-tiny

    For other machines, on any free port:
      sam-jax demo --host 0.0.0.0 --port 0
    """

    files: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="FILE...", help_behavior_hint="(optional)"),
    ] = ()
    """Pictures and videos that the page offers as samples, before its own."""
    model: Annotated[str, arg(metavar="NAME|FILE")] = "sam2.1-hiera-nano"
    """A name that `sam-jax models` lists, or a checkpoint: native, .pt, .pth, safetensors."""
    text_encoder: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """A CLIP checkpoint as Hugging Face lays it out, the one that the model was trained with, for
    prompts in words. Models that bring their own text encoder along need none."""
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Of this machine, where to listen; 0.0.0.0 is all of them."""
    port: Annotated[int, arg(metavar="N")] = 8000
    """0: any that is free."""
    browser: FlagCreatePairsOff[bool] = False
    """Open the page in a browser."""
    max_upload: Annotated[int, arg(metavar="MB")] = 32
    """Largest picture that is taken; of videos eight times as much."""
    max_sessions: Annotated[int, arg(metavar="N")] = 64
    """Browser tabs at once."""
    idle_minutes: Annotated[float, arg(metavar="MINUTES")] = 30.0
    """A tab that was silent for so long is forgotten, with its files."""
    cache: KeepPrograms = True
