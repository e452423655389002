"""What every test runs under: several CPU devices, and real data where there are some."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import ml_collections
import pytest

# Before JAX starts: device counts of 1 to 8 are tested on any machine, and nothing is read from or left in the
# user's cache.
# Most of the time goes into compiling, which a lower level of LLVM's optimisation makes shorter by a third.
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
os.environ["JAX_PLATFORMS"] = "cpu"

# A shell that starts this in the background has it ignore Ctrl-C, and so would every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402

from tests.helpers.tiny_config import make_tiny_config  # noqa: E402

_DATA = Path(os.environ.get("SEGNET_JAX_DATA", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _user_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A run that SIGTERM stopped ignores it from there on, as its process is about to end; the tests' is not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests that run the same program twice compile it once."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs() -> Iterator[None]:
    """Each takes several memory mappings, of which Linux gives a process 65,530; without one XLA crashes."""
    yield
    jax.clear_caches()


def _need(path: Path) -> Path:
    if not path.exists():
        pytest.skip(
            f"there is no {path.relative_to(_DATA)} in {_DATA}; set SEGNET_JAX_DATA to the folder that holds it"
        )
    return path


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """CamVid at 360x480 in the tutorial's layout."""
    return _need(_DATA / "data" / "camvid")


@pytest.fixture(scope="session")
def samples_root() -> Path:
    """A few images of several data sets in their native layouts."""
    return _need(_DATA / "data" / "samples")


@pytest.fixture(scope="session")
def vgg16_weights() -> Path:
    """VGG16's ImageNet convolutions, torchvision's names."""
    return _need(_DATA / "weights" / "vgg16_imagenet_features.safetensors")


@pytest.fixture
def tiny_config() -> ml_collections.ConfigDict:
    """A configuration of its own for every test."""
    return make_tiny_config()
