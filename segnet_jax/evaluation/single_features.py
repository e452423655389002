"""The effect of each single feature of the 2015 network (arXiv 1505.07293, section 3.2).

The paper tried it "by choosing each feature map in turn and setting the remaining to zero", found the results "not
clearly interpretable", and shows subsets instead (`feature_ablation`). Here each feature is kept alone, and taken away
alone, and both are scored.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segnet_jax.data.preprocessing import Normalize
from segnet_jax.evaluation.metrics import confusion_matrix, summarize
from segnet_jax.models.segnet_flat import SegNetFlat


def study_single_features(
    model: SegNetFlat,
    variables: Any,
    normalize: Normalize,
    examples: Iterable[Mapping[str, Any]],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Scores the labels that are decoded from each feature alone, and from all but this one, at each depth.

    The network of depth n is the one of the n outer pairs, as in `feature_ablation`. It decodes every image 2 F + 1
    times, F being its number of features.

    Args:
      model: the network.
      variables: its `params`.
      normalize: from images to the network's input.
      examples: `image` uint8 or float32 [H, W, channels] and `label` [H, W] each.
      names: of the classes.

    Returns:
      For each depth `depth`, `all`, the scores with every feature, and `features`, for each one `feature` (its
      number, from 0), `alone` and `without`, the scores, and `effect`, the scores without it less those of all. Scores
      are `global_accuracy`, `mean_iou`, and by class in the order of `names` `accuracy` and `iou`, 0 to 1 and None
      where undefined, of the confusion matrix of all the examples, see `metrics.summarize`.
    """
    kept = np.eye(model.scaled(model.features), dtype=np.float32)
    confusions = np.zeros((model.pairs, 2 * len(kept) + 1, len(names), len(names)), np.int64)
    num_examples = 0
    for example in examples:
        num_examples += 1
        inputs = normalize(jnp.asarray(example["image"][None]))
        pooled, indices = _encode(model, variables, inputs)
        for depth in range(1, model.pairs + 1):
            for place, active in enumerate((np.ones_like(kept[0]), *kept, *(1 - kept))):
                deepest = pooled[depth - 1] * active
                confusions[depth - 1, place] += _count(model, variables, deepest, indices[:depth], example["label"])
    result = []
    for depth, at_depth in enumerate(confusions, start=1):
        scores = [_scores(confusion, names, num_examples) for confusion in at_depth]
        whole, alone, without = scores[0], scores[1 : len(kept) + 1], scores[len(kept) + 1 :]
        features = [
            {
                "feature": number,
                "alone": alone[number],
                "without": without[number],
                "effect": {key: _less(without[number][key], whole[key]) for key in whole},
            }
            for number in range(len(kept))
        ]
        result.append({"depth": depth, "all": whole, "features": features})
    return result


def single_feature_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Returns Markdown that names, for each class at each depth, the two features that say most about it.

    These are the one without which the class loses most of its IoU, and the one that by itself has the greatest. Of
    equal ones the first is named. A class whose IoU is undefined is left out.

    Args:
      rows: of `study_single_features`.
      names: of the classes.
    """
    lines = [
        "| depth | class | IoU | loses most without | | best by itself | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for k, name in enumerate(names):
            if row["all"]["iou"][k] is None:
                continue
            needed = min(row["features"], key=lambda feature: feature["effect"]["iou"][k] or 0.0)
            best = max(row["features"], key=lambda feature: feature["alone"]["iou"][k] or 0.0)
            lines.append(
                f"| {row['depth']} | {name} | {100 * row['all']['iou'][k]:.1f} "
                f"| {needed['feature']} | {100 * needed['effect']['iou'][k]:+z.1f} "
                f"| {best['feature']} | {100 * best['alone']['iou'][k]:.1f} |"
            )
    return "\n".join(lines) + "\n"


@functools.partial(jax.jit, static_argnums=0)
def _encode(model: SegNetFlat, variables: Any, inputs: jax.Array) -> Any:
    return model.apply(variables, inputs, method="encode")


@functools.partial(jax.jit, static_argnums=0)
def _count(
    model: SegNetFlat, variables: Any, deepest: jax.Array, indices: Sequence[jax.Array], label: jax.Array
) -> jax.Array:
    """Counts the labels that are decoded from the features of one depth, int32 [K, K], see `confusion_matrix`."""
    height, width = label.shape

    def logits(model: SegNetFlat, x: jax.Array) -> jax.Array:
        return model.classify(model.decode(x, indices, (height, width)))

    predictions = jnp.argmax(jnp.asarray(model.apply(variables, deepest, method=logits)), axis=-1)
    return confusion_matrix(label, predictions[0], model.num_classes)


def _scores(confusion: np.ndarray, names: Sequence[str], images: int) -> dict[str, Any]:
    scores = summarize(confusion, names, boundary_f1=None, void_pixels=0, images=images)
    by_class = {key: [found[key] for found in scores["classes"]] for key in ("accuracy", "iou")}
    return {"global_accuracy": scores["global_accuracy"], "mean_iou": scores["mean_iou"], **by_class}


def _less(a: Any, b: Any) -> Any:
    """Returns a - b, of lists one by one; None where either is."""
    if isinstance(a, list):
        return [_less(*both) for both in zip(a, b, strict=True)]
    return None if a is None or b is None else a - b
