"""Says what there is to run.

SegNet and its competitors for semantic segmentation, in JAX:

    python -m segnet_jax.main --config=configs/synthetic.py --workdir=runs/first    trains; --help has all keys
    python -m segnet_jax.main --mode=eval --workdir=runs/first                      evaluates; also missing, ablation
    python -m segnet_jax.data.check --root=FOLDER --write=mine.py                   checks images and masks
    python -m segnet_jax.prepare --output=FOLDER --config.data.name=camvid ...      writes a data set as records
    python -m segnet_jax.predict runs/first --input=IMAGES --output=LABELS          segments images and videos
    python -m segnet_jax.export runs/first --format=onnx --output=net.onnx          writes ONNX, StableHLO or a page
    python -m segnet_jax.demo runs/first                                            shows a page that segments pictures
    python -m segnet_jax.visualize --workdir=runs/first                             draws curves and scores
    python -m segnet_jax.report --runs runs/first                                   compares with the papers' tables

In Python: segnet_jax.create_model, from_pretrained, load_trained, max_pool_argmax and max_unpool. README.md is where to
start.
"""

from __future__ import annotations

if __name__ == "__main__":
    print(__doc__, end="")
