"""Twenty SIGKILLs, and the other faults between them."""

import pytest

from tests.faults import soak


@pytest.mark.slow
def test_soak_finds_no_fault_that_changes_the_end_of_a_run(tmp_path, capsys):
    result = soak.run(tmp_path, minutes=0, kills=20, seed=1)
    assert result.faults == [], capsys.readouterr().err
    assert result.kills >= 20
    assert result.finished >= 1
    assert f"{result.finished:5}  runs finished and compared" in result.table()
