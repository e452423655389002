"""Which requests the page answers, and what its answers forbid a browser."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer: nothing is loaded from elsewhere, and no other site shows or reads the page."""


def refusal(method: str, headers: Mapping[str, str], host: str) -> str | None:
    """Returns why a request is not answered, or None if it is.

    A name of another site that leads to this machine (DNS rebinding) is told by the Host header, and a form or script
    of another site by what browsers say of a request's origin; programs that are no browsers say nothing of it.

    Args:
      method: such as "POST".
      headers: of the request, by names in lower case.
      host: what the server listens at, which it answers to besides the names of loopback.
    """
    called = headers.get("host", "")
    if _name(called) not in (*_LOOPBACK, host.lower()):
        return "This page answers only at the address that it was started with; see --host."
    if method in ("GET", "HEAD"):
        return None
    origin = headers.get("origin")
    is_other = origin is not None and urlsplit(origin).netloc.lower() != called.lower()
    if is_other or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "Pictures are taken only from the page itself, not from another site."
    return None


def _name(host: str) -> str | None:
    """Returns the name or address in a Host header, without port and brackets, in lower case."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
