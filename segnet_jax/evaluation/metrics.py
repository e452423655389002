"""Scores of a segmentation: confusion matrix, G, C, mean IoU and boundary F1 (section 3.3), and its smoothness."""

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
    out of the mean; one that is only predicted has IoU 0 and counts. The authors' script
    (compute_test_results.m) divides C and mean IoU by K, so that a class without ground truth
    counts 0 in both, and reads lower on a split that lacks one; both readings are given.

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
        frequency_weighted_iou: mean IoU weighted by the classes' labelled pixels.
        authors_script: {class_accuracy, mean_iou} by the authors' script.
        boundary_f1, void_pixels, images: the arguments.
        pixels: number of labelled pixels.
        classes: per class {name, iou, accuracy, precision, f1, pixels}; accuracy (recall) is
          correct pixels / pixels, those of the ground truth, precision correct pixels / predicted
          ones among the labelled, f1 their harmonic mean, which is defined where the IoU is.
        confusion: the argument, as lists of rows.
    """
    correct = np.diagonal(confusion)
    truth = confusion.sum(axis=1)
    predicted = confusion.sum(axis=0)
    ious = _ratios(correct, truth + predicted - correct)
    accuracies = _ratios(correct, truth)
    columns = {
        "name": names,
        "iou": ious,
        "accuracy": accuracies,
        "precision": _ratios(correct, predicted),
        "f1": _ratios(2 * correct, truth + predicted),
        "pixels": truth.tolist(),
    }
    labelled = int(truth.sum())
    weighted = math.fsum(iou * int(pixels) for iou, pixels in zip(ious, truth, strict=True) if iou)
    return {
        "global_accuracy": _ratio(correct.sum(), labelled),
        "class_accuracy": _mean(accuracies),
        "mean_iou": _mean(ious),
        "frequency_weighted_iou": weighted / labelled if labelled else None,
        "authors_script": {
            key: math.fsum(value or 0 for value in values) / len(names) if labelled else None
            for key, values in (("class_accuracy", accuracies), ("mean_iou", ious))
        },
        "boundary_f1": boundary_f1,
        "classes": [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)],
        "pixels": labelled,
        "void_pixels": void_pixels,
        "images": images,
        "confusion": confusion.tolist(),
    }


def main_scores(confusion: np.ndarray, names: Sequence[str]) -> dict[str, float | None]:
    """Returns G, C and mean IoU alone, by their names in the report of `summarize`."""
    report = summarize(confusion, names, boundary_f1=None, void_pixels=0, images=0)
    return {key: report[key] for key in ("global_accuracy", "class_accuracy", "mean_iou")}


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


def smoothness(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> dict[str, float | None]:
    """Measures how smooth a prediction is, beside its ground truth.

    It tells whether "the predictions get smoother as depth is increased" (arXiv 1505.07293, section 3.2). Unlabelled
    pixels are left out of both, so that the two compare.

    Args:
      label: integers [H, W], ground truth; pixels outside 0..K-1, VOID among them, are unlabelled.
      prediction: integers [H, W].
      num_classes: K.

    Returns:
      boundary_share and label_boundary_share: the share of the pixels whose 2x2 block, as of `boundary_f1`, holds
        more than one class, of those whose block is labelled; None if there are none.
      regions and label_regions: the number of regions of one class, connected over the edges of pixels;
        None if no pixel is labelled.
    """
    labelled = (label >= 0) & (label < num_classes)
    known = ~_block_any(~labelled)
    result: dict[str, float | None] = {}
    for prefix, classes in (("", prediction), ("label_", label)):
        padded = np.pad(classes, ((0, 1), (0, 1)), mode="edge")
        mixed = np.zeros(classes.shape, bool)
        for other in (padded[1:, :-1], padded[:-1, 1:], padded[1:, 1:]):
            mixed |= classes != other
        result[f"{prefix}boundary_share"] = _ratio(np.count_nonzero(mixed & known), np.count_nonzero(known))
        regions = (ndimage.label(labelled & (classes == k))[1] for k in np.unique(classes[labelled]))
        result[f"{prefix}regions"] = float(sum(regions)) if labelled.any() else None
    return result


def format_table(report: Mapping[str, Any]) -> str:
    """Lays out a report of `summarize` as plain text: a line per class, then G, C, mIoU, BF and the rest.

    Args:
      report: what `summarize` returns, with what `Evaluator` adds.

    Returns:
      Several lines without a trailing newline; scores in %, "-" where undefined. The pixels column
      is the class's share of the labelled pixels.
    """
    width = max(len("class"), *(len(entry["name"]) for entry in report["classes"]))
    headings = ("IoU %", "acc. %", "prec. %", "F1 %", "pixels %")
    lines = [f"{'class':<{width}}" + "".join(f"  {heading:>8}" for heading in headings)]
    for entry in report["classes"]:
        scores = [*(entry[key] for key in ("iou", "accuracy", "precision", "f1"))]
        scores.append(_ratio(entry["pixels"], report["pixels"]))
        lines.append(f"{entry['name']:<{width}}" + "".join(f"  {_percent(score):>8}" for score in scores))
    summary = f"{_main_scores(report)}  BF {_percent(report['boundary_f1'])}"
    if report["boundary_f1"] is not None:
        summary += " (by the paper's text, matching many to one; not the authors' script)"
    lines.append(summary)
    lines += [
        f"{name} ({group['images']} images): {_main_scores(group)}" for name, group in report.get("groups", {}).items()
    ]
    others = f"frequency-weighted IoU {_percent(report['frequency_weighted_iou'])}"
    authors = report["authors_script"]
    if any(authors[key] != report[key] for key in authors):
        c, iou = _percent(authors["class_accuracy"]), _percent(authors["mean_iou"])
        others += f"; with 0 for classes without ground truth, as in the authors' script, C {c}  mIoU {iou}"
    lines.append(others)
    if smooth := report.get("smoothness"):
        boundary, of_labels = _percent(smooth["boundary_share"]), _percent(smooth["label_boundary_share"])
        lines.append(
            f"boundary pixels {boundary} % (labels {of_labels} %), "
            f"regions an image {smooth['regions']:.1f} (labels {smooth['label_regions']:.1f})"
        )
    counts = f"{report['images']:,} images, {report['pixels']:,} labelled pixels, {report['void_pixels']:,} void"
    if report.get("samples"):
        counts += f", means of {report['samples']} stochastic passes"
    if report.get("crf"):
        counts += ", after a dense CRF"
    return "\n".join([*lines, counts])


def _main_scores(report: Mapping[str, Any]) -> str:
    names = {"G": "global_accuracy", "C": "class_accuracy", "mIoU": "mean_iou"}
    return "  ".join(f"{name} {_percent(report[key])}" for name, key in names.items())


def _ratios(parts: np.ndarray, wholes: np.ndarray) -> list[float | None]:
    return [_ratio(*counts) for counts in zip(parts, wholes, strict=True)]


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
