"""Makes the pictures of these pages anew, by the model that ships:

python docs/pictures.py
"""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

import sam_jax
from sam_jax import instances, plot
from sam_jax.io.overlay import overlay
from sam_jax.io.videos import Video, open_video

MEDIA = Path(__file__).resolve().parent / "media"
THING = [105, 27, 199, 100]  # XYXY on the first frame of the clip


def candidates(model: sam_jax.Model, picture: np.ndarray) -> None:
    """Three answers to a click."""
    click = {"points": [[170, 160]], "labels": [1]}
    predictor = sam_jax.ImagePredictor(model)
    predictor.set_image(picture)
    masks, ious, _ = predictor.predict(click["points"], click["labels"])
    save(plot.show_candidates(picture, masks, ious, **click)[0].figure, "candidates.webp")


def tracked(model: sam_jax.Model, video: Video) -> None:
    """A box on the first frame, and where the thing goes: a clip, and its timeline."""
    stream = sam_jax.Stream(model, max_objects=2)
    stream.add(1, box=THING)
    stream.add(2, points=[[130, 60]], labels=[1], frame=6)
    frames, seen = [], []
    for number, frame in enumerate(video):
        found = instances.from_tracked(stream.step(frame), size=frame.shape[:2])
        drawn = overlay(frame, found.masks[:1], boxes=[] if number else THING)
        frames.append(Image.fromarray(drawn))
        seen.append(found.scores_by_id())
    milliseconds = round(1000 / (video.fps or 25))
    frames[0].save(
        MEDIA / "tracked.webp",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
        quality=80,
        method=6,
    )
    save(plot.show_timeline(seen, fps=video.fps).figure, "timeline.webp")


def everything(model: sam_jax.Model, picture: np.ndarray) -> None:
    """All that is found in a picture, with the low limits that this model needs."""
    generator = sam_jax.AutomaticMaskGenerator(
        model, points_per_side=16, pred_iou_thresh=0.4, stability_score_thresh=0.3
    )
    found = instances.from_records(generator.generate(picture))
    save(plot.show_masks(picture, found.masks).figure, "everything.webp")


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(MEDIA / name, dpi=120, pil_kwargs={"quality": 85, "method": 6})


if __name__ == "__main__":
    nano = sam_jax.load("sam2.1-hiera-nano")
    with open_video(MEDIA / "clip.mp4") as clip:
        candidates(nano, clip[0])
        tracked(nano, clip)
        everything(nano, clip[0])
