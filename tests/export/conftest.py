"""Gives the tests of an exported page a small network's page, and that page open in a browser."""

import pytest

from segnet_jax.errors import InputError
from segnet_jax.export.web_runtime import read_runtime
from tests.helpers.demo_networks import make_segmenter
from tests.helpers.static_site import serve


@pytest.fixture(scope="module")
def runtime():
    try:
        return read_runtime(None)
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def segmenter():
    return make_segmenter()


@pytest.fixture(scope="module")
def folder(segmenter, runtime, tmp_path_factory):
    from tests.helpers.exported_page import write_page

    folder = tmp_path_factory.mktemp("page")
    write_page(segmenter, runtime, folder)
    return folder


@pytest.fixture(scope="module")
def page(browser, folder):
    """The page of a small network, of which no script may have failed in the end."""
    from tests.helpers.exported_page import open_page

    faults = []
    with serve(folder) as (address, _):
        page = open_page(browser, address, faults)
        yield page
        page.context.close()
    assert not faults
