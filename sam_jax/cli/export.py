"""`sam-jax export`."""

from sam_jax.cli import say
from sam_jax.cli.export_args import Export


def export(args: Export) -> int:
    """Exports; what can be checked is checked before the model is loaded.

    Returns:
      The exit code, 0.

    Raises:
      ValueError, OSError: a bad argument, model or output folder.
    """
    from sam_jax.export import folder
    from sam_jax.export.programs import NAMES
    from sam_jax.files import check_replaceable
    from sam_jax.load import load

    if not args.output:
        raise ValueError("the name of the output folder is empty: name one, such as out")
    what, platforms, sizes = _names(args.what), _names(args.platforms), _sizes(args.fix)
    if args.what and not what:
        raise ValueError(f"--what {args.what!r}: name some of {', '.join(NAMES)}, or leave it out")
    folder.check(what, platforms, sizes)
    check_replaceable(args.output, folder.is_export)
    folder.write(
        load(args.model),
        args.output,
        what=what,
        platforms=platforms,
        sizes=sizes,
        dtype=args.dtype,
        say=lambda file: say(f"{file}"),
    )
    say(f"wrote {args.output}")
    return 0


def _names(text: str) -> list[str]:
    """a,b -> [a, b], each once."""
    return list(dict.fromkeys(name for name in text.replace(" ", "").split(",") if name))


def _sizes(text: str) -> dict[str, int]:
    sizes = {}
    for part in _names(text):
        letter, equals, size = part.partition("=")
        if not equals or not size.isdecimal():
            raise ValueError(f"--fix takes LETTER=SIZE,... such as b=1,p=4; got {part!r}")
        if letter in sizes:
            raise ValueError(f"--fix says two sizes of {letter}: {sizes[letter]} and {size}")
        sizes[letter] = int(size)
    return sizes
