"""The fully connected conditional random field after a network (Krähenbühl and Koltun 2011; DeepLab)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from segnet_jax.inference.permutohedral import Lattice, build_lattice, filter_points


@dataclass(frozen=True)
class DenseCRF:
    """Mean-field inference with Potts compatibility and two kernels between all pairs of pixels.

    The energy of a labelling has the negative logarithm of each pixel's probability, and for each pair of pixels of
    different labels two kernels, Gaussians of the distance in the image, and of that in the image and in colour:

        position_weight * exp(-d^2 / 2), d^2 = |p_i - p_j|^2 / position_std^2
        bilateral_weight * exp(-d^2 / 2), d^2 = |p_i - p_j|^2 / bilateral_position_std^2 + |I_i - I_j|^2 / color_std^2

    As in DeepLab's code, whose prototxt has the default values, the message to a pixel is divided by the kernel's sum
    over all pixels, itself among them. So the weights are the greatest influence that a kernel can have, in nats,
    whatever the size of the image.

    The first kernel is computed exactly, the second approximately, on the permutohedral lattice. On ten photographs of
    CamVid at 60x80, its sums (0 to 1) differed from the exact ones by 0.003 on average, and by up to 0.59 at single
    pixels whose colour is rare; on small images of random colours and values by 0.015 on average and up to 0.12. After
    ten iterations with the default values, at least 99.7 % of the pixels in each of five of them had the exact label.

    Attributes:
      iterations: mean-field updates, at least 1.
      position_weight: of the first kernel; 0 leaves it out.
      position_std: in pixels.
      bilateral_weight: of the second kernel; 0 leaves it out.
      bilateral_position_std: in pixels.
      bilateral_color_std: in steps of 8-bit colour, color_std above.
    """

    iterations: int = 10
    position_weight: float = 3.0
    position_std: float = 3.0
    bilateral_weight: float = 5.0
    bilateral_position_std: float = 50.0
    bilateral_color_std: float = 10.0

    def __call__(self, image: np.ndarray, probabilities: jax.typing.ArrayLike) -> jax.Array:
        """Returns the marginal probabilities of the labels, float32 [H, W, K].

        Args:
          image: uint8 [H, W, channels], RGB as a rule.
          probabilities: of the network, [H, W, K].

        Raises:
          InputError: if a standard deviation of the second kernel is too small for the image.
        """
        lattice = self._lattice(image) if self.bilateral_weight else None
        return _mean_field(self, lattice, jnp.asarray(probabilities, jnp.float32))

    def _lattice(self, image: np.ndarray) -> Lattice:
        height, width, channels = image.shape
        places = np.indices((height, width)).reshape(2, -1).T / self.bilateral_position_std
        colors = image.reshape(-1, channels) / self.bilateral_color_std
        return build_lattice(np.concatenate([places, colors], axis=1))


@functools.partial(jax.jit, static_argnums=0)
def _mean_field(crf: DenseCRF, lattice: Lattice | None, probabilities: jax.Array) -> jax.Array:
    height, width, num_classes = probabilities.shape
    # A probability of 0 would keep a label from a pixel for good.
    unary = jnp.log(jnp.maximum(probabilities, 1e-20))

    def position_messages(marginals: jax.Array) -> jax.Array:
        # The Gaussian is one of rows times one of columns, and so is its sum.
        rows, columns = (_normalized_gaussian(size, crf.position_std) for size in (height, width))
        return jnp.einsum("ih,hwk,jw->ijk", rows, marginals, columns, precision="highest")

    def color_messages(marginals: jax.Array, lattice: Lattice) -> jax.Array:
        # The ones give the sum that the others are divided by.
        ones = jnp.ones((height * width, 1))
        sums = filter_points(lattice, jnp.concatenate([marginals.reshape(-1, num_classes), ones], axis=1))
        return (sums[:, :-1] / sums[:, -1:]).reshape(marginals.shape)

    def update(_: int, marginals: jax.Array) -> jax.Array:
        scores = unary
        if crf.position_weight:
            scores += crf.position_weight * position_messages(marginals)
        if lattice is not None:
            scores += crf.bilateral_weight * color_messages(marginals, lattice)
        return jax.nn.softmax(scores)

    return jax.lax.fori_loop(0, crf.iterations, update, probabilities)


def _normalized_gaussian(size: int, std: float) -> jax.Array:
    """Returns the Gaussian of the distance of each pair, each row divided by its sum: float32 [size, size]."""
    places = np.arange(size)
    kernel = np.exp(-0.5 * ((places[:, None] - places) / std) ** 2)
    return jnp.asarray(kernel / kernel.sum(axis=1, keepdims=True), jnp.float32)
