"""Sums the losses that training minimises, each weighted and divided by what it counts."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from segnet_jax.errors import InputError
from segnet_jax.training import losses, overlap_losses

_PIXEL_LOSSES = ("cross_entropy", "focal", "distillation")
_OVERLAP_LOSSES = {"dice": overlap_losses.dice, "lovasz": overlap_losses.lovasz}


@dataclass(frozen=True, eq=False)
class Objective:
    """A weighted sum of losses of a batch, whole or in parts.

    Attributes:
      class_weights: float32 [K], of the losses that are sums over pixels: cross_entropy, focal and distillation. Dice
        and lovasz weigh the classes of an image alike.
      terms: name and weight of each loss.
      normalization: what sums over pixels are divided by, "pixels" or "weights", see `losses.normalizer`; dice and
        lovasz are divided by the number of images that have a labelled pixel.
      label_smoothing: of cross_entropy.
      focal_gamma: of focal.
    """

    class_weights: jax.Array
    terms: tuple[tuple[str, float], ...] = (("cross_entropy", 1.0),)
    normalization: str = "pixels"
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0

    def counts(self, labels: jax.Array) -> tuple[jax.Array, ...]:
        """Returns of each term what it is divided by, float32 []; add them up over devices.

        Args:
          labels: uint8 [b, h, w].
        """
        return tuple(
            losses.normalizer(labels, self.class_weights, self.normalization)
            if name in _PIXEL_LOSSES
            else overlap_losses.labelled_images(labels, self.class_weights.shape[0])
            for name, _ in self.terms
        )

    def __call__(
        self,
        logits: jax.Array,
        labels: jax.Array,
        counts: tuple[jax.Array, ...],
        probabilities: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the part of the batch's objective that comes from these images; the parts add up to the whole.

        Args:
          logits: float [b, h, w, K].
          labels: uint8 [b, h, w].
          counts: of the whole batch; a batch without a labelled pixel has an objective of zero, not 0 / 0.
          probabilities: float32 [b, h, w, K], a teacher's, for distillation.

        Returns:
          float32 [].
        """
        return sum(
            (
                weight * (self._term(name, logits, labels, probabilities) / jnp.where(count > 0, count, 1.0))
                for (name, weight), count in zip(self.terms, counts, strict=True)
            ),
            start=jnp.zeros(()),
        )

    def _term(self, name: str, logits: jax.Array, labels: jax.Array, probabilities: jax.Array | None) -> jax.Array:
        if name == "cross_entropy":
            return losses.cross_entropy(logits, labels, self.class_weights, self.label_smoothing)
        if name == "focal":
            return losses.focal(logits, labels, self.class_weights, self.focal_gamma)
        if name == "distillation":
            assert probabilities is not None, "configurations are checked to have a teacher"
            return losses.distillation(logits, labels, self.class_weights, probabilities)
        return _OVERLAP_LOSSES[name](logits, labels)


def parse_terms(text: str) -> tuple[tuple[str, float], ...]:
    """Returns the terms of a sum of losses such as "cross_entropy + 0.5 lovasz": names and weights.

    Raises:
      InputError: if a name is unknown, or a weight is no number above 0.
    """
    known = (*_PIXEL_LOSSES, *_OVERLAP_LOSSES)
    terms = []
    for term in text.split("+"):
        *weight, name = term.split() or [""]
        try:
            (value,) = map(float, weight or ["1"])
        except ValueError:
            value = 0.0
        if name not in known or not 0 < value < float("inf"):
            raise InputError(
                f"loss.name={text!r} has the term {term.strip()!r}; write a sum of {', '.join(known)}, each with or "
                "without a weight above 0, such as 'cross_entropy + 0.5 lovasz'."
            )
        terms.append((name, value))
    return tuple(terms)
