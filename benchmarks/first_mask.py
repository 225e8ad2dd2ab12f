"""From nothing to the first mask: started as a fresh process by `python -m benchmarks`.

`python -m benchmarks.first_mask ours|peer NAME CHECKPOINT PHOTO DTYPE CACHE`
"""

import sys


def ours(checkpoint: str, photo: str, dtype: str, cache: str) -> None:
    import jax

    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

    import sam_jax
    from sam_jax.io.images import read_image

    predictor = sam_jax.ImagePredictor(sam_jax.load(checkpoint, dtype=jax.numpy.dtype(dtype)))
    picture = read_image(photo)
    predictor.set_image(picture)
    predictor.predict([[picture.shape[1] / 2, picture.shape[0] / 2]], [1])


def peer(name: str, checkpoint: str, photo: str, dtype: str) -> None:
    import numpy as np
    from PIL import Image

    from benchmarks.peer import build
    from convert import official

    model = build(name)
    import torch

    model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    predictor = official.image_predictor(model)
    picture = np.array(Image.open(photo).convert("RGB"))
    centre = np.array([[picture.shape[1] / 2, picture.shape[0] / 2]])
    half = dtype == "bfloat16"
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        predictor.set_image(picture)
        predictor.predict(centre, np.array([1]))


if __name__ == "__main__":
    side, model_name, *rest = sys.argv[1:]
    if side == "ours":
        ours(*rest)
    else:
        peer(model_name, *rest[:3])
