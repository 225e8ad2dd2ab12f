"""Recipes fit their models."""

import importlib
import pkgutil
from functools import cache

import jax
import pytest

import configs
from sam_jax.config import Config
from sam_jax.models import abstract_params, build
from train.config import Recipe
from train.optimizer import make_optimizer
from train.start import model_config
from train.trainable import split

NAMES = [module.name for module in pkgutil.iter_modules(configs.__path__)]


def _recipe(name: str) -> Recipe:
    return importlib.import_module(f"configs.{name}").config


@cache
def _shapes(config: Config) -> dict:
    return abstract_params(build(config))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_something_to_train(name: str) -> None:
    recipe = _recipe(name)
    config = model_config(recipe)

    def begin(params: dict) -> tuple:
        trained, fixed = split(params, recipe, jax.random.key(0))
        return trained, fixed, make_optimizer(recipe, config, trained).init(trained)

    trained, fixed, _ = jax.eval_shape(begin, _shapes(config))
    assert trained
    assert not trained.keys() & fixed.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_it_is(name: str) -> None:
    words = importlib.import_module(f"configs.{name}").__doc__ or ""
    assert f"Command:   python -m train {name}" in words
    assert "Hardware:" in words and "Time:" in words


def test_every_recipe_has_a_folder_of_its_own() -> None:
    folders = [_recipe(name).folder for name in NAMES]
    assert len(set(folders)) == len(folders)
