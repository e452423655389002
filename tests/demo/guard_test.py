"""Tests for segnet_jax/demo/guard.py."""

import pytest

from segnet_jax.demo.guard import refusal

HERE = {"host": "127.0.0.1:8000"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "mine.lan:80"])
def test_refusal_lets_the_names_of_this_machine_pass(host):
    assert refusal("GET", {"host": host}, "mine.lan") is None
    assert refusal("POST", {"host": host, "origin": f"http://{host}"}, "mine.lan") is None


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1", "a@b"]
)
def test_refusal_of_other_names(host):
    assert "answers only at the address" in refusal("GET", {"host": host}, "127.0.0.1")


def test_refusal_without_a_host():
    assert refusal("GET", {}, "127.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9000"},  # another program of this machine
        {"origin": "http://127.0.0.1"},
        {"origin": "null"},  # a file, or a frame in a sandbox
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"},
    ],
)
def test_refusal_of_posts_from_elsewhere(headers):
    assert "not from another site" in refusal("POST", HERE | headers, "127.0.0.1")
    assert refusal("GET", HERE | headers, "127.0.0.1") is None  # as a link to the page


@pytest.mark.parametrize(
    "headers",
    [
        {},  # no browser
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_refusal_lets_posts_of_the_page_pass(headers):
    assert refusal("POST", HERE | headers, "127.0.0.1") is None
