"""The server of the page: its files, and the network behind a guard and a short line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import ClientDisconnect

from segnet_jax.demo.guard import HEADERS, refusal
from segnet_jax.demo.network import PAGE, DemoNetwork
from segnet_jax.demo.waiting_line import FullError, WaitingLine
from segnet_jax.errors import InputError

_log = logging.getLogger("segnet_jax")


@dataclass(frozen=True)
class Limits:
    """Bounds what a picture may cost.

    Attributes:
      max_bytes: of its file.
      seconds: from the first byte to the answer.
      waiting: how many wait while another is segmented.
    """

    max_bytes: int
    seconds: float
    waiting: int


class _TooLargeError(Exception):
    """A file is larger than it may be."""


def make_app(network: DemoNetwork, limits: Limits, host: str = "127.0.0.1") -> FastAPI:
    """Returns the application.

    `GET /network` describes the network, `POST /segment` takes the content of an image file as its body and answers as
    `DemoNetwork.segment`, or with the `error`, a sentence; all else are files of the page.

    Args:
      network: segments the pictures.
      limits: what a picture may cost.
      host: what the server listens at, see `guard.refusal`.
    """
    # FastAPI's pages of documentation load their scripts from elsewhere.
    app = FastAPI(openapi_url=None)
    line = WaitingLine(limits.waiting)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        reason = refusal(request.method, request.headers, host)
        response = await call_next(request) if reason is None else _error(403, reason)
        response.headers.update(HEADERS)
        return response

    @app.get("/network")
    def describe() -> dict[str, Any]:
        return {**network.describe(), "max_bytes": limits.max_bytes}

    @app.post("/segment")
    async def segment(request: Request, uncertainty: bool = False) -> Response:
        try:
            async with asyncio.timeout(limits.seconds):
                read = partial(_body, request, limits.max_bytes)
                return JSONResponse(await line.run(read, partial(network.segment, uncertainty=uncertainty)))
        except InputError as error:
            return _error(422, str(error))
        except _TooLargeError:
            return _error(413, f"The file is larger than {limits.max_bytes / 1e6:g} MB; save the picture smaller.")
        except FullError:
            return _error(503, "Too many pictures wait for the network; try again in a moment.")
        except TimeoutError:
            return _error(504, f"The picture took longer than {limits.seconds:g} s; try again, or with a smaller one.")
        except ClientDisconnect:
            return _error(400, "The picture did not arrive.")
        except Exception:
            _log.exception("A picture could not be segmented.")
            return _error(500, "The network failed with this picture; the server's terminal says why.")

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


async def _body(request: Request, max_bytes: int) -> bytes:
    """Returns the body of a request, of which no more is read than may be."""
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise _TooLargeError
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise _TooLargeError
    return bytes(body)


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)
