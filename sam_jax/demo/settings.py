"""What the server allows, and the samples that it offers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sam_jax.demo.refusal import Refusal

MB = 1 << 20
Kind = Literal["picture", "video"]
_SHIPPED = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Sample:
    """A file that requests name by its index.

    Attributes:
      name: shown.
    """

    name: str
    path: Path
    kind: Kind


SHIPPED = (
    Sample("Painted scene 1", _SHIPPED / "scene1.jpg", "picture"),
    Sample("Painted scene 2", _SHIPPED / "scene2.jpg", "picture"),
    Sample("Painted clip", _SHIPPED / "clip.mp4", "video"),
)


@dataclass(frozen=True)
class Settings:
    """Limits are of one request or of the whole server; sizes in bytes.

    Attributes:
      token: asked for by every route under /api; None: nobody is asked.
      hosts: names in the Host header that are answered, lower case, at any port; None: any. A page
        of somebody else whose name is made to point here (DNS rebinding) has its own name in it.
      max_picture, max_video: of an uploaded file.
      max_pixels: of a picture or a frame.
      max_sessions: browser tabs at once.
      idle_seconds: a session that was silent for so long ends.
      memory: for what sessions keep; half as much again is for encoded pictures.
      disk: for uploaded files.
      pending: jobs of a session that may wait for the model.
    """

    samples: tuple[Sample, ...] = SHIPPED
    token: str | None = None
    hosts: frozenset[str] | None = None
    max_picture: int = 32 * MB
    max_video: int = 256 * MB
    max_pixels: int = 36_000_000
    max_sessions: int = 64
    idle_seconds: float | int = 30 * 60
    memory: int = 1024 * MB
    disk: int = 2048 * MB
    pending: int = 8

    def sample(self, index: int, kind: Kind) -> Sample:
        """Sample number `index`.

        Raises:
          Refusal: there is none, or it is of the other kind.
        """
        if not 0 <= index < len(self.samples) or self.samples[index].kind != kind:
            raise Refusal(404, f"there is no sample {kind} number {index}: reload the page")
        return self.samples[index]
