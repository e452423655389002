"""Gives every test eight CPU devices and its own caches, and some of them real data, a finished run or a browser."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_collections
import pytest

from tests.helpers.compilation import QUICK_FLAGS

# Before JAX starts: device counts of 1 to 8 are tested on any machine.
_FLAGS = f"--xla_force_host_platform_device_count=8 {QUICK_FLAGS}"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
os.environ["JAX_PLATFORMS"] = "cpu"
# A program is compiled once, whichever test, process or later run asks for it again.
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), f"segnet_jax_tests_{os.getuid()}")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# A shell that starts this in the background has it ignore Ctrl-C, and so would every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402

from segnet_jax.training.loop import train_and_evaluate  # noqa: E402
from segnet_jax.training.step import TrainState  # noqa: E402
from tests.helpers.tiny_config import make_flat_config, make_tiny_config  # noqa: E402

_DATA = Path(os.environ.get("SEGNET_JAX_DATA", Path(__file__).parents[2] / "shared"))


def pytest_collection_finish() -> None:
    """Spares the collector of garbage all that the imported modules hold, which no test lets go."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the tests from reading or writing the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Restores the handler of SIGTERM: a run that was stopped ignores it until its process ends, as it should."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs() -> Iterator[None]:
    """Drops the compiled programs of each test file.

    Each takes several memory mappings, of which Linux gives a process 65,530; without one XLA crashes.
    """
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
    """Returns the folder of CamVid at 360x480 in the tutorial's layout."""
    return _need(_DATA / "data" / "camvid")


@pytest.fixture(scope="session")
def kitti_root() -> Path:
    """Returns the folder of KITTI's semantics benchmark in its own layout."""
    return _need(_DATA / "data" / "kitti_semantics")


@pytest.fixture(scope="session")
def samples_root() -> Path:
    """Returns the folder of a few images of several data sets in their native layouts."""
    return _need(_DATA / "data" / "samples")


@pytest.fixture(scope="session")
def vgg16_weights() -> Path:
    """Returns the file of VGG16's ImageNet convolutions under torchvision's names."""
    return _need(_DATA / "weights" / "vgg16_imagenet_features.safetensors")


@pytest.fixture
def tiny_config() -> ml_collections.ConfigDict:
    """Returns a new `make_tiny_config()`, which the test may change."""
    return make_tiny_config()


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainState]:
    workdir = tmp_path_factory.mktemp("trained")
    return workdir, train_and_evaluate(make_tiny_config(), workdir)


@pytest.fixture(scope="session")
def trained_run(_trained: tuple[Path, TrainState]) -> Path:
    """Returns the work directory of a finished run of `make_tiny_config()`, to be read only."""
    return _trained[0]


@pytest.fixture(scope="session")
def trained_state(_trained: tuple[Path, TrainState]) -> TrainState:
    """Returns the last state of `trained_run`, as NumPy arrays."""
    return _trained[1]


@pytest.fixture
def trained_copy(trained_run: Path, tmp_path: Path) -> Path:
    """Returns a copy of `trained_run`, which the test may change."""
    return shutil.copytree(trained_run, tmp_path / "trained")


@pytest.fixture(scope="session")
def trained_flat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the work directory of a finished run of `make_flat_config()`, to be read only."""
    workdir = tmp_path_factory.mktemp("flat")
    train_and_evaluate(make_flat_config(), workdir)
    return workdir


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    """Starts Playwright; skips where there is none, or no Chromium."""
    from tests.helpers.chromium import sync_api

    with sync_api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    """Opens a browser."""
    from tests.helpers.chromium import launch

    opened = launch(playwright)
    yield opened
    opened.close()
