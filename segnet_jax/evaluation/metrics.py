"""Scores of a segmentation: confusion matrix, G, C, mean IoU and boundary F1 (section 3.3)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage


def confusion_matrix(labels: jax.typing.ArrayLike, predictions: jax.typing.ArrayLike, num_classes: int) -> jax.Array:
    """Counts how often each class was predicted as each class.

    Works under jit (`num_classes` static), vmap and pmap; the sum of the results over devices and
    batches is the matrix of the whole split, which callers keep in int64.

    Args:
      labels: integers of any shape, ground truth; pixels outside 0..K-1, VOID among them, are left
        out.
      predictions: integers of the same shape; pixels outside 0..K-1 are left out.
      num_classes: K.

    Returns:
      int32 [K, K], rows ground truth, columns prediction; exact below 2**31 pixels.
    """
    rows, columns = (jnp.asarray(values).astype(jnp.int32).ravel() for values in (labels, predictions))
    counted = (rows >= 0) & (rows < num_classes) & (columns >= 0) & (columns < num_classes)
    # A product of one-hot matrices reads and writes K times as much: on a CPU the scatter is three
    # times (K = 11) to sixteen times (K = 37) as fast. Out-of-range indices are dropped.
    cells = jnp.where(counted, rows * num_classes + columns, num_classes**2)
    counts = jnp.zeros(num_classes**2, jnp.int32).at[cells].add(1, mode="drop")
    return counts.reshape(num_classes, num_classes)


def summarize(
    confusion: np.ndarray,
    names: Sequence[str],
    *,
    boundary_f1: float | None,
    void_pixels: int,
    images: int,
) -> dict[str, Any]:
    """Turns the confusion matrix of a whole split into the paper's scores.

    A class that occurs neither in the ground truth nor in the predictions has no IoU and is left
    out of the mean; one that is only predicted has IoU 0 and counts. (The authors' script counts
    the former as 0 too, and so reads lower on a split that lacks a class.)

    Args:
      confusion: int64 [K, K], rows ground truth, columns prediction.
      names: the K class names.
      boundary_f1: mean of `boundary_f1` over the images, passed through.
      void_pixels: number of pixels without a label, passed through.
      images: number of images, passed through.

    Returns:
      A JSON-able dict; scores are fractions 0..1, None where undefined:
        global_accuracy: correct share of the labelled pixels (G).
        class_accuracy: mean accuracy over the classes in the ground truth (C).
        mean_iou: mean IoU over the classes in the ground truth or the predictions.
        boundary_f1, void_pixels, images: the arguments.
        pixels: number of labelled pixels.
        classes: per class {name, iou, accuracy, pixels}; accuracy is correct pixels / pixels,
          pixels those of the ground truth.
    """
    correct = np.diagonal(confusion)
    truth = confusion.sum(axis=1)
    union = truth + confusion.sum(axis=0) - correct
    ious = [_ratio(*counts) for counts in zip(correct, union, strict=True)]
    accuracies = [_ratio(*counts) for counts in zip(correct, truth, strict=True)]
    return {
        "global_accuracy": _ratio(correct.sum(), truth.sum()),
        "class_accuracy": _mean(accuracies),
        "mean_iou": _mean(ious),
        "boundary_f1": boundary_f1,
        "classes": [
            {"name": name, "iou": iou, "accuracy": accuracy, "pixels": int(pixels)}
            for name, iou, accuracy, pixels in zip(names, ious, accuracies, truth, strict=True)
        ],
        "pixels": int(truth.sum()),
        "void_pixels": void_pixels,
        "images": images,
        "confusion": confusion.tolist(),
    }


def boundary_f1(label: np.ndarray, prediction: np.ndarray, num_classes: int, tolerance: float = 0.0075) -> float | None:
    """Computes the boundary F1 of one image (BF; paper, section 3.3, after Csurka et al. 2013).

    Per class: precision is the share of the predicted boundary pixels closer than the tolerance to
    a true one, recall the share of the true ones closer than it to a predicted one, and the score
    their harmonic mean. The image's score is the mean over the classes in its ground truth; a
    split's is the mean over its images.

    A pixel belongs to the boundary of a class if, of the 2x2 pixels of which it is the upper left
    one, some but not all are of that class; beyond the image's edge its last row and column go on.
    Blocks that hold an unlabelled pixel are left out of both boundaries, as the truth is not known
    there: a prediction right on every labelled pixel scores 1. A class without a boundary in
    either image is left out of the mean; one with a boundary in only one of them scores 0.

    The authors' released script differs: it matches pixels one to one, keeps the edges of
    unlabelled regions, and counts classes that are only predicted as 0. It reads lower.

    Args:
      label: integers [H, W], ground truth; pixels outside 0..K-1, VOID among them, are unlabelled.
      prediction: integers [H, W].
      num_classes: K.
      tolerance: share of the image's diagonal; 0.0075 is 4.5 pixels at 360x480.

    Returns:
      0..1, or None if no class of the ground truth has a boundary in either image: such an image is
      to be left out of the mean over images.
    """
    # Squared distances are whole numbers; without rounding, one that equals the tolerance's might come out below it.
    reach = round(tolerance**2 * (label.shape[0] ** 2 + label.shape[1] ** 2), 6)
    labelled = (label >= 0) & (label < num_classes)
    known = ~_block_any(~labelled)
    scores: list[float] = []
    for k in np.unique(label[labelled]):
        truth, predicted = known & _boundary(label == k), known & _boundary(prediction == k)
        num_truth, num_predicted = np.count_nonzero(truth), np.count_nonzero(predicted)
        if num_truth and num_predicted:
            # A distance transform costs by the area, and a match lies within the tolerance around the truth.
            box = _box_around(truth, math.ceil(math.sqrt(reach)))
            recall = _count_near(truth[box], predicted[box], reach) / num_truth
            precision = _count_near(predicted[box], truth[box], reach) / num_predicted
            scores.append(float(2 * precision * recall / (precision + recall)) if precision else 0.0)
        elif num_truth or num_predicted:
            scores.append(0.0)
    return _mean(scores)


def format_table(report: Mapping[str, Any]) -> str:
    """Lays out a report of `summarize` as plain text: a line per class, then G, C, mIoU and BF.

    Args:
      report: what `summarize` returns, or the same read back from JSON.

    Returns:
      Several lines without a trailing newline; scores in %, "-" where undefined. The pixels column
      is the class's share of the labelled pixels.
    """
    width = max(len("class"), *(len(entry["name"]) for entry in report["classes"]))
    lines = [f"{'class':<{width}}  {'IoU %':>7}  {'acc. %':>7}  {'pixels %':>8}"]
    for entry in report["classes"]:
        share = _ratio(entry["pixels"], report["pixels"])
        lines.append(
            f"{entry['name']:<{width}}  {_percent(entry['iou']):>7}  "
            f"{_percent(entry['accuracy']):>7}  {_percent(share):>8}"
        )
    summary = (
        f"G {_percent(report['global_accuracy'])}  C {_percent(report['class_accuracy'])}  "
        f"mIoU {_percent(report['mean_iou'])}  BF {_percent(report['boundary_f1'])}"
    )
    if report["boundary_f1"] is not None:
        summary += " (by the paper's text, matching many to one; not the authors' script)"
    counts = f"{report['images']:,} images, {report['pixels']:,} labelled pixels, {report['void_pixels']:,} void"
    if report.get("samples"):
        counts += f", means of {report['samples']} stochastic passes"
    if report.get("crf"):
        counts += ", after a dense CRF"
    return "\n".join([*lines, summary, counts])


def _ratio(part: int | np.integer[Any], whole: int | np.integer[Any]) -> float | None:
    return int(part) / int(whole) if whole else None


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _block_any(mask: np.ndarray) -> np.ndarray:
    """Tells for each pixel whether any is set of the 2x2 of which it is the upper left one."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    rows = padded[:, :-1] | padded[:, 1:]
    return rows[:-1] | rows[1:]


def _boundary(mask: np.ndarray) -> np.ndarray:
    return _block_any(mask) & _block_any(~mask)


def _box_around(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    rows, columns = (slice(max(0, places.min() - margin), places.max() + margin + 1) for places in np.nonzero(mask))
    return rows, columns


def _count_near(pixels: np.ndarray, others: np.ndarray, reach: float) -> int:
    """Counts the pixels whose squared distance to the nearest of the others is below `reach`."""
    if not others.any():
        return 0
    nearest = ndimage.distance_transform_edt(~others, return_distances=False, return_indices=True)
    places = np.nonzero(pixels)
    squared = sum((nearest[axis][places] - places[axis]) ** 2 for axis in (0, 1))
    return int(np.count_nonzero(squared < reach))
