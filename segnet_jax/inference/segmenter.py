"""Segments images with a trained network."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageOps

from segnet_jax import visualize
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.preprocessing import Normalize
from segnet_jax.errors import InputError
from segnet_jax.inference import bayesian
from segnet_jax.inference.class_balance import undo_class_weights
from segnet_jax.inference.from_config import build_crf, build_preparation
from segnet_jax.inference.preparation import resize_image
from segnet_jax.inference.pretrained import load_network, save_network
from segnet_jax.inference.tiles import blend_tiles
from segnet_jax.inference.trained_model import TrainedModel
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime import compilation

ImageLike = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class Segmentation:
    """Labels of an image, at the image's own size.

    Attributes:
      image: uint8 or float32 [H, W, channels], as it was given.
      labels: uint8 [H, W], the class of each pixel, 0 to K - 1.
      class_table: the classes.
      probabilities: float32 [H, W, K], if asked for.
      uncertainty: float32 [H, W], if stochastic passes were asked for, see `bayesian.Posterior`.
      is_rgb: whether the first three channels of the image are RGB.
    """

    image: np.ndarray
    labels: np.ndarray
    class_table: ClassTable
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    is_rgb: bool = True

    @property
    def picture(self) -> np.ndarray:
        """The image as it is shown, uint8 [H, W, 3], see `visualize.rgb_of`."""
        return visualize.rgb_of(self.image, self.is_rgb)

    def overlay(self, alpha: float = 0.5) -> np.ndarray:
        """Returns the image with the classes' colours blended in, uint8 [H, W, 3]."""
        return visualize.overlay(self.picture, self.labels, self.class_table, alpha)

    def shares(self) -> dict[str, float]:
        """Returns the share of the pixels that each class has, 0 to 1."""
        counts = np.bincount(self.labels.ravel(), minlength=self.class_table.num_classes)
        return dict(zip(self.class_table.names, (counts / self.labels.size).tolist(), strict=True))

    def save(self, path: str | Path) -> None:
        """Writes the labels as an indexed PNG in the classes' colours, see `visualize.save_label_png`."""
        visualize.save_label_png(self.labels, path, self.class_table)


@dataclass(frozen=True)
class Options:
    """Says how images are segmented.

    Attributes:
      size: (height, width) at which the network sees them; None: as in training; (): their own, as always with tiles.
      tile: side of tiles for images that would not fit into memory, see `tiles.blend_tiles`; 0 takes images whole.
      overlap: of the tiles, in pixels.
      samples: stochastic passes, see `bayesian.sample_posterior`; 0 makes one pass without dropout.
      probabilities: whether to return these.
    """

    size: tuple[int, ...] | None = None
    tile: int = 0
    overlap: int = 256
    samples: int = 0
    probabilities: bool = False

    def __post_init__(self) -> None:
        """Refuses values that exclude each other."""
        if self.tile and self.size:
            raise InputError(
                f"size={self.size} and tile={self.tile} exclude each other: tiles keep an image's own size."
            )


class Segmenter:
    """A trained network, ready to segment images.

    Images are resized and normalised by the very functions that training used.

    Attributes:
      trained: the network and what it was trained with.
      class_table: its classes.
    """

    def __init__(self, trained: TrainedModel) -> None:
        """Takes a trained network; compiles nothing yet."""
        self.trained = trained
        self.class_table = trained.class_table
        self._preparation = build_preparation(
            trained.config, trained.modalities, trained.modality_names, trained.channel_statistics
        )
        self._crf = build_crf(trained.config)
        self._variables = jax.device_put(trained.variables)
        self._programs: dict[int, compilation.Compiled] = {}  # by the number of stochastic passes

    @overload
    def predict(self, images: ImageLike, **options: Any) -> Segmentation: ...
    @overload
    def predict(self, images: Sequence[ImageLike], **options: Any) -> list[Segmentation]: ...
    def predict(self, images: Any, **options: Any) -> Any:
        """Segments an image, or a list of images.

        Args:
          images: a path, a PIL image or an array [H, W, channels], uint8 or, for a network of float32 images, of any
            numbers, with NaN where a value is missing; or a list of these, or an array [N, H, W, channels].
          **options: fields of `Options`.

        Returns:
          A `Segmentation`, or a list of them.

        Raises:
          InputError: if an image cannot be read or has other channels than the network takes, or an option makes no
            sense.
        """
        if isinstance(images, ImageLike) and not (isinstance(images, np.ndarray) and images.ndim == 4):
            return next(self.predict_each([images], **options))
        return list(self.predict_each(images, **options))

    def predict_each(
        self, images: Iterable[ImageLike], *, batch_size: int = 1, **options: Any
    ) -> Iterator[Segmentation]:
        """Segments images one after the other, in batches of neighbours of one size; else as `predict`."""
        chosen = Options(**options)
        if chosen.samples and not self.trained.model.dropout_rate:
            raise InputError(f"samples={chosen.samples} needs a network with dropout, and this one has none.")
        waiting: list[np.ndarray] = []
        for image in map(self._array, images):
            if chosen.tile:
                yield self._by_tiles(image, chosen)
                continue
            if waiting and (waiting[0].shape != image.shape or len(waiting) == batch_size):
                yield from self._whole(waiting, chosen)
                waiting = []
            waiting.append(image)
        if waiting:
            yield from self._whole(waiting, chosen)

    def read(self, path: str | Path) -> np.ndarray:
        """Reads an image as training did, uint8 or float32 [H, W, channels].

        An image of several modalities is a TIFF file that holds all channels in their order, as training had them.

        Raises:
          InputError: if the file is missing, damaged or no image.
        """
        image = self._preparation.read(str(path))
        if image.dtype != self.trained.image_dtype == "uint8":
            # A file of all channels may hold just what the network was trained on.
            eight_bits = np.clip(np.nan_to_num(image), 0, 255).astype(np.uint8)
            return eight_bits if np.array_equal(eight_bits, image) else image
        return image

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the (height, width) at which the network sees an image of this size, if not told otherwise."""
        return self._preparation.network_size(height, width)

    def undo_class_weights(self, share: float = 1.0) -> Segmenter:
        """Returns the same network without the class weights of its loss, see `class_balance.undo_class_weights`."""
        return Segmenter(undo_class_weights(self.trained, share))

    def save_pretrained(self, folder: str | Path, *, eight_bits: bool = False) -> None:
        """Writes the network into a folder that `from_pretrained` reads, see `pretrained.save_network`."""
        save_network(self.trained, Path(folder).expanduser(), eight_bits=eight_bits)

    def push_to_hub(self, repository: str, *, eight_bits: bool = False, private: bool = False) -> str:
        """Uploads the network to OWNER/NAME on the Hugging Face hub, made if need be; returns the commit's address.

        Raises:
          InputError: if the hub cannot be reached or refuses.
        """
        # Imported here, for these are slow and seldom needed.
        import tempfile

        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, eight_bits=eight_bits)
            try:
                HfApi().create_repo(repository, private=private, exist_ok=True)
                return str(HfApi().upload_folder(repo_id=repository, folder_path=folder))
            except (HfHubHTTPError, OSError, ValueError) as error:
                raise InputError(
                    f"{repository} could not be uploaded ({error}); log in with `hf auth login`, and check the name."
                ) from error

    def _array(self, image: ImageLike) -> np.ndarray:
        """Returns an image as uint8 or float32 [H, W, channels], as the network's data set reads it."""
        channels, dtype = sum(self.trained.modalities), self.trained.image_dtype
        if isinstance(image, (str, Path)):
            array = self.read(image)
        elif isinstance(image, Image.Image):
            array = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        else:
            array = np.asarray(image)
        is_fit = array.dtype.kind in "uif" if dtype == "float32" else array.dtype == np.uint8
        if array.ndim != 3 or not is_fit or array.shape[2] != channels or not array.size:
            what = "RGB" if self.trained.takes_rgb else f"{' and '.join(self.trained.modality_names)}, as in training"
            raise InputError(
                f"The image is {array.dtype} {list(array.shape)}, and this network takes {dtype} [height, width, "
                f"{channels}] ({what}); convert it."
            )
        return array.astype(dtype, copy=False)

    def _scores(self, images: np.ndarray, samples: int) -> tuple[jax.Array, jax.Array | None]:
        """Returns logits, or mean probabilities of stochastic passes, and their uncertainty."""
        if samples not in self._programs:
            model, normalize, seed = self.trained.model, self._preparation.normalize, self._preparation.seed
            function = functools.partial(_score, model=model, normalize=normalize, samples=samples, seed=seed)
            self._programs[samples] = compilation.jit(function)
        scores: tuple[jax.Array, jax.Array | None] = self._programs[samples](self._variables, images)
        return scores

    def _whole(self, images: Sequence[np.ndarray], options: Options) -> Iterator[Segmentation]:
        own = (images[0].shape[0], images[0].shape[1])
        height, width = self._preparation.network_size(*own) if options.size is None else options.size or own
        batch = np.stack([resize_image(image, (height, width)) for image in images])
        scores, uncertainty = self._scores(batch, options.samples)
        wants = options.probabilities or self._crf is not None
        labels, probabilities = _read_off(scores, size=own, normalized=bool(options.samples), probabilities=wants)
        wide = None if uncertainty is None else _resized(uncertainty, own)
        labels, probabilities, wide = jax.device_get((labels, probabilities, wide))
        for i, image in enumerate(images):
            found = Segmentation(
                image,
                labels[i],
                self.class_table,
                probabilities=None if probabilities is None else probabilities[i],
                uncertainty=None if wide is None else wide[i],
            )
            yield self._segmentation(found, options)

    def _by_tiles(self, image: np.ndarray, options: Options) -> Segmentation:
        size = image.shape[:2]

        def score(part: np.ndarray) -> np.ndarray:
            scores, uncertainty = self._scores(part[None], options.samples)
            if uncertainty is None:
                return np.asarray(scores[0])
            return np.concatenate([scores[0], uncertainty[0][..., None]], axis=-1)

        labels = np.zeros(size, np.uint8)
        keeps = options.probabilities or self._crf is not None
        probabilities = np.zeros((*size, self.class_table.num_classes), np.float32) if keeps else None
        uncertainty = np.zeros(size, np.float32) if options.samples else None
        for top, band in blend_tiles(score, image, tile=options.tile, overlap=options.overlap):
            rows = slice(top, top + len(band))
            if uncertainty is not None:
                uncertainty[rows], band = band[..., -1], band[..., :-1]
            labels[rows] = np.argmax(band, axis=-1)
            if probabilities is not None:
                probabilities[rows] = band if options.samples else jax.nn.softmax(band)
        return self._segmentation(Segmentation(image, labels, self.class_table, probabilities, uncertainty), options)

    def _segmentation(self, found: Segmentation, options: Options) -> Segmentation:
        """Applies the CRF, if there is one, and leaves out what was not asked for."""
        found = replace(found, is_rgb=self.trained.modality_names[0] == "rgb")
        if self._crf is not None:
            assert found.probabilities is not None
            refined = np.asarray(self._crf(found.picture, found.probabilities))
            found = replace(found, labels=refined.argmax(-1).astype(np.uint8), probabilities=refined)
        return found if options.probabilities else replace(found, probabilities=None)


def from_pretrained(
    where: str | Path,
    *,
    revision: str | None = None,
    prototxt: str | Path = "",
    architecture: str = "",
    **overrides: Any,
) -> Segmenter:
    """Loads a network to segment images with.

    Args:
      where: a work directory, a folder that `Segmenter.save_pretrained` wrote or the .safetensors file in it, the name
        of a shipped network, OWNER/NAME of a repository on the Hugging Face hub, or one of the authors' .caffemodel
        files.
      revision: branch, tag or commit of the repository.
      prototxt: the definition that goes with a .caffemodel file, if it is at hand.
      architecture: of a .caffemodel file: segnet, segnet_basic, bayesian_segnet or bayesian_segnet_basic, if the file
        itself does not tell.
      **overrides: by key with `__` for the dot, over the configuration that it was trained with, such as
        `crf__enabled=True` or `eval__checkpoint="latest"`.

    Raises:
      InputError: if there is no such network, or its files are damaged.
    """
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return Segmenter(load_network(where, dotted, revision, prototxt=prototxt, architecture=architecture))


def _score(
    variables: Any, images: jax.Array, *, model: SegmentationModel, normalize: Normalize, samples: int, seed: int
) -> tuple[jax.Array, jax.Array | None]:
    """Returns logits, or mean probabilities of stochastic passes, and their uncertainty; of images."""
    x = normalize(images)
    if not samples:
        return model.apply(variables, x, train=False).astype(jnp.float32), None  # type: ignore[union-attr]
    keys = jax.random.split(jax.random.key(seed), len(images))
    return bayesian.sample_posterior(model, variables, x, keys, samples=samples)


@functools.partial(jax.jit, static_argnames=("size", "normalized", "probabilities"))
def _read_off(
    scores: jax.Array, *, size: tuple[int, int], normalized: bool, probabilities: bool
) -> tuple[jax.Array, jax.Array | None]:
    """Returns labels, uint8 [N, H, W], and probabilities, [N, H, W, K], at `size`, from logits or probabilities."""
    scores = _resized(scores, size)
    labels = jnp.argmax(scores, axis=-1).astype(jnp.uint8)
    if not probabilities:
        return labels, None
    return labels, scores if normalized else jax.nn.softmax(scores)


def _resized(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns maps, [N, h, w] or [N, h, w, K], interpolated to `size`."""
    if maps.shape[1:3] == size:
        return maps
    return jax.image.resize(maps, (len(maps), *size, *maps.shape[3:]), "linear")
