"""How a route says no: a status and a sentence that the page shows as it is."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import JSONResponse

_log = logging.getLogger("sam_jax")


class Refusal(HTTPException):
    """Raised anywhere in a route; the answer is `{"error": message}`.

    Args:
      status: of HTTP, such as 413.
      message: names the value and the remedy.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.message = message

    def __str__(self) -> str:
        return self.message


def answer(status: int, message: str) -> JSONResponse:
    """`{"error": message}` with that status."""
    return JSONResponse({"error": message}, status)


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return answer(error.status_code, str(error.detail))


def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, _first(error.errors()))


def _first(errors: Any) -> str:
    """The first of pydantic's complaints, without the value: that may be long, or anything."""
    place = ".".join(str(part) for part in errors[0]["loc"] if part != "body")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"the request is malformed: {place or 'body'}: {errors[0]['msg'][:200]}{more}"


def _on_value(request: Request, error: Exception) -> JSONResponse:
    return answer(HTTPStatus.BAD_REQUEST, str(error))


def _on_bug(request: Request, error: Exception) -> JSONResponse:
    return answer(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "something went wrong on the server; its terminal says what",
    )


def add_handlers(app: FastAPI) -> None:
    """Every error of the app leaves it as JSON. A ValueError is about what was asked: 400."""
    app.add_exception_handler(AnyHTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(ValueError, _on_value)
    app.add_exception_handler(Exception, _on_bug)
