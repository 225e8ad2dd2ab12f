"""What the page's video tab may send."""

from typing import Annotated, Literal

from pydantic import Field

from sam_jax.demo.bodies import Body, Channel, Click, Pixels, Runs
from sam_jax.demo.refusal import Refusal
from sam_jax.demo.video import MAX_CLICKS, MAX_OBJECTS
from sam_jax.demo.video_things import Direction, Prompt
from sam_jax.ops import rle

_Frame = Annotated[int, Field(ge=0, lt=1 << 31)]
_Object = Annotated[int, Field(ge=1, le=999)]
ExportKind = Literal["overlay", "masks", "coco"]


class VideoPrompt(Body):
    """All that is asked about an object on a frame; pixels of the video.

    Attributes:
      box: XYXY.
      mask: at the size at which frames are shown.
    """

    frame: _Frame
    object: _Object
    clicks: Annotated[tuple[Click, ...], Field(max_length=MAX_CLICKS, strict=False)] = ()
    box: Annotated[list[Pixels], Field(min_length=4, max_length=4)] | None = None
    mask: Runs | None = None
    text: Annotated[str, Field(max_length=200)] | None = None

    def asked(self, shown: tuple[int, int]) -> Prompt:
        """As the editor takes it.

        Args:
          shown: height and width of masks on the page.

        Raises:
          Refusal: more than one of box, mask and words; another size.
          ValueError: the mask's runs do not add up.
        """
        text = (self.text or "").strip() or None
        if sum(x is not None for x in (self.box, self.mask, text)) > 1:
            raise Refusal(400, "a box, a mask and words exclude each other: give one, and clicks")
        return Prompt(
            tuple((click.x, click.y) for click in self.clicks),
            tuple(click.label for click in self.clicks),
            (self.box[0], self.box[1], self.box[2], self.box[3]) if self.box else None,
            None if self.mask is None else rle.encode(self.mask.mask(shown)),
            text,
        )


class RemoveObject(Body):
    """An object, by its number."""

    object: _Object


class Track(Body):
    """Where tracking goes on, and in which direction."""

    frame: _Frame
    direction: Direction


class Look(Body):
    """An object as the page shows it."""

    object: _Object
    name: Annotated[str, Field(max_length=80)]
    color: Annotated[list[Channel], Field(min_length=3, max_length=3)]


class Export(Body):
    """A file to write, and how its objects are to look."""

    kind: ExportKind
    objects: Annotated[list[Look], Field(max_length=MAX_OBJECTS)]

    def names(self) -> dict[int, str]:
        return {look.object: look.name for look in self.objects}

    def colors(self) -> dict[int, tuple[int, int, int]]:
        return {look.object: (look.color[0], look.color[1], look.color[2]) for look in self.objects}
