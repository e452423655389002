"""The flat SegNet of 2015 (arXiv 1505.07293, section 3 and figure 1)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from segnet_jax.errors import InputError
from segnet_jax.models.base import SegmentationModel, pool_with_indices
from segnet_jax.ops.pooling import max_unpool, pooled_size


def unit_norm_init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Initialises kernels as the 2015 paper does (section 3.1): drawn from N(0, 1), then scaled to unit L2 norm each.

    A kernel is what makes one feature: `shape` is [height, width, C, features], and the norm of [..., f] is 1. The
    paper leaves open whether it means this or each of the C planes; the latter would multiply the values by 8 in every
    layer of 64 features.
    """
    values = jax.random.normal(key, shape, dtype)
    return values / jnp.sqrt(jnp.sum(values * values, axis=tuple(range(len(shape) - 1)), keepdims=True))


class SegNetFlat(SegmentationModel):
    """The SegNet of 2015: pairs of an encoder and a decoder, 64 features everywhere, and a soft-max.

    An encoder is a 7x7 convolution, ReLU and 2x2 max pooling; its decoder unpools by the encoder's indices and
    convolves 7x7, without ReLU. There is no bias and no BatchNorm, so there are no `batch_stats`. Pair 1 is the
    outermost; a network with fewer pairs has the parameters of the outer ones, under the same names. Any number of
    input channels.

    `dropout_rate` has to be 0; `batch_norm_momentum` and `axis_name` mean nothing here.

    Attributes:
      pairs: how many; the paper has 4.
      hidden_features: of a 1x1 convolution with ReLU before the classifier, the hidden layer of the paper's SegNet(SM)
        (section 4); 0 leaves it out. The width multiplier does not apply.
      head: the classifier's name. Its hidden layer has that name with `_hidden` after it.
    """

    pairs: int = 4
    hidden_features: int = 0
    head: str = "conv_classifier"

    features: ClassVar[int] = 64

    @property
    def size(self) -> dict[str, Any]:
        """The number of pairs, which grows in layer-wise training."""
        return {"pairs": self.pairs}

    @property
    def num_stages(self) -> int:
        """The number of stages that can be rematerialised: as many as pairs."""
        return self.pairs

    @nn.nowrap
    def check_fields(self) -> None:
        """Refuses values that make no sense, as in `SegmentationModel`."""
        if self.dropout_rate:
            raise InputError(f"segnet_flat has no dropout; leave dropout_rate={self.dropout_rate} at 0.")
        if not self.pairs >= 1:
            raise InputError(f"pairs={self.pairs} must be 1 or more.")
        if not self.hidden_features >= 0:
            raise InputError(f"hidden_features={self.hidden_features} must be 0 or more.")
        super().check_fields()

    def setup(self) -> None:
        """Makes the layers."""
        features = self.scaled(self.features)
        for number in range(1, self.pairs + 1):
            for name in pair_layers(number):
                setattr(self, name, self.conv(features, 7, kernel_init=unit_norm_init))
        if self.hidden_features:
            setattr(self, f"{self.head}_hidden", self.conv(self.hidden_features, 1, kernel_init=unit_norm_init))
        setattr(self, self.head, self.conv(self.num_classes, 1, kernel_init=unit_norm_init))

    def __call__(self, x: jax.Array, train: bool = False, active: jax.Array | None = None) -> jax.Array:
        """Returns logits [N, H, W, num_classes].

        Args:
          x: normalised images, float [N, H, W, channels].
          train: changes nothing; other networks have it.
          active: float [features], factors of the deepest encoder's features before they are decoded (section 3.2: 1
            keeps a feature, 0 removes it); None keeps all.

        Raises:
          InputError: if the images lack an axis, or have another number of channels than the network was made for.
        """
        pooled, indices = self.encode(x)
        deepest = pooled[-1] if active is None else pooled[-1] * active.astype(self.dtype)
        return self.classify(self.decode(deepest, indices, (x.shape[1], x.shape[2])))

    def encode(
        self, x: jax.Array, first: int = 1, last: int | None = None
    ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """Runs the encoders `first` to `last` (all by default), one after the other.

        Args:
          x: input of encoder `first`: the normalised images, or the pooled features of the encoder before.
          first: number of the first encoder.
          last: number of the last one.

        Returns:
          The pooled features of each encoder, [N, h, w, features], and their indices, uint8, see `max_pool_argmax`.
        """
        x = self.checked(x, pair_layers(1)[0]) if first == 1 else x.astype(self.dtype)
        pooled, indices = [], []
        for number in range(first, (self.pairs if last is None else last) + 1):
            x, places = self.stage(number, functools.partial(_encode, number=number), x)
            self.sow("intermediates", f"pool{number}", x)
            pooled.append(x)
            indices.append(places)
        return tuple(pooled), tuple(indices)

    def decode(self, x: jax.Array, indices: Sequence[jax.Array], size: tuple[int, int]) -> jax.Array:
        """Runs the decoders from number `len(indices)` to 1: [N, h, w, features] to [N, H, W, features].

        Args:
          x: input of the innermost of these decoders.
          indices: of the encoders from 1 on.
          size: (H, W) of the images.
        """
        sizes = [size]
        for _ in indices[1:]:
            height, width = sizes[-1]
            sizes.append((pooled_size(height), pooled_size(width)))
        for number in range(len(indices), 0, -1):
            body = functools.partial(_decode, number=number, size=sizes[number - 1])
            x = self.stage(number, body, x, indices[number - 1])
        return x

    def classify(self, x: jax.Array) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of the outermost decoder's features, [N, H, W, features]."""
        if self.hidden_features:
            x = nn.relu(getattr(self, f"{self.head}_hidden")(x))
        return getattr(self, self.head)(x)


def pair_layers(number: int) -> tuple[str, str]:
    """Returns the names of the encoder's and the decoder's convolution of pair `number`."""
    return f"conv{number}", f"conv_decode{number}"


def _encode(model: SegNetFlat, x: jax.Array, *, number: int) -> tuple[jax.Array, jax.Array]:
    return pool_with_indices(nn.relu(model.kept(getattr(model, f"conv{number}")(x))))


def _decode(model: SegNetFlat, x: jax.Array, indices: jax.Array, *, number: int, size: tuple[int, int]) -> jax.Array:
    return model.kept(getattr(model, f"conv_decode{number}")(max_unpool(x, indices, size)))
