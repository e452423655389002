"""The 2015 paper's study of features (arXiv 1505.07293, section 3.2 and figure 3).

At each depth, the features that are among the strongest of at least one training image are kept, the others set to
zero, and the rest is decoded and labelled. The network of depth n is the one of the n outer pairs, so the study
says something about every depth if the network was trained layer by layer; if it was trained end to end, only about
the whole.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from segnet_jax import visualize
from segnet_jax.data import pipeline
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.dataset import Dataset, modality_names_of
from segnet_jax.data.preprocessing import Normalize
from segnet_jax.data.resize import resize
from segnet_jax.errors import InputError
from segnet_jax.evaluation.from_config import CheckpointEvaluation
from segnet_jax.evaluation.single_features import single_feature_table, study_single_features
from segnet_jax.models.segnet_flat import SegNetFlat
from segnet_jax.runtime import collectives
from segnet_jax.runtime.files import write_atomically, write_errors
from segnet_jax.runtime.processes import is_first, share_of
from segnet_jax.runtime.sharding import from_devices, map_over_devices, to_devices

_log = logging.getLogger("segnet_jax")


def feature_rms(model: SegNetFlat, variables: Any, inputs: jax.Array) -> tuple[jax.Array, ...]:
    """Computes the root mean square of each feature map of each image, at each depth.

    The features of depth n are those that encoder n gives its decoder: after ReLU and pooling.

    Args:
      model: the network.
      variables: its `params`.
      inputs: normalised images, float32 [N, H, W, channels].

    Returns:
      For each depth float32 [N, features].
    """
    pooled, _ = model.apply(variables, inputs, method="encode")
    return tuple(jnp.sqrt(jnp.mean(jnp.square(x.astype(jnp.float32)), axis=(1, 2))) for x in pooled)


def top_histogram(rms: np.ndarray, top: int) -> np.ndarray:
    """Counts in how many images each feature is among the `top` strongest.

    Args:
      rms: [images, features].
      top: how many; of equal ones the first come first.

    Returns:
      int64 [features].
    """
    strongest = np.argsort(-rms, axis=1, kind="stable")[:, :top]
    return np.bincount(strongest.ravel(), minlength=rms.shape[1])


def training_rms(
    model: SegNetFlat,
    variables: Any,
    normalize: Normalize,
    dataset: Dataset,
    devices: Sequence[jax.Device],
    *,
    batch_size: int,
    **options: Any,
) -> list[np.ndarray]:
    """Computes `feature_rms` of a whole split: for each depth float32 [images, features].

    Args:
      model: the network.
      variables: its `params`.
      normalize: from images to the network's input.
      dataset: the split.
      devices: of all processes, to map over.
      batch_size: rounded up to a multiple of the devices.
      **options: of `pipeline.eval_batches`.
    """

    def rms_of(variables: Any, batch: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
        return feature_rms(model, variables, normalize(batch["image"]))

    mapped = map_over_devices(rms_of, devices, out_axes=0)
    batch_size = -(-batch_size // len(devices)) * len(devices)
    parts: list[list[np.ndarray]] = [[] for _ in range(model.pairs)]
    indices = []
    share = share_of(devices)
    batches = pipeline.eval_batches(
        dataset, batch_size=batch_size, process_index=share.index, process_count=share.count, **options
    )
    hosts, sent = itertools.tee(batches)
    for host, batch in zip(hosts, to_devices(({"image": batch["image"]} for batch in sent), devices), strict=True):
        indices.append(host["index"])
        for depth, rms in enumerate(mapped(variables, batch)):
            parts[depth].append(from_devices(rms))
    # In the order of the split; empty examples, whose index is -1, come first.
    order = np.argsort(_of_all(indices))[-len(dataset) :]
    return [_of_all(part)[order] for part in parts]


def _of_all(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Joins the parts of all processes."""
    return np.concatenate(collectives.gather(np.concatenate(parts)))


def study_features(workdir: Path, overrides: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Decodes the strongest features of each depth, and writes figure and numbers into `workdir`.

    The figure, `ablation/<split>-<step>-<image>.png` for some images of the evaluation split, has a row for each
    depth and a column for each number of strongest features, with the share of features that are active. The numbers
    are in `ablation/<split>-<step>.json`. If `eval.single_features` asks for it, each feature is also studied by itself
    on so many images of the evaluation split, see `study_single_features`: `ablation/<split>-<step>-single.json` has
    the scores, and the `.md` beside it `single_feature_table`.

    Args:
      workdir: of a training run of `segnet_flat`.
      overrides: by dotted key, over the run's configuration: `eval.top_features`, `eval.pictures`,
        `eval.single_features`, `eval.checkpoint`, `data.eval_split`, ...

    Returns:
      For each depth and number of strongest features: `depth`, `top` (None: all), `active`, the share of features
      that are active, 0 to 1, and `histogram`, see `top_histogram`.

    Raises:
      InputError: if the checkpoint or the data cannot be read, or are of another network.
    """
    opened = CheckpointEvaluation(workdir, overrides)
    model, dataset, normalize = opened.trained.model, opened.dataset, opened.normalize
    if not isinstance(model, SegNetFlat):
        raise InputError(
            f"{workdir} holds a {type(model).__name__}; the study of features is of a segnet_flat, name a run of one."
        )
    train_data = opened.train_data()
    variables = {"params": opened.trained.variables["params"]}
    _log.info("Computing the features of %d training images.", len(train_data))
    rms = training_rms(model, variables, normalize, train_data, opened.devices, **opened.reading)
    rows = []
    for depth, values in enumerate(rms, start=1):
        for top in (*opened.top_features, None):
            histogram = top_histogram(values, values.shape[1] if top is None else top)
            active = histogram > 0
            rows.append({"depth": depth, "top": top, "active": float(active.mean()), "histogram": histogram.tolist()})
            _log.info("depth %d, %s: %.0f %% of the features", depth, _heading(top), 100 * active.mean())
    if not is_first():
        return rows
    path = workdir / "ablation" / f"{dataset.split}-{opened.trained.step}.json"
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(rows, indent=2) + "\n")
        for index, example in _spread(dataset, opened.pictures, opened.settings.image_size):
            picture = visualize.rgb_of(example["image"], modality_names_of(dataset)[0] == "rgb")
            sheet = _draw(model, variables, normalize, example, picture, rows, dataset.class_table)
            sheet.save(path.with_name(f"{path.stem}-{index}.png"))
        if opened.single_features:
            _log.info("Studying every feature by itself on %d images.", min(opened.single_features, len(dataset)))
            examples = (example for _, example in _spread(dataset, opened.single_features, opened.settings.image_size))
            names = dataset.class_table.names
            single = study_single_features(model, variables, normalize, examples, names)
            write_atomically(path.with_name(f"{path.stem}-single.json"), json.dumps(single, indent=2) + "\n")
            table = single_feature_table(single, names)
            write_atomically(path.with_name(f"{path.stem}-single.md"), table)
            _log.info("%s", table.rstrip())
    _log.info("Written: %s and what lies beside it.", path)
    return rows


def _spread(dataset: Dataset, count: int, image_size: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields `count` examples (all, if there are fewer) spread over a split, with their numbers, resized."""
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int).tolist():
        yield index, resize(dataset[index], image_size)


@functools.partial(jax.jit, static_argnums=0)
def predict_active(model: SegNetFlat, variables: Any, inputs: jax.Array, active: jax.Array) -> jax.Array:
    """Predicts labels, uint8 [N, H, W], from the active features of the deepest encoder alone.

    Args:
      model: the network of that depth.
      variables: its `params`.
      inputs: normalised images, float32 [N, H, W, channels].
      active: bool [features].
    """
    logits = model.apply(variables, inputs, active=active)
    return jnp.argmax(jnp.asarray(logits), axis=-1).astype(jnp.uint8)


def _draw(
    model: SegNetFlat,
    variables: Any,
    normalize: Normalize,
    example: Mapping[str, Any],
    picture: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    class_table: ClassTable,
) -> Image.Image:
    """Draws the figure for one example."""
    inputs = normalize(jnp.asarray(example["image"][None]))
    tops = [row["top"] for row in rows if row["depth"] == 1]
    pictures: list[list[np.ndarray | None]] = []
    captions = []
    for depth in range(1, model.pairs + 1):
        at_depth = [row for row in rows if row["depth"] == depth]
        pictures.append([None, None])
        if depth == 1:
            pictures[0] = [picture, visualize.colorize(example["label"], class_table)]
        for row in at_depth:
            active = jnp.asarray(np.asarray(row["histogram"]) > 0)
            labels = predict_active(model.clone(pairs=depth), variables, inputs, active)
            pictures[-1].append(visualize.colorize(np.asarray(labels[0]), class_table))
        captions.append(["", "", *(f"depth {depth}, {100 * row['active']:.0f} % active" for row in at_depth)])
    return visualize.picture_grid(pictures, ("image", "ground truth", *map(_heading, tops)), captions, class_table)


def _heading(top: int | None) -> str:
    return "all features" if top is None else f"top {top}"
