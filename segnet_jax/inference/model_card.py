"""The model card that goes with a shared network."""

from __future__ import annotations

import jax

from segnet_jax.inference.class_balance import UNDONE
from segnet_jax.inference.from_config import describe_training
from segnet_jax.inference.trained_model import TrainedModel

_SCORES = {
    "global_accuracy": "global accuracy",
    "class_accuracy": "class average accuracy",
    "mean_iou": "mean IoU",
    "boundary_f1": "boundary F1",
}


def write_card(trained: TrainedModel, *, size: int, eight_bits: bool) -> str:
    """Returns a model card in Markdown, with the front matter that the Hugging Face hub reads.

    Args:
      trained: the network.
      size: of its weights' file, in bytes.
      eight_bits: whether the kernels are in 8 bits.
    """
    name, dataset, split, image_size = describe_training(trained.run_config)
    seen = "x".join(map(str, image_size)) if image_size else "their own size"
    scores = "\n".join(
        f"| {text} | {100 * trained.scores[key]:.1f} % |" for key, text in _SCORES.items() if key in trained.scores
    )
    table = (
        f"| score on {dataset}, {split} | |\n|---|---|\n{scores}\n" if scores else "It was not evaluated in training.\n"
    )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(trained.variables["params"]))
    share = trained.metadata.get(UNDONE)
    undone = f"The class weights of its loss are undone by {share:g} in the classifier's bias.\n" if share else ""
    kernels = "kernels in 8 bits per output channel" if eight_bits else "weights as trained"
    return f"""---
library_name: segnet_jax
pipeline_tag: image-segmentation
tags: [semantic-segmentation, segnet, jax]
---

# {name} on {dataset}

`{name}` of segnet_jax, {parameters:,} parameters, {size / 1e6:.1f} MB ({kernels}), after step {trained.step} of its
training on {trained.metadata.get("train_examples", "an unknown number of")} images of {dataset}, seen at {seen}.
{undone}
{table}
Measured with the weights before any rounding. Licence: that of the data it was trained on; see there before you use it.

Classes: {", ".join(trained.class_table.names)}.

```python
import segnet_jax

segmenter = segnet_jax.from_pretrained("THIS FOLDER OR REPOSITORY")
segmenter.predict("image.jpg").save("labels.png")
```
"""
