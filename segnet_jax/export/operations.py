"""Operations of JAX as ONNX writes them, one by one.

Images are stored as [N, C, H, W], as ONNX wants them, and what multiplies or shifts the channels of a convolution's
result, such as BatchNorm, joins its kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import helper

from segnet_jax.errors import InputError
from segnet_jax.export.graph import Graph
from segnet_jax.export.lengths import Lengths
from segnet_jax.export.pooling import lowest
from segnet_jax.export.values import (
    STORED,
    Convolution,
    Value,
    array_name,
    name_of,
    stored_axis,
    to_logical,
    to_stored,
)

_BOOLEAN = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not")


class Operations:
    """Writes operations into a graph: a method for each of those that are not elementwise, by JAX's name for it.

    Args:
      graph: that is written into.
      images: the name of the graph's images.
    """

    def __init__(self, graph: Graph, images: str) -> None:
        """Writes nothing yet."""
        self._graph, self._lengths = graph, Lengths(graph, images)

    def name(self, value: Any) -> str:
        """Returns the name of a value or an array, as it is stored."""
        return name_of(self._graph, value) if isinstance(value, Value) else array_name(self._graph, value)

    def logical_name(self, value: Value) -> str:
        """Returns the name of a value in the order of its axes."""
        return to_logical(self._graph, self.name(value), value.rank)

    def cast(self, value: Value, dtype: Any) -> Value:
        """Returns the value as another type."""
        if value.dtype == dtype:
            return value
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return Value(self._graph.add("Cast", self.name(value), to=to), np.dtype(dtype), value.rank, value.full)

    def elementwise(self, operator: str, inputs: Sequence[Any], result: Any) -> Value:
        """Writes an operator of ONNX on values and arrays that broadcast to the shape of `result`."""
        if (joined := _joined(operator, inputs)) is not None:
            return joined
        values = [x for x in inputs if isinstance(x, Value)]
        # float16 beside float32: the network beside what sizes alone determine.
        dtype = min((x.dtype for x in values), key=lambda dtype: dtype.itemsize, default=np.dtype(result.dtype))
        names = [
            self.name(self.cast(x, dtype)) if isinstance(x, Value) else array_name(self._graph, x, dtype)
            for x in inputs
        ]
        if operator == "Max" and isinstance(inputs[1], np.ndarray) and inputs[1].ndim == 0 and inputs[1] == 0:
            operator, names = "Relu", names[:1]
        full = any(x.full and x.rank == len(result.shape) for x in values)
        dtype = np.dtype(bool) if operator in _BOOLEAN else dtype
        return Value(self._graph.add(operator, *names), dtype, len(result.shape), full)

    def _full(self, value: Any, aval: Any) -> Value:
        """Returns a value in its whole shape."""
        if isinstance(value, Value) and value.full:
            return value
        shape = [aval.shape[axis] for axis in STORED] if len(aval.shape) == 4 else aval.shape
        dtype = value.dtype if isinstance(value, Value) else np.dtype(aval.dtype)
        return Value(self._graph.add("Expand", self.name(value), self._lengths(shape)), dtype, len(aval.shape))

    def _moved(self, operator: str, x: Value, rank: int, *inputs: str, **attributes: Any) -> Value:
        """Applies an operator to the axes in their own order."""
        result = self._graph.add(operator, self.logical_name(x), *inputs, **attributes)
        return Value(to_stored(self._graph, result, rank), x.dtype, rank, x.full)

    # One operation of JAX each: inputs, their traced types, the result's, and JAX's parameters.

    def _write_ne(self, inputs: list[Any], avals: list[Any], result: Any, **_: Any) -> Value:
        if inputs[0] is inputs[1]:  # JAX's test for NaN, which some runtimes would take for never true
            x = inputs[0]
            return Value(self._graph.add("IsNaN", self.name(x)), np.dtype(bool), x.rank, x.full)
        equal = self.elementwise("Equal", inputs, result)
        return Value(self._graph.add("Not", self.name(equal)), equal.dtype, equal.rank, equal.full)

    def _write_rsqrt(self, inputs: list[Any], avals: list[Any], result: Any, **_: Any) -> Value:
        root = self.elementwise("Sqrt", inputs, result)
        return Value(self._graph.add("Reciprocal", self.name(root)), root.dtype, root.rank, root.full)

    def _write_square(self, inputs: list[Any], avals: list[Any], result: Any, **_: Any) -> Value:
        return self.elementwise("Mul", [inputs[0], inputs[0]], result)

    def _write_integer_pow(self, inputs: list[Any], avals: list[Any], result: Any, *, y: int) -> Value:
        return self.elementwise("Pow", [inputs[0], np.asarray(y, np.float32)], result)

    def _write_select_n(self, inputs: list[Any], avals: list[Any], result: Any) -> Value:
        where, no, yes = inputs
        both = [x for x in (yes, no) if isinstance(x, Value)]
        dtype = min((x.dtype for x in both), key=lambda dtype: dtype.itemsize, default=np.dtype(result.dtype))
        names = [
            self.name(self.cast(x, dtype)) if isinstance(x, Value) else array_name(self._graph, x, dtype)
            for x in (yes, no)
        ]
        rank = len(result.shape)
        full = any(isinstance(x, Value) and x.full and x.rank == rank for x in inputs)
        return Value(self._graph.add("Where", self.name(where), *names), dtype, rank, full)

    def _write_convert_element_type(
        self, inputs: list[Any], avals: list[Any], result: Any, *, new_dtype: Any, **_: Any
    ) -> Value:
        x, new = inputs[0], np.dtype(new_dtype)
        if x.dtype.kind == new.kind == "f":
            return x  # whether float16 or float32 is the export's choice
        return self.cast(x, new)

    def _write_broadcast_in_dim(
        self, inputs: list[Any], avals: list[Any], result: Any, *, broadcast_dimensions: Sequence[int], **_: Any
    ) -> Any:
        x, before, rank = inputs[0], avals[0].shape, len(result.shape)
        grows = rank > len(before) or tuple(map(str, before)) != tuple(map(str, result.shape))
        if not isinstance(x, Value):
            lengths = [1] * rank
            for axis, length in zip(broadcast_dimensions, x.shape, strict=True):
                lengths[axis] = length
            return x.reshape(lengths)
        missing = [axis for axis in range(rank) if axis not in broadcast_dimensions]
        full = x.full and all(str(result.shape[axis]) == "1" for axis in missing) and (bool(missing) or not grows)
        if not before or not missing:
            return Value(x.source, x.dtype, rank, full)
        kept = [stored_axis(axis, rank) for axis in broadcast_dimensions]
        if x.rank != 4 and kept == sorted(kept):
            axes = self._graph.ints(*sorted(stored_axis(axis, rank) for axis in missing))
            return Value(self._graph.add("Unsqueeze", self.name(x), axes), x.dtype, rank, full)
        return Value(self._moved("Unsqueeze", x, rank, self._graph.ints(*missing)).source, x.dtype, rank, full)

    def _write_reshape(self, inputs: list[Any], avals: list[Any], result: Any, *, new_sizes: Any, **_: Any) -> Value:
        return self._moved("Reshape", self._full(inputs[0], avals[0]), len(new_sizes), self._lengths(new_sizes))

    def _write_squeeze(self, inputs: list[Any], avals: list[Any], result: Any, *, dimensions: Any) -> Value:
        return self._moved("Squeeze", inputs[0], len(result.shape), self._graph.ints(*dimensions))

    def _write_transpose(self, inputs: list[Any], avals: list[Any], result: Any, *, permutation: Any) -> Value:
        rank = len(permutation)
        order = [stored_axis(permutation[axis], rank) for axis in (STORED if rank == 4 else range(rank))]
        x = self._full(inputs[0], avals[0])
        return Value(self._graph.add("Transpose", self.name(x), perm=order), x.dtype, rank)

    def _write_concatenate(self, inputs: list[Any], avals: list[Any], result: Any, *, dimension: int) -> Value:
        values = [self._full(x, aval) for x, aval in zip(inputs, avals, strict=True)]
        rank = len(result.shape)
        names = [self.name(x) for x in values]
        return Value(self._graph.add("Concat", *names, axis=stored_axis(dimension, rank)), values[0].dtype, rank)

    def _write_pad(self, inputs: list[Any], avals: list[Any], result: Any, *, padding_config: Any) -> Value:
        if any(interior for _, _, interior in padding_config):
            raise InputError("Padding between the pixels of an image cannot be exported to ONNX.")
        x = self._full(inputs[0], avals[0])
        return self._padded(x, [(low, high) for low, high, _ in padding_config], float(inputs[1]))

    def _padded(self, x: Value, borders: Sequence[tuple[Any, Any]], value: float) -> Value:
        """Writes borders, of which negative ones crop, given for the axes in their own order."""
        order = STORED if x.rank == 4 else range(x.rank)
        pads = [borders[axis][end] for end in (0, 1) for axis in order]
        name = self._graph.add("Pad", self.name(x), self._lengths(pads), self._graph.constant(value, x.dtype))
        return Value(name, x.dtype, x.rank)

    def _write_slice(
        self, inputs: list[Any], avals: list[Any], result: Any, *, start_indices: Any, limit_indices: Any, strides: Any
    ) -> Value:
        x = self._full(inputs[0], avals[0])
        return self._sliced(x, avals[0].shape, start_indices, limit_indices, strides or (1,) * x.rank)

    def _sliced(self, x: Value, shape: Any, starts: Any, ends: Any, strides: Any) -> Value:
        axes = [
            axis
            for axis in range(x.rank)
            if (str(starts[axis]), str(ends[axis]), strides[axis]) != ("0", str(shape[axis]), 1)
        ]
        if not axes:
            return x
        bounds = [self._lengths([values[axis] for axis in axes]) for values in (starts, ends)]
        where = self._graph.ints(*(stored_axis(axis, x.rank) for axis in axes))
        steps = self._graph.ints(*(strides[axis] for axis in axes))
        return Value(self._graph.add("Slice", self.name(x), *bounds, where, steps), x.dtype, x.rank)

    def _write_gather(
        self, inputs: list[Any], avals: list[Any], result: Any, *, dimension_numbers: Any, slice_sizes: Any, **_: Any
    ) -> Value:
        x, indices = self._full(inputs[0], avals[0]), inputs[1]
        gathered, collapsed = dimension_numbers.start_index_map, dimension_numbers.collapsed_slice_dims
        if isinstance(indices, np.ndarray) and indices.ndim == 1 and not collapsed:
            # A part of the array, which begins where the indices say.
            starts = [0] * x.rank
            for axis, start in zip(gathered, indices.tolist(), strict=True):
                starts[axis] = start
            ends = [start + size for start, size in zip(starts, slice_sizes, strict=True)]
            return self._sliced(x, avals[0].shape, starts, ends, (1,) * x.rank)
        last = (x.rank - 1,)
        if isinstance(indices, np.ndarray) and indices.shape[1:] == (1,) and gathered == collapsed == last:
            # Some of the channels, in another order.
            order = self._graph.ints(*indices[:, 0].tolist())
            axis = stored_axis(last[0], x.rank)
            return Value(self._graph.add("Gather", self.name(x), order, axis=axis), x.dtype, x.rank)
        raise InputError("The network reads values at computed places, which cannot be exported to ONNX.")

    def _write_rev(self, inputs: list[Any], avals: list[Any], result: Any, *, dimensions: Any) -> Value:
        x = self._full(inputs[0], avals[0])
        axes = [stored_axis(axis, x.rank) for axis in dimensions]
        bounds = [self._graph.ints(*[number] * len(axes)) for number in (-1, np.iinfo(np.int64).min)]
        steps = self._graph.ints(*[-1] * len(axes))
        return Value(self._graph.add("Slice", self.name(x), *bounds, self._graph.ints(*axes), steps), x.dtype, x.rank)

    def _write_iota(
        self, inputs: list[Any], avals: list[Any], result: Any, *, dtype: Any, shape: Any, dimension: int, **_: Any
    ) -> Value:
        end = self._graph.add("Squeeze", self._lengths([shape[dimension]]))
        numbers = self._graph.add("Range", self._graph.constant(0, np.int64), end, self._graph.constant(1, np.int64))
        value = self.cast(Value(numbers, np.dtype(np.int64), 1), dtype)
        if len(shape) == 1:
            return value
        missing = self._graph.ints(*(axis for axis in range(len(shape)) if axis != dimension))
        name = self._graph.add("Unsqueeze", self.name(value), missing)
        return Value(to_stored(self._graph, name, len(shape)), value.dtype, len(shape), full=False)

    def _write_dim_as_value(self, inputs: list[Any], avals: list[Any], result: Any, *, dim: Any) -> Value:
        name = self._graph.add("Squeeze", self._lengths([dim]))
        return self.cast(Value(name, np.dtype(np.int64), 0), result.dtype)

    def _write_conv_general_dilated(
        self,
        inputs: list[Any],
        avals: list[Any],
        result: Any,
        *,
        window_strides: Any,
        padding: Any,
        lhs_dilation: Any,
        rhs_dilation: Any,
        dimension_numbers: Any,
        feature_group_count: int,
        batch_group_count: int,
        **_: Any,
    ) -> Value:
        x, kernel = self._full(inputs[0], avals[0]), inputs[1]
        usual = tuple(dimension_numbers) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        if not (usual and isinstance(kernel, np.ndarray) and set(lhs_dilation) == {1} and batch_group_count == 1):
            raise InputError("The network has a convolution of a kind that cannot be exported to ONNX.")
        x, pads = self._with_borders(x, padding, 0.0)
        attributes = {
            "kernel_shape": list(kernel.shape[:2]),
            "pads": pads,
            "strides": list(window_strides),
            "dilations": list(rhs_dilation),
            "group": feature_group_count,
        }
        convolution = Convolution(self.name(x), kernel, np.zeros(kernel.shape[-1], kernel.dtype), attributes)
        return Value(convolution, x.dtype, 4)

    def _with_borders(self, x: Value, borders: Any, value: float) -> tuple[Value, list[int]]:
        """Returns the image, and the borders that an operator can add by itself: top, left, bottom, right."""
        if all(isinstance(length, int) and length >= 0 for border in borders for length in border):
            return x, [borders[axis][end] for end in (0, 1) for axis in (0, 1)]
        return self._padded(x, [(0, 0), *borders, (0, 0)], value), [0, 0, 0, 0]

    def _write_reduce_window_max(
        self, inputs: list[Any], avals: list[Any], result: Any, *, padding: Any, **params: Any
    ) -> Value:
        x, pads = self._with_borders(self._full(inputs[0], avals[0]), padding[1:3], lowest(inputs[0].dtype))
        return Value(self._graph.add("MaxPool", self.name(x), pads=pads, **_window(params)), x.dtype, 4)

    def _write_reduce_window_sum(
        self, inputs: list[Any], avals: list[Any], result: Any, *, padding: Any, **params: Any
    ) -> Value:
        x, pads = self._with_borders(self._full(inputs[0], avals[0]), padding[1:3], 0.0)
        window = _window(params)
        mean = self._graph.add("AveragePool", self.name(x), pads=pads, count_include_pad=1, **window)
        count = self._graph.constant(np.prod(window["kernel_shape"]), x.dtype)
        return Value(self._graph.add("Mul", mean, count), x.dtype, 4)

    def _write_reduce_sum(self, inputs: list[Any], avals: list[Any], result: Any, *, axes: Any, **_: Any) -> Value:
        return self._reduced("ReduceSum", self._full(inputs[0], avals[0]), axes)

    def _write_reduce_max(self, inputs: list[Any], avals: list[Any], result: Any, *, axes: Any, **_: Any) -> Value:
        return self._reduced("ReduceMax", self._full(inputs[0], avals[0]), axes)

    def _reduced(self, operator: str, x: Value, axes: Sequence[int]) -> Value:
        rank = x.rank - len(axes)
        if x.rank == 4 and tuple(axes) != (1, 2) and tuple(axes) != (3,):
            raise InputError("The network adds up over axes in a way that cannot be exported to ONNX.")
        where = [stored_axis(axis, x.rank) for axis in axes]
        # Up to opset 17 these differ in how they take their axes.
        if operator == "ReduceSum":
            name = self._graph.add(operator, self.name(x), self._graph.ints(*where), keepdims=0)
        else:
            name = self._graph.add(operator, self.name(x), axes=where, keepdims=0)
        return Value(name, x.dtype, rank)

    def _write_argmax(self, inputs: list[Any], avals: list[Any], result: Any, *, axes: Any, index_dtype: Any) -> Value:
        x = self._full(inputs[0], avals[0])
        name = self._graph.add("ArgMax", self.name(x), axis=stored_axis(axes[0], x.rank), keepdims=0)
        return self.cast(Value(name, np.dtype(np.int64), x.rank - 1), index_dtype)

    def _write_dot_general(
        self, inputs: list[Any], avals: list[Any], result: Any, *, dimension_numbers: Any, **_: Any
    ) -> Value:
        (contracted, batches) = dimension_numbers
        letters = iter("abcdefghijklmnopqrstuvwxyz")
        labels: list[list[str]] = [[""] * len(aval.shape) for aval in avals]
        for pairs in (batches, contracted):
            for left, right in zip(*pairs, strict=True):
                labels[0][left] = labels[1][right] = next(letters)
        batch = [labels[0][axis] for axis in batches[0]]
        free = []
        for side in labels:
            for axis, label in enumerate(side):
                if not label:
                    side[axis] = next(letters)
                    free.append(side[axis])
        values = [self._full(x, aval) for x, aval in zip(inputs, avals, strict=True)]
        dtype = min((x.dtype for x in values), key=lambda dtype: dtype.itemsize)
        terms = ["".join(_as_stored(side)) for side in (*labels, batch + free)]
        names = [self.name(self.cast(x, dtype)) for x in values]
        name = self._graph.add("Einsum", *names, equation=f"{terms[0]},{terms[1]}->{terms[2]}")
        return Value(name, dtype, len(result.shape))


def _window(params: dict[str, Any]) -> dict[str, Any]:
    """Returns the attributes of ONNX's pooling of JAX's window over an image."""
    return {
        "kernel_shape": list(params["window_dimensions"][1:3]),
        "strides": list(params["window_strides"][1:3]),
    }


def _as_stored(labels: Sequence[str]) -> Sequence[str]:
    return [labels[axis] for axis in STORED] if len(labels) == 4 else labels


def _joined(operator: str, inputs: Sequence[Any]) -> Value | None:
    """Returns the convolution that computes a convolution's result times, plus or minus a number for each channel."""
    if operator not in ("Add", "Mul", "Sub") or len(inputs) != 2:
        return None
    x, other = inputs
    if operator != "Sub" and isinstance(other, Value):
        x, other = other, x
    if not (isinstance(x, Value) and isinstance(x.source, Convolution) and isinstance(other, np.ndarray)):
        return None
    if other.ndim and other.size != other.shape[-1]:
        return None
    number, before = other.reshape(-1), x.source
    if operator == "Mul":
        changed = before.kernel * number, before.bias * number
    else:
        changed = before.kernel, before.bias + number if operator == "Add" else before.bias - number
    return Value(Convolution(before.image, *changed, before.attributes), x.dtype, x.rank, x.full)
