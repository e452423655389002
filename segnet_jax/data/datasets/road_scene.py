"""Draws a road scene: image, labels and, if asked for, depth.

A street is laid out in metres and painted from far to near, so that occlusion is right by
construction; every shape goes to the image and to the label map with the same coordinates.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets.depth_buffer import DepthBuffer

SKY, BUILDING, POLE, ROAD, LANE_MARKING, PAVEMENT, TREE, SIGN, CAR, PEDESTRIAN = range(10)

Size = tuple[int, int]
_Point = tuple[float, float]
_Place = tuple[float, float, float]
_Color = tuple[float, float, float]

# A layout is made for this size and scaled, so that it looks alike at any size; lengths in a picture are in its pixels.
BASE_SIZE = (90, 120)
_FOCAL_LENGTH = 100.0
_FINE = 2  # supersampling
_DEPTH_STEPS = 2.5  # of the depth channel in a metre: 255 is 102 m, and all that is further away

# Sky at the top, sky at the horizon, brightness, colour cast.
_WEATHERS: tuple[tuple[_Color, _Color, float, _Color], ...] = (
    ((88, 142, 214), (186, 212, 238), 1.0, (1.03, 1.0, 0.96)),
    ((150, 166, 188), (196, 206, 216), 0.92, (0.97, 1.0, 1.04)),
    ((112, 124, 186), (206, 186, 196), 0.86, (1.08, 0.98, 0.92)),
    ((84, 108, 168), (156, 170, 204), 0.78, (0.96, 0.98, 1.08)),
)
_WALLS = ((158, 80, 60), (192, 156, 112), (176, 128, 112), (134, 100, 80), (200, 172, 138))
_PANES = ((52, 62, 78), (84, 100, 120), (40, 42, 48))
_LEAVES = ((58, 104, 40), (84, 122, 42), (40, 88, 46), (106, 122, 42))
_ASPHALTS = ((92, 92, 96), (78, 80, 86), (106, 102, 100))
_SLABS = ((186, 168, 166), (172, 160, 166), (190, 172, 160))
_MARKINGS = ((236, 236, 232), (228, 226, 216), (240, 206, 96))
_METALS = ((18, 98, 90), (24, 78, 102), (20, 70, 66))
_SIGNS = ((24, 84, 210), (220, 26, 34), (250, 196, 20))
_BODIES = ((176, 24, 30), (34, 60, 150), (230, 232, 236), (214, 150, 30))
_CLOTHES = ((226, 40, 150), (170, 50, 190), (246, 100, 130), (150, 40, 110))
_TROUSERS = ((70, 30, 96), (96, 30, 76), (54, 34, 110))
_SKIN = ((226, 180, 150), (176, 124, 92), (112, 76, 56))
_WHITE, _GLASS, _RUBBER = (238, 238, 234), (50, 72, 110), (22, 22, 24)

# How strongly the brightness of a label's surface varies: (leaf-sized patches, single pixels).
_ROUGHNESS = np.zeros((256, 2), np.float32)
_ROUGHNESS[[BUILDING, ROAD, TREE]] = (0.02, 0.02), (0.02, 0.03), (0.12, 0.06)


def draw_scene(rng: np.random.Generator, size: Size = BASE_SIZE, depth: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Draws one road scene.

    Args:
      rng: the source of all variation; one state gives one street at every size of an aspect.
      size: height and width in pixels, at least 1 each.
      depth: whether the image gets a fourth channel: the distance along the camera's axis in steps of 0.4 m; 255 is
        102 m and more, and the sky.

    Returns:
      image uint8 [H, W, 3] RGB (or [H, W, 4]) and label uint8 [H, W], indices into `SYNTHETIC` or VOID.
    """
    camera = _Camera(size, rng, depth)
    _Street(camera, rng).paint()
    return camera.develop(rng)


class _Paint(NamedTuple):
    color: _Color
    label: int | None = None  # None: a detail of the surface that is already there
    light: float = 1.0
    opacity: int = 255


_SHADOW = _Paint((12, 14, 30), opacity=70)


class _Camera:
    """Projects, shades and paints, on the image and on the label map under one pen.

    The world is in metres: x to the right of the road's middle, y up, z ahead of the camera.
    """

    def __init__(self, size: Size, rng: np.random.Generator, depth: bool = False) -> None:
        unit = min(size[0] / BASE_SIZE[0], size[1] / BASE_SIZE[1])
        self.size, self._scale = size, _FINE * unit
        self.height, self.width = size[0] / unit, size[1] / unit
        self._vanishing = rng.uniform(-12, 12)  # from the picture's middle
        self.horizon = self.height * rng.uniform(0.4, 0.52)  # row
        self.eye = rng.uniform(1.5, 2.0)  # height above the road
        self._offset, self._curve = rng.uniform(-1.2, 0.2), rng.uniform(-0.005, 0.005)
        self._haze_distance = rng.uniform(150, 400)
        self.zenith, self.haze, brightness, cast = _WEATHERS[int(rng.integers(len(_WEATHERS)))]
        self._light = np.multiply(brightness * rng.uniform(0.9, 1.1), cast, dtype=np.float32)
        fine = (_FINE * size[1], _FINE * size[0])
        self.image, self._label = Image.new("RGB", fine), Image.new("L", fine, SKY)
        self._pen, self._label_pen = ImageDraw.Draw(self.image), ImageDraw.Draw(self._label)
        self._depth_buffer = DepthBuffer(fine) if depth else None
        self._glaze_pen = ImageDraw.Draw(self.image, "RGBA")  # blends; several times slower

    def column(self, x: float, z: float) -> float:
        """Returns the column of a point, counted to the right from the middle of the image."""
        across = self._offset + self._curve * z * z / 2 + x
        return self._vanishing + _FOCAL_LENGTH * across / z

    def _project(self, place: _Place) -> _Point:
        x, y, z = place
        row = self.horizon + _FOCAL_LENGTH * (self.eye - y) / z
        return (self.column(x, z) + self.width / 2) * self._scale, row * self._scale

    def _shade(self, paint: _Paint, z: float) -> tuple[int, ...]:
        clear = math.exp(-z / self._haze_distance)
        mixed = [clear * paint.light * c + (1 - clear) * h for c, h in zip(paint.color, self.haze, strict=True)]
        return *[min(max(int(c), 0), 255) for c in mixed], paint.opacity

    def fill(self, corners: Sequence[_Place], paint: _Paint) -> None:
        """Paints a polygon, in the haze of its first corner."""
        points = [self._project(corner) for corner in corners]
        pen = self._pen if paint.opacity == 255 else self._glaze_pen
        pen.polygon(points, fill=self._shade(paint, corners[0][2]))
        if paint.label is not None:
            self._label_pen.polygon(points, fill=paint.label)
        if self._depth_buffer is not None and paint.opacity == 255:
            self._depth_buffer.polygon(points, [z for _, _, z in corners])

    def ellipse(self, center: _Place, radii: _Point, paint: _Paint) -> None:
        (x, y), scale = self._project(center), self._scale * _FOCAL_LENGTH / center[2]
        a, b = radii[0] * scale, radii[1] * scale
        box = x - a, y - b, x + a, y + b
        self._pen.ellipse(box, fill=self._shade(paint, center[2]))
        if paint.label is not None:
            self._label_pen.ellipse(box, fill=paint.label)
        if self._depth_buffer is not None:
            self._depth_buffer.ellipse(box, center[2])

    def upright(self, place: _Place, width: float, height: float, paint: _Paint) -> None:
        """Paints a rectangle that faces the camera; `place` is the middle of its lower edge."""
        (x, y, z), a, top = place, width / 2, place[1] + height
        self.fill(((x - a, y, z), (x + a, y, z), (x + a, top, z), (x - a, top, z)), paint)

    def wall(self, x: float, y: _Point, z: _Point, paint: _Paint) -> None:
        self.fill(((x, y[0], z[0]), (x, y[0], z[1]), (x, y[1], z[1]), (x, y[1], z[0])), paint)

    def flat(self, x: _Point, z: _Point, paint: _Paint) -> None:
        self.fill(((x[0], 0, z[0]), (x[1], 0, z[0]), (x[1], 0, z[1]), (x[0], 0, z[1])), paint)

    def develop(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Gives the surfaces their roughness and the picture its light, blur and noise."""
        (height, width), single = self.size, np.float32
        blur, noise = ImageFilter.BoxBlur(max(0, rng.uniform(-0.2, 0.2))), single(rng.uniform(1, 2))
        label = np.asarray(self._label)[1::_FINE, 1::_FINE].copy()  # one fine pixel decides: labels never mix
        grid = min(height, math.ceil(self.height / 2)), min(width, math.ceil(self.width / 2))
        patches = Image.fromarray(rng.standard_normal(grid, single)).resize((width, height))
        rough, specks = _ROUGHNESS[label], rng.standard_normal(label.shape, single)
        surface = 1 + rough[..., 0] * np.asarray(patches) + rough[..., 1] * specks
        image = np.asarray(self.image.reduce(_FINE).filter(blur)) * surface[..., None] * self._light
        image += noise * rng.standard_normal(image.shape, single)
        if self._depth_buffer is not None:
            image = np.dstack([image, np.rint(_DEPTH_STEPS * self._depth_buffer.distances(_FINE))])
        return np.clip(image, 0, 255).astype(np.uint8), label


class _Street:
    """The layout of a street, and the painting of each thing in it."""

    def __init__(self, camera: _Camera, rng: np.random.Generator) -> None:
        self.camera, self.rng = camera, rng
        self.half_road, self.pavement = rng.uniform(3.0, 4.0), rng.uniform(2.2, 3.2)
        self.sunny = int(rng.choice((-1, 1)))  # the side of the street that the sun shines on

    def paint(self) -> None:
        self._sky()
        self._ground()
        for _, paint in sorted(self._objects(), key=lambda item: -item[0]):
            paint()

    def _pick(self, palette: Sequence[_Color], label: int | None = None) -> _Paint:
        common, a, b, c = self.rng.normal(0, (7, 4, 4, 4)).tolist()
        red, green, blue = palette[int(self.rng.integers(len(palette)))]
        return _Paint((red + common + a, green + common + b, blue + common + c), label)

    def _sky(self) -> None:
        camera, noise = self.camera, Image.fromarray(self.rng.random((4, 5), np.float32))
        clouds = np.asarray(noise.resize((32, 24), Image.Resampling.BICUBIC))
        cover = np.clip(2 * clouds - self.rng.uniform(0.8, 2.0), 0, 0.8)[..., None]
        sky = np.linspace(camera.zenith, camera.haze, 24)[:, None] * (1 - cover) + 245 * cover
        width, height = camera.image.size
        rows = min(height, math.ceil(height * camera.horizon / camera.height) + 1)
        camera.image.paste(Image.fromarray(sky.astype(np.uint8)).resize((width, rows)))

    def _ground(self) -> None:
        camera, rng, half = self.camera, self.rng, self.half_road
        start = 0.9 * _FOCAL_LENGTH * camera.eye / (camera.height - camera.horizon)
        slabs, asphalt, brim = self._pick(_SLABS, PAVEMENT), self._pick(_ASPHALTS, ROAD), half + 0.25
        layers = (150 * camera.width, slabs), (brim, slabs._replace(light=1.2)), (half, asphalt)
        for near, far in pairwise(np.geomspace(start, 150, 16).tolist()):
            for reach, paint in layers:
                camera.flat((-reach, reach), (near, far), paint)
        for z in range(4, 14):  # joints of the slabs
            for side in (-1, 1):
                camera.flat((side * brim, side * (half + self.pavement)), (z, z + 0.06), _SHADOW)
        self._markings(start)
        for z in rng.uniform(4, 20, rng.integers(0, 3)).tolist():
            reach, depth = self.sunny * rng.uniform(-2, 3), rng.uniform(0.8, 3)
            camera.flat((-9 * self.sunny, reach), (z, z + depth), _SHADOW._replace(opacity=int(rng.integers(50, 120))))

    def _markings(self, start: float) -> None:
        rng, edge, paint = self.rng, self.half_road - 0.45, self._pick(_MARKINGS, LANE_MARKING)
        pitch = 2.4 + rng.choice((0.0, 2.0, 2.6))  # a pitch of one dash is a solid line
        dashes = start - rng.uniform(0, 2) + np.arange(0, 12, pitch)
        marks = [(-0.2, 0.2, max(z, start), z + 2.4) for z in dashes]
        for x in (-edge, edge) if rng.random() < 0.6 else ():
            marks += [(x - 0.2, x + 0.2, z, z + 2) for z in np.arange(start, 11, 2)]
        z = rng.uniform(6, 16)  # of a pedestrian crossing, if it is near enough
        marks += [(x, x + 0.6, z, z + 2.5) for x in np.arange(-edge, edge - 0.3, 1.1) if z < 9]
        for left, right, near, far in marks:
            self.camera.flat((left, right), (near, far), paint)

    def _objects(self) -> list[tuple[float, Callable[[], None]]]:
        """Returns everything upright as (distance, painter); paints its shadows, which lie below all of it, at once."""
        rng, kerb, outer = self.rng, self.half_road + 0.5, self.half_road + self.pavement
        items: list[tuple[float, Callable[[], None]]] = [(200.0, partial(self._backdrop, 60.0))]
        for side in (-1, 1):
            x, near = side * (outer + rng.uniform(0.3, 1.5)), 2.0
            while near < 50:
                far = near * rng.uniform(1.3, 1.8)
                # Whatever is between its ends stands in front of a facade: its far end orders it.
                items.append((far, partial(self._frontage, x, near, far)))
                near = far

        def place(draw: Callable[[float, float], None], x: float, low: float, high: float) -> None:
            z = rng.uniform(low, high)
            while abs(self.camera.column(x, z)) > 0.44 * BASE_SIZE[1]:  # out of the picture
                z *= 1.1
            items.append((z, partial(draw, x, z)))
            self.camera.flat((x, x - 1.2 * self.sunny), (z - 0.1, z + 0.15), _SHADOW)

        kinds = (
            (self._tree, outer - 0.6, outer, 9, 22),
            (self._lamp, kerb, kerb, 6, 9),
            (self._sign, kerb, outer - 0.8, 7, 9),
            (self._pedestrian, 0.6 * kerb, outer, 5, 7.5),
            (self._clutter, outer - 0.4, outer, 8, 14),
        )
        for k, (draw, inner, outmost, low, high) in enumerate(3 * kinds):
            # One of each for sure, on alternating sides, lest they hide one another.
            if k < 4 or rng.random() < 0.2:
                place(draw, (-1) ** k * self.sunny * rng.uniform(inner, outmost), low, high)
        parked, lane = self.half_road - 0.95, self.half_road * 0.42
        slots = (-parked, 6, 9), (parked, 6, 9), (-lane, 11, 22), (lane, 11, 22)
        for slot in rng.permutation(4)[: rng.integers(1, 4)]:
            place(self._car, *slots[slot])
        return items

    def _backdrop(self, z: float) -> None:
        """Closes the street off with trees or a house."""
        paint = self._pick(*((_LEAVES, TREE) if self.rng.random() < 0.5 else (_WALLS, BUILDING)))
        height = self.rng.uniform(3.5, 7)
        self.camera.upright((0, 0, z), z * self.camera.width, height, paint)
        for x in range(-24, 25, 6) if paint.label == TREE else ():
            self._crown((x, 0.9 * height, z), (self.rng.uniform(3, 5), 0.4 * height), 1, paint)

    def _frontage(self, x: float, near: float, far: float) -> None:
        """Paints a house, or trees that reach the ground, along one side of the street."""
        camera, rng, side = self.camera, self.rng, int(math.copysign(1, x))
        if abs(camera.column(x, far)) > camera.width / 2:
            return
        paint = self._pick(*((_LEAVES, TREE) if rng.random() < 0.25 else (_WALLS, BUILDING)))
        paint = paint._replace(light=1.1 if side == self.sunny else 0.8)
        storeys, storey = int(rng.integers(2, 5)), rng.uniform(2.6, 3.4)
        height = rng.uniform(2.5, 5.5) if paint.label == TREE else storeys * storey + 0.6
        reach = near * camera.width  # beyond the edge of the picture
        camera.wall(x, (0, height), (near, far), paint)
        camera.upright((x + side * reach / 2, 0, near), reach, height, paint._replace(light=0.9 * paint.light))
        if paint.label == TREE:
            for z in np.geomspace(far, near, 5).tolist():
                self._crown((x, 0.7 * height, z), (0.12 * z, 0.5 * height), 3, paint)
            return
        pane, bay = self._pick(_PANES), (far - near) / max(1, round((far - near) / rng.uniform(2.4, 3.6)))
        for z in np.arange(near, far - 0.5 * bay, bay).tolist():
            seen = abs(camera.column(x, z) - camera.column(x, z + bay)) > 2.5
            for sill in (0.9 + storey * np.arange(storeys if seen else 0)).tolist():
                glass = pane._replace(light=rng.uniform(0.8, 1.15))
                camera.wall(x, (sill, sill + 1.5), (z + 0.25 * bay, z + 0.75 * bay), glass)

    def _crown(self, center: _Place, radii: _Point, clumps: int, paint: _Paint) -> None:
        """Paints foliage: an ellipse with clumps on it, lit from above and from the sun's side."""
        (x, y, z), (a, b) = center, radii
        self.camera.ellipse(center, radii, paint._replace(light=0.8 * paint.light))
        for angle, far in self.rng.uniform((0, 0.3), (6.28, 0.65), (clumps, 2)).tolist():
            dx, dy = math.cos(angle), math.sin(angle)
            clump = paint._replace(light=paint.light * (0.92 + 0.2 * dy - 0.12 * dx * self.sunny))
            self.camera.ellipse((x + far * a * dx, y + far * b * dy, z), (a / 2, b / 2), clump)

    def _tree(self, x: float, z: float) -> None:
        height, radius = self.rng.uniform(4.2, 6.5), self.rng.uniform(1.3, 2.1)
        self.camera.upright((x, 0, z), max(0.4, 0.03 * z), height - 1, self._pick(((86, 66, 48),), TREE))
        self._crown((x, height - radius, z), (radius, radius), 10, self._pick(_LEAVES, TREE))

    def _lamp(self, x: float, z: float) -> None:
        height, thick, metal = self.rng.uniform(4.5, 7), 0.05 * z, self._pick(_METALS, POLE)
        self.camera.upright((x, 0, z), thick, height, metal)
        self.camera.upright((x - math.copysign(0.6, x), height - thick, z), 1.2, thick, metal)

    def _sign(self, x: float, z: float) -> None:
        rng, camera, board = self.rng, self.camera, self._pick(_SIGNS, SIGN)
        radius, top, shape = rng.uniform(0.65, 0.8), rng.uniform(2.4, 3), rng.integers(3)
        self.camera.upright((x, 0, z), 0.05 * z, top, self._pick(_METALS, POLE))
        for r, paint in ((radius, board), (0.45 * radius, _Paint(_WHITE))):
            if shape == 0:
                camera.ellipse((x, top, z), (r, r), paint)
            elif shape == 1:
                camera.upright((x, top - r, z), 2 * r, 2 * r, paint)
            else:
                camera.fill(((x - r, top - r, z), (x + r, top - r, z), (x, top + r, z)), paint)

    def _pedestrian(self, x: float, z: float) -> None:
        camera, tall, wide = self.camera, self.rng.uniform(1.65, 1.9), self.rng.uniform(0.7, 0.85)
        camera.upright((x, 0, z), 0.8 * wide, 0.5 * tall, self._pick(_TROUSERS, PEDESTRIAN))
        camera.upright((x, 0, z), 0.12 * wide, 0.35 * tall, _Paint(_RUBBER))
        camera.upright((x, 0.45 * tall, z), wide, 0.38 * tall, self._pick(_CLOTHES, PEDESTRIAN))
        camera.ellipse((x, 0.9 * tall, z), (0.09 * tall, 0.11 * tall), self._pick(_SKIN, PEDESTRIAN))

    def _clutter(self, x: float, z: float) -> None:
        """Paints a crate or a hoarding, which has no label."""
        self.camera.upright((x, 0, z), self.rng.uniform(0.7, 1.6), self.rng.uniform(0.9, 1.4), self._pick(_WALLS, VOID))

    def _car(self, x: float, z: float) -> None:
        camera, rng, paint = self.camera, self.rng, self._pick(_BODIES, CAR)
        half, length, belt = rng.uniform(0.85, 0.95), rng.uniform(3.8, 4.6), rng.uniform(0.85, 1)
        left, right, back, roof = x - half, x + half, z + length, rng.uniform(1.4, 1.75)
        glass, rubber = _Paint(_GLASS, CAR), _Paint(_RUBBER, CAR)
        camera.flat((left - 0.2, right + 0.2), (z - 0.3, back), _SHADOW._replace(opacity=150))
        flank = self._box((left, right), (0.2, belt), (z, back), 0, (paint, paint, paint))
        for wheel in (z + 0.2 * length, z + 0.8 * length):
            camera.wall(flank, (0, 0.6), (wheel - 0.3, wheel + 0.3), rubber)
        self._box((left + 0.1, right - 0.1), (belt, roof), (z + 0.6, back - 0.6), 0.12, (glass, paint, glass))
        for side in (-1, 1):
            camera.upright((x + side * (half - 0.14), 0, z), 0.26, 0.25, rubber)
            lamp = _Paint((250, 240, 200) if x < 0 else (220, 40, 30))
            camera.upright((x + side * (half - 0.22), belt - 0.35, z), 0.3, 0.2, lamp)

    def _box(self, x: _Point, y: _Point, z: _Point, taper: float, paints: Sequence[_Paint]) -> float:
        """Paints the flank, top and front of a box that narrows upwards; returns the flank's x."""
        (left, right), (low, high), (near, far) = x, y, z
        # The left flank is seen where its far edge is to the left of its near edge.
        leftward = self.camera.column(left, far) < self.camera.column(left, near)
        flank, ridge = (left, left + taper) if leftward else (right, right - taper)
        a, b, c, d = left + taper, right - taper, near + 3 * taper, far - 3 * taper
        side = (flank, low, near), (flank, low, far), (ridge, high, d), (ridge, high, c)
        lid = (a, high, c), (b, high, c), (b, high, d), (a, high, d)
        front = (left, low, near), (right, low, near), (b, high, c), (a, high, c)
        sunlit = 1.05 if leftward == (self.sunny > 0) else 0.75
        for face, paint, light in zip((side, lid, front), paints, (sunlit, 1.15, 0.95), strict=True):
            self.camera.fill(face, paint._replace(light=light))
        return flank
