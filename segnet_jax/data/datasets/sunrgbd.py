"""SUN RGB-D (Song et al. 2015) in the paper's 37 classes, with or without depth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segnet_jax.data import image_files
from segnet_jax.data.datasets.indoor_classes import CLASS_SETS, LabelCoding
from segnet_jax.data.datasets.rgbd_scene import MODALITIES, RgbdScene, common_shape, numbering_of, read_ids, with_shapes
from segnet_jax.data.datasets.sunrgbd_layout import SEGMENTATION, SOURCE, find_files, other_scenes
from segnet_jax.data.metric_depth import holds_rotated_millimetres, join_depth, sunrgbd_to_metres, to_metres
from segnet_jax.data.preprocessing import RGB, RGBD
from segnet_jax.errors import InputError

SUNRGBD_CLASS_SETS = ("37", "13")
"""The class sets of SUN RGB-D, the paper's first."""


class SunRgbd:
    """One split of SUN RGB-D.

    Three layouts are recognised, in `root` or in a folder directly below it:

    - the toolbox's: `SUNRGBD` with a folder for each scene, and `SUNRGBDtoolbox` with `Metadata/SUNRGBDMeta.mat`,
      `Metadata/SUNRGBD2Dseg.mat` and `traintestSUNRGBD/allsplit.mat`; labels are read one by one where they lie.
    - numbered images: `SUNRGBD-train_images/img-000001.jpg` and so on, with all labels of 37 classes in one folder, the
      5050 of the test images first, or with labels of 13 classes in `train13labels/img13labels-000001.png`.
    - `image/train`, `depth/train` and `label37/train`, by lists such as `train37.txt` of three paths a line or, without
      them, by the numbers in their names.

    Images with depth are float32 [H, W, 4], the last channel in metres, NaN where nothing was measured. Of the two
    kinds of depth that the toolbox has, its own programs read the one whose holes are filled, and so does this.

    Attributes, beside those of `Dataset`:
      names: of every image its scene, or the name of its file.
    """

    name = "sunrgbd"

    def __init__(
        self,
        root: image_files.StrPath,
        split: str = "train",
        class_set: str = "37",
        modalities: Sequence[str] = ("rgb",),
        raw_depth: bool = False,
        depth_scale: float = 0.0,
        label_start: int = -1,
    ) -> None:
        """Finds the files of the split, and checks that all of them exist and are of the sizes of their images.

        Args:
          root: the folder of the data.
          split: "train" or "test"; of the toolbox also "train_half" and "val", the halves of "train".
          class_set: "37" or "13".
          modalities: ("rgb",) or ("rgb", "depth").
          raw_depth: whether depth is as it was measured, with holes, and not the filled one; of the toolbox alone.
          depth_scale: what stands for one metre in the depth files; 0: they are coded as the toolbox's are.
          label_start: 0 if label files count classes from 0 on, with 255 for what is unlabelled; 1 if from 1 on, with
            0; -1 finds it out from those of both splits. The toolbox's are known.

        Raises:
          InputError: a value, the layout or the split is not known, a file is missing or damaged, or of another size,
            or label files do not tell how they count.
        """
        if class_set not in SUNRGBD_CLASS_SETS:
            raise InputError(f"data.class_set={class_set!r}, but sunrgbd has {' and '.join(SUNRGBD_CLASS_SETS)}.")
        if tuple(modalities) not in MODALITIES:
            raise InputError(f"data.modalities={modalities!r}, but sunrgbd has {' and '.join(map(str, MODALITIES))}.")
        self.split, self.class_table = split, CLASS_SETS[class_set]
        self.modality_names = tuple(modalities)
        self._with_depth = "depth" in self.modality_names
        self.modalities = RGBD if self._with_depth else RGB
        self._scale = depth_scale
        found = find_files(Path(root), split, class_set, self._with_depth, raw_depth)
        self._labels = found.labels
        self._scenes, self._shapes = with_shapes(found.scenes, SOURCE, self._shape_of)
        self.names = [scene.name for scene in self._scenes]
        from_zero = False
        if self._labels is None:
            splits = [self._scenes, other_scenes(Path(root), split, found.held)]
            _, from_zero = numbering_of(splits, (found.held,), label_start)
        self._coding = LabelCoding(found.held, class_set, from_zero)

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        scene = self._scenes[index]
        image = image_files.read_image(scene.image)
        if self._with_depth:
            image = join_depth(image, self._metres(scene.depth))
        return {"image": image, "label": self.label(index), "name": self.names[index]}

    def label(self, index: int) -> np.ndarray:
        """Reads the label alone, uint8 [H, W]."""
        scene = self._scenes[index]
        if self._labels is None:
            return self._coding.labels(read_ids(scene.label), scene.label)
        mask = self._labels.cell(SEGMENTATION, scene.place)
        return self._coding.labels(mask, f"{self._labels.path}, {scene.name}")

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an image, which the constructor has read."""
        return self._shapes[index]

    def fingerprint(self) -> str:
        """Returns a digest that changes when a file of the split does, or how labels are read."""
        files = [path for scene in self._scenes for path in scene.files]
        digest = image_files.fingerprint(files + ([self._labels.path] if self._labels else []))
        return f"{digest} {self._coding.held} from {int(not self._coding.from_zero)}"

    def _shape_of(self, scene: RgbdScene) -> tuple[int, int]:
        shape = common_shape(scene)
        labelled = shape if self._labels is None else self._labels.cell_shape(SEGMENTATION, scene.place)
        if self._labels is not None and labelled != shape:
            raise InputError(
                f"{self._labels.path}: the label of {scene.name} is {labelled} pixels (height, width), but "
                f"{scene.image} is {shape}; get both again from {SOURCE}"
            )
        return shape

    def _metres(self, path: str) -> np.ndarray:
        depth = image_files.read_uint16(path)
        if self._scale:
            return to_metres(depth, self._scale)
        if not holds_rotated_millimetres(depth):
            raise InputError(
                f"{path} is not coded as the depth of SUN RGB-D's toolbox is; set data.depth_scale to the value that "
                "stands for one metre in it."
            )
        return sunrgbd_to_metres(depth)
