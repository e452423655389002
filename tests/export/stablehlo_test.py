import numpy as np
import pytest
from jax import export

from segnet_jax.export.check import agreement
from segnet_jax.export.stablehlo import load_stablehlo, to_stablehlo
from tests.helpers.exported import make_program


@pytest.mark.parametrize("name", ["segnet_flat", "fcn_basic"])
def test_to_stablehlo_computes_the_logits_at_three_sizes_after_deserialisation(name):
    program = make_program(name)
    exported, smallest = to_stablehlo(program)
    found = agreement(program, load_stablehlo(exported), smallest)
    assert found.difference < 2e-5 and found.equal == 1 and smallest == 1


def test_to_stablehlo_is_for_every_platform_and_keeps_its_types():
    exported, _ = to_stablehlo(make_program("segnet_flat", pairs=1, output="labels"))
    read = export.deserialize(bytearray(exported))
    assert read.platforms == ("cpu", "cuda", "tpu")
    assert [str(aval) for aval in read.in_avals + read.out_avals] == ["uint8[n,h,w,3]", "uint8[n,h,w]"]
    assert np.asarray(read.call(np.zeros((1, 5, 6, 3), np.uint8))).shape == (1, 5, 6)
