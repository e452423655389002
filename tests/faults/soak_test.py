"""Twenty SIGKILLs, and the other faults between them."""

import pytest

from tests.faults import soak


@pytest.mark.slow
def test_soak_finds_no_fault_that_changes_the_end_of_a_run(tmp_path):
    result = soak.run(tmp_path, minutes=0, kills=20, seed=1)
    assert result.kills >= 20
    assert result.done[soak.FINISHED] >= 1
