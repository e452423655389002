"""The classes of NYUv2 and SUN RGB-D: 40, of which SUN RGB-D has the first 37, and the 13 that these are parts of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segnet_jax.data.class_table import VOID, ClassTable, Color, SegmentationClass
from segnet_jax.errors import InputError

# Names as in Table 5 (arXiv 1511.00561), colours as in the authors' tutorial; for each the place of what it is a part
# of in _COARSE (Couprie et al. 2013). The last three, which SUN RGB-D lacks, have neither name nor colour there.
_FINE: tuple[tuple[str, Color, int], ...] = (
    ("wall", (153, 112, 72), 12),
    ("floor", (91, 134, 83), 5),
    ("cabinet", (153, 91, 90), 6),
    ("bed", (118, 106, 128), 1),
    ("chair", (118, 94, 89), 4),
    ("sofa", (148, 109, 126), 9),
    ("table", (119, 119, 119), 10),
    ("door", (131, 131, 85), 12),
    ("window", (95, 131, 137), 13),
    ("bookshelf", (153, 153, 107), 6),
    ("picture", (151, 77, 68), 8),
    ("counter", (152, 108, 59), 6),
    ("blinds", (151, 123, 137), 13),
    ("desk", (113, 77, 113), 10),
    ("shelves", (153, 142, 67), 6),
    ("curtain", (33, 76, 110), 13),
    ("dresser", (91, 47, 98), 6),
    ("pillow", (153, 153, 31), 7),
    ("mirror", (148, 77, 115), 7),
    ("floor mat", (59, 18, 13), 5),
    ("clothes", (11, 85, 123), 7),
    ("ceiling", (60, 118, 145), 3),
    ("books", (9, 69, 63), 2),
    ("fridge", (32, 56, 90), 6),
    ("tv", (71, 91, 37), 11),
    ("paper", (32, 80, 95), 7),
    ("towel", (77, 91, 118), 7),
    ("shower curtain", (103, 118, 79), 7),
    ("box", (27, 53, 83), 7),
    ("whiteboard", (140, 96, 41), 7),
    ("person", (68, 37, 71), 7),
    ("night stand", (94, 95, 133), 6),
    ("toilet", (44, 51, 79), 7),
    ("sink", (109, 124, 64), 7),
    ("lamp", (59, 73, 34), 7),
    ("bathtub", (139, 112, 49), 7),
    ("bag", (84, 65, 29), 7),
    ("other structure", (190, 190, 160), 7),
    ("other furniture", (200, 150, 110), 6),
    ("other prop", (170, 200, 210), 7),
)
# Each has the colour of a fine class that it is made of.
_COARSE: tuple[tuple[str, str], ...] = (
    ("bed", "bed"),
    ("books", "books"),
    ("ceiling", "ceiling"),
    ("chair", "chair"),
    ("floor", "floor"),
    ("furniture", "cabinet"),
    ("objects", "whiteboard"),
    ("picture", "picture"),
    ("sofa", "sofa"),
    ("table", "table"),
    ("tv", "tv"),
    ("wall", "wall"),
    ("window", "window"),
)
_UNLABELLED = SegmentationClass("unlabelled", 0, (0, 0, 0), ignored=True)


def _fine_table(name: str, length: int) -> ClassTable:
    classes = (SegmentationClass(label, i, color) for i, (label, color, _) in enumerate(_FINE[:length], start=1))
    return ClassTable(name, (_UNLABELLED, *classes))


SUNRGBD37 = _fine_table("sunrgbd37", 37)
"""The paper's classes of SUN RGB-D, in the order of Table 5: ids 1 to 37, 0 is unlabelled."""

NYUV2_40 = _fine_table("nyuv2_40", 40)
"""The 40 classes of NYUv2 (Gupta et al. 2013): those of SUN RGB-D and three of what is left."""

_COARSE_COLORS = {label: color for label, color, _ in _FINE}
INDOOR13 = ClassTable(
    "indoor13",
    (_UNLABELLED, *(SegmentationClass(label, i, _COARSE_COLORS[of]) for i, (label, of) in enumerate(_COARSE, start=1))),
)
"""The 13 classes of NYUv2 that the 2015 paper has (Couprie et al. 2013), of SUN RGB-D too."""

INDOOR14 = ClassTable("indoor14", (*INDOOR13.classes[1:], SegmentationClass("unlabelled", 0, (0, 0, 0), ignored=False)))
"""Those 13 and, as a class of its own, what is unlabelled."""

CLASS_SETS = {"13": INDOOR13, "14": INDOOR14, "37": SUNRGBD37, "40": NYUV2_40}


@dataclass(frozen=True)
class LabelCoding:
    """Describes how label files become the labels of a class set.

    Attributes:
      held: the class set of the files, "13", "37" or "40".
      wanted: that of the labels.
      from_zero: whether the files number the classes from 0 on, with 255 for what is unlabelled; else from 1, 0 or 255.

    Raises:
      InputError: the files hold coarser classes than are wanted.
    """

    held: str
    wanted: str
    from_zero: bool = False

    def __post_init__(self) -> None:
        """Refuses to tell apart what the files do not."""
        if self.held != self.wanted and self.wanted not in ("13", "14"):
            raise InputError(
                f"The label files hold {self.held} classes and data.class_set={self.wanted!r} is asked for; choose "
                f"{self.held!r}, or get label files of {self.wanted} classes."
            )

    def labels(self, mask: np.ndarray, source: str) -> np.ndarray:
        """Returns class indices of the wanted class set, uint8 [H, W], VOID where nothing is labelled.

        Args:
          mask: uint8 or uint16 [H, W], as it is stored.
          source: the file, for messages.

        Raises:
          UnknownLabelError: the mask holds an id that is none of the held ones.
        """
        if not self.from_zero:
            mask = np.where(mask == VOID, np.zeros_like(mask), mask)
        return self._lookup[self._table.ids_to_labels(mask, source)]

    @cached_property
    def _table(self) -> ClassTable:
        table = CLASS_SETS[self.held]
        if not self.from_zero:
            return table
        classes = [(entry.name, entry.color) for entry in table.classes if not entry.ignored]
        return ClassTable.from_colors(f"{table.name}, numbered from 0", VOID, "unlabelled", classes)

    @cached_property
    def _lookup(self) -> np.ndarray:
        """Returns the wanted label of each held one, uint8 [256]."""
        lookup = np.arange(256, dtype=np.uint8)
        if self.wanted in ("13", "14"):
            if self.held != "13":
                coarse = [place - 1 for _, _, place in _FINE]
                lookup[: len(coarse)] = coarse
            if self.wanted == "14":
                lookup[VOID] = len(_COARSE)
        return lookup
