"""`python -m train nano_image`"""

from train.config import TrainConfig

config = TrainConfig(
    model="sam2.1-hiera-nano",
    output="sam_jax/weights/sam2.1-hiera-nano.safetensors",
    checkpoint="nano_image.msgpack",
    steps=3200,
)
