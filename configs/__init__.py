"""Recipes: one file is one run, a frozen dataclass instance called `config`."""
