"""The training application: `python -m train RECIPE [--field value]`."""
