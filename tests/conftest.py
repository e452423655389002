"""What every test runs under: several CPU devices, and real data where there are some."""

import os
from pathlib import Path

import pytest

# Before JAX starts: device counts of 1 to 8 are tested on any machine, and nothing is read from or left in the
# user's cache.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ["JAX_PLATFORMS"] = "cpu"

_DATA = Path(os.environ.get("SEGNET_JAX_DATA", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _user_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def _need(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"there is no {path.relative_to(_DATA)} in {_DATA}; set SEGNET_JAX_DATA to the folder that holds it")
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
