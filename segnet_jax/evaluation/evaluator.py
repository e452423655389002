"""Evaluates a whole split: one confusion matrix, predictions, scores of boundaries, of groups and of images."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from segnet_jax import visualize
from segnet_jax.data import pipeline
from segnet_jax.data.class_table import VOID
from segnet_jax.data.dataset import Dataset, modality_names_of
from segnet_jax.data.preprocessing import Normalize
from segnet_jax.evaluation import metrics
from segnet_jax.evaluation.picture_choice import PictureChoice
from segnet_jax.evaluation.result import Evaluation, Picture
from segnet_jax.inference import bayesian
from segnet_jax.inference.augmented import augmented_probabilities
from segnet_jax.inference.crf import DenseCRF
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime import collectives
from segnet_jax.runtime.processes import share_of
from segnet_jax.runtime.sharding import AXIS, from_devices, map_over_devices, to_devices


class Stopped(Exception):
    """An evaluation was asked to stop before its end."""


def eval_step(
    variables: Any,
    batch: dict[str, jax.Array],
    *,
    model: SegmentationModel,
    normalize: Normalize,
    samples: int = 0,
    seed: int = 0,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    with_probabilities: bool = False,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Predicts one device's share of a batch, and counts the confusion matrix of all devices' shares.

    Args:
      variables: `params` and `batch_stats`.
      batch: `image` uint8 or float32 [b, H, W, channels], `label` uint8 [b, H, W], `index` int32 [b] of the image in
        its split, see `pipeline.eval_batches`.
      model: the network.
      normalize: from images to the network's input.
      samples: number of stochastic passes, see `bayesian.sample_posterior`; 0 makes one pass without dropout.
      seed: of the stochastic passes, which are a function of it and of the image's index.
      scales: factors of the image's size over which the prediction is the mean, see `augmented_probabilities`.
      flip: whether it is the mean over the mirror image too.
      with_probabilities: whether to return them.

    Returns:
      The confusion matrix, int32 [K, K], rows ground truth, summed over `AXIS`; `prediction`, uint8 [b, H, W], with
      samples `uncertainty`, float32 [b, H, W], and if asked for `probabilities`, float32 [b, H, W, K].
    """
    images, maps = normalize(batch["image"]), {}
    is_augmented = flip or tuple(scales) != (1.0,)
    scores: jax.Array
    if samples:
        keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(batch["index"])
        scores, maps["uncertainty"] = bayesian.sample_posterior(model, variables, images, keys, samples=samples)
    elif is_augmented:
        scores = augmented_probabilities(model, variables, images, scales=scales, flip=flip)
    else:
        scores = model.apply(variables, images, train=False)  # type: ignore[assignment]
    if with_probabilities:
        are_logits = not samples and not is_augmented
        maps["probabilities"] = jax.nn.softmax(scores.astype(jnp.float32)) if are_logits else scores
    maps["prediction"] = jnp.argmax(scores, axis=-1).astype(jnp.uint8)
    confusion = metrics.confusion_matrix(batch["label"], maps["prediction"], model.num_classes)
    return jax.lax.psum(confusion, AXIS), maps


class Evaluator:
    """Evaluates whole splits with one network; every labelled pixel counts exactly once.

    Each image is seen at its own size, or at `image_size`, without padding: its prediction does not depend on the
    other images. The network is compiled for each size.

    Args:
      model: the network.
      normalize: from images to the network's input.
      devices: of all processes, to map over.
      batch_size: rounded up to a multiple of the devices, and no more than a split has images; results do not depend on
        it.
      image_size: (height, width) at which images are seen and scored, or () for their native size.
      num_workers: reading processes.
      num_threads: reading threads.
      samples: number of stochastic passes per image, see `eval_step`.
      seed: of the stochastic passes.
      scales: factors of size that predictions are averaged over, see `eval_step`; not with stochastic passes.
      flip: whether they are averaged over the mirror image too; not with stochastic passes.
      crf: what refines the predictions before they are scored; None leaves them.
      per_image: whether the report has the scores of each image.
      pictures_by_score: whether the pictures are of the best and the worst images, by the mean IoU of each, and not
        spread over the split.

    Attributes:
      result: the class of what it gives.
    """

    result: ClassVar[type[Evaluation]] = Evaluation

    def __init__(
        self,
        model: SegmentationModel,
        normalize: Normalize,
        devices: Sequence[jax.Device],
        *,
        batch_size: int,
        image_size: tuple[int, ...] = (),
        num_workers: int = 0,
        num_threads: int = 2,
        samples: int = 0,
        seed: int = 0,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        crf: DenseCRF | None = None,
        per_image: bool = False,
        pictures_by_score: bool = False,
    ) -> None:
        """Compiles nothing yet."""
        step = functools.partial(
            eval_step,
            model=model,
            normalize=normalize,
            samples=samples,
            seed=seed,
            scales=scales,
            flip=flip,
            with_probabilities=crf is not None,
        )
        self._step = map_over_devices(step, devices, out_axes=(None, 0))
        self._sent: tuple[str, ...] = ("image", "label", "index")
        self._num_classes = model.num_classes
        self._size = model.size
        self._samples = samples
        self._crf = crf
        self._per_image = per_image
        self._pictures_by_score = pictures_by_score
        self._devices = devices
        self._batch_size = batch_size
        share = share_of(devices)
        self._read = functools.partial(
            pipeline.eval_batches,
            image_size=image_size,
            num_workers=num_workers,
            num_threads=num_threads,
            process_index=share.index,
            process_count=share.count,
        )

    def __call__(
        self,
        variables: Any,
        dataset: Dataset,
        *,
        boundary_f1: bool = False,
        num_pictures: int = 0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Evaluation:
        """Evaluates a split; with several processes, each reads its part and all have the result.

        The report is that of `metrics.summarize`, and `dataset`, `samples`, `crf`, the network's size and

        - `smoothness`: with BF, the means over images of what `metrics.smoothness` returns, else None;
        - `groups`: if the split's images are of several groups (`Dataset`), for each by its name `images`,
          `global_accuracy`, `class_accuracy` and `mean_iou`;
        - `per_image`: if it was asked for, for each image `index`, `name`, `global_accuracy`, `mean_iou` over the
          classes that it holds or is given, and with BF `boundary_f1` and its smoothness.

        Args:
          variables: `params` and `batch_stats`.
          dataset: the split.
          boundary_f1: whether to compute BF and smoothness, which takes the host some 50 ms per 360x480 image.
          num_pictures: so many images, see `PictureChoice`, are returned with their predictions.
          should_stop: asked before every batch; says the same in all processes.

        Raises:
          Stopped: if `should_stop` said so.
        """
        confusion = np.zeros((self._num_classes, self._num_classes), np.int64)
        pictures = PictureChoice(num_pictures, len(dataset), by_score=self._pictures_by_score)
        scores, image_counts, names = {}, {}, {}
        groups, classes = _groups_of(dataset), dataset.class_table.names
        is_rgb = modality_names_of(dataset)[0] == "rgb"
        void_pixels = 0
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for batch, (counts, device_maps) in self._one_behind(variables, self._batches(dataset)):
                if should_stop():
                    pool.shutdown(cancel_futures=True)
                    raise Stopped
                maps = {name: from_devices(x) for name, x in device_maps.items()}
                if self._crf is not None:
                    maps["prediction"] = _refine(self._crf, batch, maps.pop("probabilities"), is_rgb, pool)
                    counts = metrics.confusion_matrix(batch["label"], maps["prediction"], self._num_classes)
                confusion += np.asarray(counts, np.int64)
                for i, index in enumerate(batch["index"].tolist()):
                    if index < 0:
                        continue
                    found = {name: x[i] for name, x in maps.items()}
                    label, prediction = batch["label"][i], found["prediction"]
                    void_pixels += int(np.sum(label == VOID))
                    if boundary_f1:
                        scores[index] = pool.submit(_boundary_scores, label, prediction, self._num_classes)
                    if self._per_image:
                        names[index] = batch["name"][i]
                    if self._per_image or groups or self._pictures_by_score:
                        of_image = metrics.confusion_matrix(label, prediction, self._num_classes)
                        image_counts[index] = np.asarray(of_image, np.int64)
                    if pictures.wants(index):
                        picture = Picture(visualize.rgb_of(batch["image"][i], is_rgb), label, **found)
                        score = None
                        if self._pictures_by_score:
                            score = metrics.main_scores(image_counts[index], classes)["mean_iou"]
                        pictures.add(index, picture, score)
        found_scores = {index: future.result() for index, future in scores.items()}
        parts = collectives.gather((confusion, void_pixels, found_scores, image_counts, names))
        confusions, void_counts, *by_index = zip(*parts, strict=True)
        found_scores, image_counts, names = map(union, by_index)
        if self._crf is not None:
            confusion = np.sum(confusions, axis=0)
        means = _means(list(found_scores.values()))
        report = metrics.summarize(
            confusion,
            classes,
            boundary_f1=means.pop("boundary_f1", None),
            void_pixels=sum(void_counts),
            images=len(dataset),
        )
        report |= {
            "smoothness": means or None,
            "groups": {
                name: {
                    "images": len(group),
                    **metrics.main_scores(np.sum([image_counts[i] for i in group], axis=0), classes),
                }
                for name, group in groups.items()
            },
            "dataset": dataset.name,
            "samples": self._samples,
            "crf": self._crf and dataclasses.asdict(self._crf),
            **self._size,
        }
        if self._per_image:
            report["per_image"] = [
                {"index": i, "name": name, **metrics.main_scores(image_counts[i], classes), **found_scores.get(i, {})}
                for i, name in names.items()
            ]
        return Evaluation(report, pictures.gather())

    def _batches(self, dataset: Dataset) -> Iterator[pipeline.Batch]:
        """Reads this process's part of a split."""
        count = len(self._devices)
        return self._read(dataset, batch_size=-(-min(self._batch_size, len(dataset)) // count) * count)

    def _one_behind(
        self, variables: Any, batches: Iterator[pipeline.Batch]
    ) -> Iterator[tuple[pipeline.Batch, tuple[jax.Array, Any]]]:
        """Yields batches and results, each when the next step is under way, so that host and devices work at once."""
        hosts, sent = itertools.tee(batches)
        inputs = ({key: batch[key] for key in self._sent} for batch in sent)
        previous = None
        for batch, shards in zip(hosts, to_devices(inputs, self._devices), strict=True):
            result = self._step(variables, shards)
            if previous is not None:
                yield previous
            previous = batch, result
        if previous is not None:
            yield previous


def union(parts: Sequence[dict[int, Any]]) -> dict[int, Any]:
    """Joins what the processes have of images, by the images' numbers, ascending."""
    union = {index: value for part in parts for index, value in part.items()}
    return dict(sorted(union.items()))


def _groups_of(dataset: Dataset) -> dict[str, list[int]]:
    """Returns the indices of the images of each group, if there are several groups, else nothing."""
    groups: dict[str, list[int]] = {}
    if hasattr(dataset, "group"):
        for index in range(len(dataset)):
            groups.setdefault(dataset.group(index), []).append(index)
    return dict(sorted(groups.items())) if len(groups) > 1 else {}


def _boundary_scores(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> dict[str, float | None]:
    found = metrics.boundary_f1(label, prediction, num_classes)
    return {"boundary_f1": found, **metrics.smoothness(label, prediction, num_classes)}


def _means(scores: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Returns the mean of each score over the images where it is defined."""
    means = {}
    for key in scores[0] if scores else ():
        defined = [score for found in scores if (score := found[key]) is not None]
        means[key] = float(np.mean(defined)) if defined else None
    return means


def _refine(
    crf: DenseCRF, batch: pipeline.Batch, probabilities: np.ndarray, is_rgb: bool, pool: concurrent.futures.Executor
) -> np.ndarray:
    """Returns the predictions after the CRF, uint8 [b, H, W]; those of empty examples are 0."""
    predictions = np.zeros(batch["label"].shape, np.uint8)

    def refine(i: int) -> None:
        colors = visualize.rgb_of(batch["image"][i], is_rgb)
        predictions[i] = np.argmax(crf(colors, probabilities[i]), axis=-1)

    list(pool.map(refine, np.flatnonzero(batch["index"] >= 0)))
    return predictions
