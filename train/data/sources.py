"""From what a recipe says to the videos."""

from collections.abc import Sequence

from train.config import Source
from train.data.coco import Coco
from train.data.davis import Davis
from train.data.pairs import Pairs
from train.data.records import Records
from train.data.sa1b import Sa1b
from train.data.sav import Sav
from train.data.synthetic import Split, Synthetic
from train.data.video import BadSource, Video


def open_source(
    source: Source, *, split: Split = "train", frames: int, size: int
) -> Sequence[Video]:
    """The videos of a source. Nothing but their names is read yet.

    Args:
      split: only the synthetic world has two; a folder is one by itself.
      frames: of synthetic clips; others have what they have.
      size: of synthetic pictures, likewise.

    Raises:
      BadSource: what is there is not what the kind of source needs, or the stride is not positive.
    """
    if source.stride < 1:
        raise BadSource(f"stride must be at least 1, got {source.stride}")
    if source.kind == "synthetic":
        return Synthetic(split, frames, size)
    if not source.root:
        raise BadSource(f"a source of the kind {source.kind} needs its folder, `root`")
    if source.kind == "davis":
        return Davis(source.root, source.annotations, source.names)
    if source.kind == "coco":
        return Coco(source.root, source.annotations, source.names)
    readers = {"sav": Sav, "sa1b": Sa1b, "pairs": Pairs, "records": Records}
    return readers[source.kind](source.root, source.names)
