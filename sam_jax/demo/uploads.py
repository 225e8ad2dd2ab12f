"""Files from the browser: counted while they come, under a name of ours, in a private folder."""

import asyncio
import secrets
from pathlib import Path
from urllib.parse import unquote

from fastapi import Request
from starlette.requests import ClientDisconnect

from sam_jax.demo.current import Demo
from sam_jax.demo.refusal import Refusal
from sam_jax.demo.sessions import Session

_LONGEST_NAME = 80
_SECONDS = 15 * 60  # for an upload
_CHECKED_EACH = 8 << 20  # bytes


async def receive(request: Request, demo: Demo, session: Session) -> Path:
    """Stores the body of a request. Its size is bounded by `guard.body_limits`.

    Returns:
      The new file, in the session's folder.

    Raises:
      Refusal: empty, too large, too slow, or no room on the disk.
    """
    length = request.headers.get("content-length", "")
    demo.sessions.make_room(session, disk=int(length) if length.isdecimal() else 0)
    path = session.folder / secrets.token_hex(16)
    size = checked = 0
    try:
        async with asyncio.timeout(_SECONDS):
            with path.open("xb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    file.write(chunk)
                    if size - checked > _CHECKED_EACH:  # others write at the same time
                        checked = size
                        demo.sessions.make_room(session)
        if size == 0:
            raise Refusal(400, f"{shown_name(request)} is empty (0 bytes)")
    except (TimeoutError, ClientDisconnect) as error:
        path.unlink(missing_ok=True)
        raise Refusal(408, "the upload broke off or took too long: try again") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def shown_name(request: Request) -> str:
    """What the user calls the file: to be shown and written into exports, never opened."""
    name = unquote(request.headers.get("x-file-name", "")).replace("\\", "/").rpartition("/")[2]
    printable = "".join(letter for letter in name if letter.isprintable())
    return printable[-_LONGEST_NAME:] or "unnamed"
