"""Segment Anything (SAM 1, SAM 2, SAM 2.1) in JAX and Flax."""
