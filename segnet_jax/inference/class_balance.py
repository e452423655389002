"""Undoes the class weights of a loss in a network that was trained with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segnet_jax.errors import InputError
from segnet_jax.inference.from_config import training_class_weights
from segnet_jax.inference.trained_model import TrainedModel

UNDONE = "class_weights_undone"
"""The key of a network's metadata with the share of its class weights that has been undone."""


def undo_class_weights(trained: TrainedModel, share: float = 1.0) -> TrainedModel:
    """Returns the network whose probabilities are those of the classes in the training images, or on the way there.

    A cross-entropy whose pixels have the weights w of their classes makes a network learn probabilities that are w
    times too large, but for their sum. The logarithms of w are taken off the classifier's bias (Menon et al. 2021,
    arXiv 2007.07314), which costs nothing when the network runs. Frequent classes gain, so global accuracy and mean IoU
    mostly rise and the class average falls. The weights are computed anew from the labels of the training split, which
    therefore has to be where the configuration says. There are no `scores`: those of before are not the new network's.

    Args:
      trained: the network, as it was trained.
      share: of the logarithms that is taken off, above 0 and at most 1. What is seldom seen, and what another drive
        shows otherwise, is found more often with less.

    Raises:
      InputError: the share is out of its range, the network has no class weights, they are undone already, it has no
        classifier whose bias adds to the logits, or the training split cannot be read.
    """
    layer, params = trained.model.last_layer, trained.variables["params"]
    if not 0 < share <= 1:
        raise InputError(f"share={share} must be above 0 and at most 1.")
    if trained.metadata.get(UNDONE):
        raise InputError("The class weights of this network are undone already; take it as it is.")
    if not layer:
        raise InputError(
            "Class weights are undone in the bias of a last layer, which this network lacks; take segnet, "
            "segnet_basic, deconvnet or deeplab_largefov."
        )
    weights = training_class_weights(trained.config)
    # A class without a pixel has the weight 0, and is left as it is.
    shift = share * np.log(weights, where=weights > 0, out=np.zeros_like(weights))
    params = {**params, layer: {**params[layer], "bias": params[layer]["bias"] - shift}}
    return replace(
        trained,
        metadata={**trained.metadata, UNDONE: share},
        variables={**trained.variables, "params": params},
        scores={},
    )
