"""Opens the splits of a configured data set, and completes the configuration of a user's folder."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import ml_collections

from segnet_jax.config import apply_overrides
from segnet_jax.data.check.label_file import find_label_file, read_label_file
from segnet_jax.data.check.proposal import propose_classes
from segnet_jax.data.check.survey import Survey, find_splits, survey_masks
from segnet_jax.data.dataset import Dataset, require_alike
from segnet_jax.data.datasets.folder_layout import SPLITS, Files, find_mask_suffix
from segnet_jax.data.faults import collected
from segnet_jax.data.from_config import build_dataset, configured_splits
from segnet_jax.errors import InputError

# Of images as large as the papers', four fit into little memory; of smaller ones more.
_PIXELS, _BATCH, _LARGEST_BATCH = 360 * 480, 4, 16


def open_splits(config: ml_collections.ConfigDict) -> tuple[list[Dataset], list[str], dict[str, str]]:
    """Opens the configured splits and all others that there are, leaving out the examples whose files do not fit.

    Returns:
      The splits, that of training first; a sentence for all that is wrong with their files; and of each split that
      nobody asked for and that cannot be opened, why.

    Raises:
      InputError: none of the configured splits can be opened.
    """
    wanted = configured_splits(config)
    datasets, faults, left_out = [], [], {}
    # A mixture has records of its parts alone, and so no size of its own for them.
    at_own_size = config.data.name != "mixture"
    for split in dict.fromkeys([*wanted, *SPLITS]):
        with collected() as found:
            try:
                datasets.append(build_dataset(config, split, at_own_size=at_own_size))
                require_alike(datasets[0], datasets[-1])
            except InputError as error:
                if split in wanted:
                    found.append(str(error))
                else:
                    left_out[split] = str(error)
        faults += found
    if not any(dataset.split in wanted for dataset in datasets):
        raise InputError("\n".join(dict.fromkeys(faults)))
    return datasets, list(dict.fromkeys(faults)), left_out


def complete_folder(
    config: ml_collections.ConfigDict, root: str, workers: int, show_progress: bool
) -> tuple[list[str], Survey]:
    """Sets classes, sizes, batch and splits in the configuration of a `folder` by what its files hold.

    Args:
      config: with all else that the run is to have; changed in place.
      root: the folder.
      workers: processes that read masks.
      show_progress: whether to show a progress bar on stderr.

    Returns:
      Sentences on what the user should look at, and what the masks hold.

    Raises:
      InputError: the layout is unknown, a split for training or validation lacks, or the masks hold no classes.
    """
    path = Path(os.path.abspath(os.path.expanduser(root)))
    modalities = tuple(config.data.modalities)
    values: dict[str, Any] = {"data.name": "folder", "data.root": str(path)}
    try:
        with collected():
            suffix = config.data.mask_suffix or find_mask_suffix(path, "train", modalities)
            fraction, splits = _find_splits(path, config.data.val_fraction, suffix, modalities)
    except OSError as error:
        raise InputError(
            f"{error.filename or path} cannot be read ({error.strerror}); correct its permissions, or --root."
        ) from error
    values |= {"data.mask_suffix": suffix, "data.val_fraction": fraction}
    if "rgb" not in modalities:
        # ImageNet's numbers, its network, and changes of colours are for RGB.
        values |= {"preprocessing": "standardize", "pretrained.weights": "none"}
        values |= {"augment.brightness": 0.0, "augment.contrast": 0.0}
    notes = []
    if "val" not in splits:
        values["data.eval_split"] = "test"
        notes.append("There is no split val, so test is evaluated in training, and its scores choose the checkpoint.")
    survey = survey_masks(splits, workers, show_progress)
    label_file = find_label_file([path, *dict.fromkeys(files[0].mask.parent for files in splits.values())])
    named = read_label_file(label_file) if label_file else []
    if label_file:
        notes.append(f"The names of the classes are those of {label_file}.")
    entries, more = propose_classes(survey, named, label_file)
    values["data.classes"] = tuple(entries)
    size = _size(survey)
    values["data.image_size"] = size
    if any(not 0.98 < height * size[1] / (width * size[0]) < 1.02 for height, width in survey.sizes):
        values["data.resize"] = "fit"  # or images would be stretched
    fitting = max(1, _BATCH * _PIXELS // math.prod(size))
    batch = min(_LARGEST_BATCH, fitting, survey.splits["train"])
    values["train.batch_size"] = 2 ** int(math.log2(batch))
    apply_overrides(config, values)
    return notes + more, survey


def _find_splits(
    root: Path, val_fraction: float, mask_suffix: str, modalities: tuple[str, ...]
) -> tuple[float, dict[str, list[Files]]]:
    """Returns the share of validation images and the files of the splits; raises InputError if only train has any."""
    # Of a few images a tenth may be none.
    for fraction in (val_fraction, 0.2, 0.35, 0.5):
        splits = find_splits(root, fraction, mask_suffix, modalities)
        if len(splits) > 1:
            return fraction, splits
    raise InputError(
        f"{root} has images to train on, and none to validate on; move some into val/images and val/masks (or "
        "images/val and masks/val), or list them in val.txt."
    )


def _size(survey: Survey) -> tuple[int, int]:
    """Returns the commonest size, reduced in proportion to as many pixels as the papers' CamVid has."""
    (height, width), _ = survey.sizes.most_common(1)[0]
    factor = min(1.0, math.sqrt(_PIXELS / (height * width)))
    return max(1, round(height * factor)), max(1, round(width * factor))
