"""Tests for segnet_jax/evaluation/picture_choice.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segnet_jax.evaluation.picture_choice import PictureChoice
from segnet_jax.evaluation.result import Picture


def shown(number, scores, *, by_score, order=None):
    """Returns the numbers of the images that are shown of a split with these scores."""
    choice = PictureChoice(number, len(scores), by_score=by_score)
    for index in order or range(len(scores)):
        if choice.wants(index):
            choice.add(index, Picture(np.full((1, 1, 3), index), None, None), scores[index])
    return [int(picture.image[0, 0, 0]) for picture in choice.gather()]


@pytest.mark.parametrize(
    ("number", "by_place", "by_score"),
    [(0, [], []), (1, [0], [1]), (2, [0, 6], [1, 3]), (3, [0, 3, 6], [1, 5, 3]), (9, [*range(7)], [1, 5, 4, 0, 6, 3])],
)
def test_picture_choice_by_hand(number, by_place, by_score):
    scores = [0.5, 0.9, None, 0.1, 0.7, 0.9, 0.3]
    assert shown(number, scores, by_score=False) == by_place
    assert shown(number, scores, by_score=True) == by_score


@given(
    scores=st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=20),
    number=st.integers(0, 8),
    order=st.randoms(use_true_random=False),
)
def test_picture_choice_does_not_depend_on_the_order_of_the_images(scores, number, order):
    indices = [*range(len(scores))]
    order.shuffle(indices)
    ranked = sorted((i for i, score in enumerate(scores) if score is not None), key=lambda i: (-scores[i], i))
    worst = number // 2
    expected = ranked if len(ranked) <= number else ranked[: number - worst] + ranked[len(ranked) - worst :]
    assert shown(number, scores, by_score=True, order=indices) == expected
