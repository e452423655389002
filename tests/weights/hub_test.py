"""Tests for segnet_jax/weights/hub.py."""

from pathlib import Path

import pytest

from segnet_jax.errors import InputError
from segnet_jax.weights.hub import fetch
from tests.helpers.hub import Hub

_ASKED = ("someone/net", "a.safetensors", "v1")


def fetched(refresh):
    return fetch(*_ASKED, refresh=refresh, advice="go online")


def test_fetch_asks_the_hub_only_for_what_the_cache_has_not(monkeypatch):
    hub = Hub(monkeypatch, cached=Path("old"), online=Path("new"))
    assert fetched(refresh=False) == Path("old")
    assert hub.calls == [("cache", *_ASKED)]
    hub = Hub(monkeypatch, online=Path("new"))
    assert fetched(refresh=False) == Path("new")
    assert hub.calls == [("cache", *_ASKED), "head", ("download", *_ASKED)]


def test_fetch_with_refresh_asks_the_hub_first_and_falls_back_to_the_cache(monkeypatch):
    hub = Hub(monkeypatch, cached=Path("old"), online=Path("new"))
    assert fetched(refresh=True) == Path("new")
    assert hub.calls == ["head", ("download", *_ASKED)]
    hub = Hub(monkeypatch, cached=Path("old"), error=ConnectionError("refused"))
    assert fetched(refresh=True) == Path("old")
    assert hub.calls == ["head", ("cache", *_ASKED)]


class ConnectError(Exception):
    """As those of the hub's client, which are no OSErrors."""


@pytest.mark.parametrize("refresh", [False, True])
@pytest.mark.parametrize("error", [ConnectionError("refused"), ValueError("no such name"), ConnectError()])
def test_fetch_turns_every_failure_into_an_input_error(monkeypatch, error, refresh):
    hub = Hub(monkeypatch, error=error)
    message = rf"a.safetensors of someone/net \(revision v1\) .* hub \({type(error).__name__}\); go online\.$"
    with pytest.raises(InputError, match=message):
        fetched(refresh)
    assert sorted(map(str, hub.calls)) == sorted(map(str, ["head", ("cache", *_ASKED)]))
