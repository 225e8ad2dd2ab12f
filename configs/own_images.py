"""Fine-tune on your own pictures and masks: the mask decoder, on one small GPU or on CPU.

Command:   python -m train own_images --images.source.root FOLDER
Data:      FOLDER/images/NAME.jpg with FOLDER/masks/NAME.png (0 and 255, or an id for each object)
           or FOLDER/masks/NAME/*.png (one for each object). COCO: --images.source.kind coco
           --images.source.root IMAGES --images.source.annotations instances.json
Hardware:  one GPU with 8 GB; CPU with patience.
Time:      2000 steps.

The image encoder keeps its weights, and so does all that only video uses: the model still tracks.
"""

from train.config import Optimizer, Prompting, Recipe, Source, Stream

config = Recipe(
    model="sam2.1-hiera-tiny",
    start="sam2.1-hiera-tiny",
    folder="runs/own_images",
    steps=2000,
    images=Stream(
        source=Source(kind="pairs", root="pictures"),
        batch=1,
        frames=1,
        objects=8,
        prompts=Prompting(point_share=1, corrections=3),
    ),
    optimizer=Optimizer(learning_rate=5e-5, encoder_rate=None, warmup=50),
    frozen=(
        r"^image_encoder/",
        r"^memory_",
        r"^maskmem_",
        r"^no_",
        r"^obj_ptr",
        r"^mask_downsample",
    ),
)
