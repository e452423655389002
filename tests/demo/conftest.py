"""Gives the page's tests a small example."""

import pytest

from segnet_jax.demo import network
from tests.helpers.demo_networks import encoded, random_image


@pytest.fixture(scope="module")
def small_example(tmp_path_factory):
    """Has networks compiled on a picture of 16x24, of the name of the page's first example."""
    path = tmp_path_factory.mktemp("example") / network.EXAMPLES[0].name
    path.write_bytes(encoded(random_image(16, 24), "JPEG"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "EXAMPLES", [path])
        yield
