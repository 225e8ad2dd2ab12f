"""`sam-jax models`."""


def run() -> None:
    """Prints a line for each model that can be built; as it goes, since tracing takes a moment."""
    import jax

    from sam_jax.checkpoint import hub
    from sam_jax.cli import say
    from sam_jax.models import abstract_params, build
    from sam_jax.presets import ALIASES, PRESETS

    also = {name: f"{name} ({alias})" for alias, name in ALIASES.items()}

    say(f"{'MODEL':28}{'PARAMETERS':>12}{'INPUT':>14}   WEIGHTS")
    for name, config in PRESETS.items():
        shapes = abstract_params(build(config))
        parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes))
        side = f"{config.image_size} x {config.image_size}"
        path = hub.located(name)
        where = path or (
            "missing from this installation: install sam_jax again"
            if name in hub._SHIPPED_NAMES
            else f"not here; downloaded from {hub.source(name)[0]} on first use"
        )
        say(f"{also.get(name, name):28}{parameters / 1e6:>10.1f} M{side:>14}   {where}")
