"""Starting from another network, and training a part of one (arXiv 1505.07293, section 4 and table 3).

Parameters are named by their path, such as `conv4/kernel`.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from segnet_jax.errors import InputError
from segnet_jax.models.base import SegmentationModel

_log = logging.getLogger("segnet_jax")

_SHOWN = 4


def is_trained(params: Any, trained: str, frozen: str) -> Any:
    """Tells which parameters are trained.

    Args:
      params: nested dict of the network.
      trained: a regular expression; parameters whose whole name it matches are trained, ...
      frozen: ... but not those whose whole name this one matches; "" matches none.

    Returns:
      A tree like `params`, of bools.

    Raises:
      InputError: if an expression cannot be read or matches no parameter, or none is left to train.
    """
    names = traverse_util.flatten_dict(params, sep="/")
    included = _matching(names, trained, "transfer.trained")
    excluded = _matching(names, frozen, "transfer.frozen") if frozen else set()
    if not included - excluded:
        raise InputError(
            f"transfer.trained={trained!r} and transfer.frozen={frozen!r} leave no parameter to train; change one."
        )
    return traverse_util.unflatten_dict({name: name in included - excluded for name in names}, sep="/")


def require_finite(variables: Any, name: str) -> None:
    """Refuses variables of which a value is not finite, such as those of a run that has diverged.

    Raises:
      InputError: with the first one, as a variable of `name`.
    """
    for path, leaf in _flatten(variables).items():
        if not np.isfinite(leaf).all():
            raise InputError(
                f"{path} of {name} is not finite, so nothing can start or learn from it; choose another checkpoint."
            )


def freeze(optimizer: optax.GradientTransformation, trained: str, frozen: str) -> optax.GradientTransformation:
    """Restricts `optimizer` to the parameters that `is_trained` says; the others stay as they are.

    The optimizer's state holds the trained parameters alone, and a gradient's norm is taken over them.
    """

    def labels(params: Any) -> Any:
        return jax.tree.map(lambda chosen: "trained" if chosen else "frozen", is_trained(params, trained, frozen))

    return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


def class_axes(model: SegmentationModel, channels: int) -> dict[str, tuple[int, ...]]:
    """Finds the axes of the network's variables that count classes, by name, by giving it one class more."""
    images = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)

    def shapes(num_classes: int) -> dict[str, tuple[int, ...]]:
        variables = jax.eval_shape(model.clone(num_classes=num_classes).init, jax.random.key(0), images)
        return {name: leaf.shape for name, leaf in _flatten(variables).items()}

    fewer, more = shapes(model.num_classes), shapes(model.num_classes + 1)
    return {
        name: tuple(axis for axis, length in enumerate(shape) if length != more[name][axis])
        for name, shape in fewer.items()
    }


def initialize(
    variables: Mapping[str, Any],
    source: Mapping[str, Any],
    *,
    axes: Mapping[str, tuple[int, ...]],
    classes: Sequence[str],
    source_classes: Sequence[str],
    same_classes: Mapping[str, str] | None = None,
    fresh: str = "",
) -> dict[str, Any]:
    """Returns `variables` with the values of another network's, where both have them.

    Along the axes that count classes, a class has the values of the source's class of the same name; one that the
    source does not have keeps those in `variables`. What only the source has is left out.

    Args:
      variables: `params` and `batch_stats` as initialised.
      source: of the other network.
      axes: of `variables`, as `class_axes` gives them.
      classes: the names of the K classes.
      source_classes: the names of the source's classes.
      same_classes: for classes that have another name in the source, that name.
      fresh: a regular expression; variables whose whole name it matches keep their values.

    Raises:
      InputError: with the names and shapes of what the source lacks or has in another shape; or if `fresh` cannot be
        read or matches nothing, or a class in `same_classes` does not exist.
    """
    result, found = _flatten(variables), _flatten(source)
    kept = _matching(result, fresh, "transfer.fresh") if fresh else set()
    pairs = _class_pairs(classes, source_classes, same_classes or {})
    differing = []
    for name in sorted(result.keys() - kept):
        value = result[name]
        shape = tuple(len(source_classes) if axis in axes[name] else n for axis, n in enumerate(value.shape))
        if name not in found or found[name].shape != shape:
            has = list(found[name].shape) if name in found else "none"
            differing.append(f"{name}: expected {list(shape)}, found {has}")
        else:
            result[name] = _merge(value, found[name], axes[name], pairs)
    if differing:
        shown = differing[:_SHOWN] + [f"{len(differing) - _SHOWN} more"] * (len(differing) > _SHOWN)
        raise InputError(
            f"transfer.source does not fit the model in {len(differing)} of its arrays ({'; '.join(shown)}); choose "
            "the model of the source, or name what is to start anew in transfer.fresh."
        )
    if new := [name for k, name in enumerate(classes) if k not in pairs]:
        _log.info("Of the classes, %s are not in transfer.source and start anew.", ", ".join(new))
    return {
        collection: traverse_util.unflatten_dict(
            {name: result[name] for name in traverse_util.flatten_dict(tree, sep="/")}, sep="/"
        )
        for collection, tree in variables.items()
    }


def _flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters and statistics by their path, which the two never share."""
    return {
        name: leaf for tree in variables.values() for name, leaf in traverse_util.flatten_dict(tree, sep="/").items()
    }


def _matching(names: Iterable[str], pattern: str, key: str) -> set[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{key}={pattern!r} is no regular expression ({error}).") from error
    matching = {name for name in names if expression.fullmatch(name)}
    if not matching:
        raise InputError(
            f"{key}={pattern!r} matches none of the network's parameters; their names are {', '.join(sorted(names))}."
        )
    return matching


def _class_pairs(classes: Sequence[str], source: Sequence[str], same: Mapping[str, str]) -> dict[int, int]:
    """Returns for each class that the source has the number of that class there."""
    for name, other in same.items():
        for value, known in ((name, classes), (other, source)):
            if value not in known:
                raise InputError(f"transfer.same_classes names {value!r}; the classes are {', '.join(known)}.")
    wanted = [same.get(name, name) for name in classes]
    return {k: source.index(name) for k, name in enumerate(wanted) if name in source}


def _merge(value: Any, source: Any, axes: tuple[int, ...], pairs: Mapping[int, int]) -> np.ndarray:
    """Returns `value` with the source's numbers, along `axes` those of the classes in `pairs`."""
    merged = np.array(value)
    here: list[Any] = [slice(None)] * merged.ndim
    there = list(here)
    # Without an axis of classes there is one turn, which takes everything.
    for numbers in itertools.product(pairs, repeat=len(axes)):
        for axis, k in zip(axes, numbers, strict=True):
            here[axis], there[axis] = k, pairs[k]
        merged[tuple(here)] = np.asarray(source)[tuple(there)]
    return merged
