"""`sam-jax demo`."""

import ipaddress
import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_jax.cli import say
from sam_jax.cli.compilation_cache import enable_compilation_cache
from sam_jax.cli.demo_args import Demo
from sam_jax.cli.pictures import check_files
from sam_jax.cli.text_prompt import check_encoder

_TOKEN_BYTES = 24
_MOST_MESSAGE = 1 << 20  # bytes of a websocket's message


def demo(args: Demo) -> int:
    """Serves until Ctrl-C; what can be checked is checked before the model is loaded.

    Returns:
      0.

    Raises:
      ValueError, OSError: bad files, limits, model or address.
      ModuleNotFoundError: the extra is not installed.
      KeyboardInterrupt: Ctrl-C.
    """
    check_files(args.files)
    _check_numbers(args)
    try:
        import uvicorn

        from sam_jax.demo.app import create_app
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the demo needs {error.name}: pip install 'sam_jax[demo]'", name=error.name
        ) from error
    samples = _samples(args.files)
    with _listening(args.host, args.port) as listener:
        port = listener.getsockname()[1]
        token = None if _is_this_machine(args.host) else secrets.token_urlsafe(_TOKEN_BYTES)
        if args.cache:
            enable_compilation_cache()
        say(f"sam-jax: loading {args.model}", error=True)
        model, encoder = _load(args)
        app = create_app(model, _settings(args, samples, token), encoder)
        address = _address(args.host, port, token)
        say(f"sam-jax: open {address} (Ctrl-C stops)")
        if args.browser:
            webbrowser.open(address)
        config = uvicorn.Config(
            app,
            log_level="warning",
            ws="websockets-sansio",
            ws_max_size=_MOST_MESSAGE,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        _stop_when_the_terminal_closes()
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _stop_when_the_terminal_closes() -> None:
    """Python would die of that signal, and leave the files of the tabs."""
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is None or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(hangup) == signal.SIG_DFL:  # nohup ignores it
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))


def _check_numbers(args: Demo) -> None:
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port {args.port} must lie in 0..65535")
    for name in ("max_upload", "max_sessions", "idle_minutes"):
        if not 0 < getattr(args, name) < 1e6:
            option = name.replace("_", "-")
            raise ValueError(
                f"--{option} {getattr(args, name)} must be above 0 and below a million"
            )


def _load(args: Demo) -> tuple[Any, Any]:
    """The model, and what encodes texts for it unless it does so itself."""
    from sam_jax.load import load

    model = load(args.model)
    if args.text_encoder is None:
        return model, None
    if not model.config.text_dim:
        raise ValueError(
            f"--text-encoder {args.text_encoder}: the model {args.model} takes no text; leave the"
            " option out"
        )
    check_encoder(model.config, args.model, args.text_encoder, asked="a prompt in words")
    from sam_jax.clip import load_clip

    return model, load_clip(args.text_encoder).embed_text


def _samples(files: Sequence[Path]) -> tuple[Any, ...]:
    """What the page offers of them.

    Raises:
      ValueError: one is neither a picture nor a video that the page opens.
    """
    from sam_jax.demo.kinds import kind_of
    from sam_jax.demo.settings import Sample

    return tuple(Sample(path.name, path.resolve(), kind_of(path)) for path in files)


def _settings(args: Demo, samples: tuple[Any, ...], token: str | None) -> Any:
    from sam_jax.demo.settings import MB, SHIPPED, Settings

    return Settings(
        samples=samples + SHIPPED,
        token=token,
        hosts=_hosts(args.host),
        max_picture=args.max_upload * MB,
        max_video=8 * args.max_upload * MB,
        max_sessions=args.max_sessions,
        idle_seconds=60 * args.idle_minutes,
    )


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
      ValueError: no such address here, or somebody listens there already.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(
            f"cannot listen on --host {host} --port {port}: {error.strerror}; --port 0 takes any"
            " that is free"
        ) from error


def _is_this_machine(host: str) -> bool:
    """Whether only this machine reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts(host: str) -> frozenset[str] | None:
    """Names by which the page may be asked for. With a token any will do: see `Settings.hosts`."""
    return frozenset({"localhost", "127.0.0.1", "::1", host}) if _is_this_machine(host) else None


def _address(host: str, port: int, token: str | None) -> str:
    """What to open. The token is behind a #, which browsers do not send."""
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + ("" if token is None else f"#token={token}")
