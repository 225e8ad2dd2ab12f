"""The one error of this package."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, written or matched to a model; the message says why."""
