"""Tests for segnet_jax/training/objective.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.data.class_table import VOID
from segnet_jax.errors import InputError
from segnet_jax.training import losses, overlap_losses
from segnet_jax.training.objective import Objective, parse_terms

WEIGHTS = jnp.asarray([0.5, 2.0, 3.0])
LABELS = np.array([[[0, 1], [2, VOID]], [[VOID, VOID], [VOID, VOID]], [[1, 1], [1, 1]]], np.uint8)
LOGITS = np.random.default_rng(0).normal(size=(*LABELS.shape, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("cross_entropy", (("cross_entropy", 1.0),)),
        ("lovasz", (("lovasz", 1.0),)),
        ("cross_entropy + 0.5 lovasz", (("cross_entropy", 1.0), ("lovasz", 0.5))),
        (" 2 dice+1e-1 focal ", (("dice", 2.0), ("focal", 0.1))),
    ],
)
def test_parse_terms(text, terms):
    assert parse_terms(text) == terms


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("", "''"),
        ("cross_entropy +", "''"),
        ("jaccard", "'jaccard'"),
        ("dice + half lovasz", "'half lovasz'"),
        ("0 dice", "'0 dice'"),
        ("-1 dice", "'-1 dice'"),
        ("nan dice", "'nan dice'"),
        ("inf dice", "'inf dice'"),
        ("2", "'2'"),
        ("0.5 * lovasz", r"'0.5 \* lovasz'"),
    ],
)
def test_parse_terms_refuses_a_term_by_its_text(text, term):
    with pytest.raises(InputError, match=f"^loss.name=.* has the term {term}; write a sum of cross_entropy, "):
        parse_terms(text)


@pytest.mark.parametrize(("normalization", "divisor"), [("pixels", 7), ("weights", 13.5)])
def test_objective_divides_each_term_by_what_it_counts(normalization, divisor):
    terms = (("cross_entropy", 1.0), ("focal", 0.25), ("dice", 2.0), ("lovasz", 0.5))
    objective = Objective(WEIGHTS, terms, normalization, label_smoothing=0.1, focal_gamma=3.0)
    counts = objective.counts(LABELS)
    assert [float(count) for count in counts] == [divisor, divisor, 2, 2]  # one image has no label

    def expected(logits):
        return (
            losses.cross_entropy(logits, LABELS, WEIGHTS, 0.1) / divisor
            + 0.25 * losses.focal(logits, LABELS, WEIGHTS, 3.0) / divisor
            + 2 * overlap_losses.dice(logits, LABELS) / 2
            + 0.5 * overlap_losses.lovasz(logits, LABELS) / 2
        )

    found, wanted = jax.jit(lambda logits: (objective(logits, LABELS, counts), expected(logits)))(LOGITS)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_objective_of_parts_adds_up_to_the_whole():
    objective = Objective(WEIGHTS, (("cross_entropy", 1.0), ("lovasz", 0.5)))
    counts = objective.counts(LABELS)
    parts = [jax.jit(objective)(LOGITS[i : i + 1], LABELS[i : i + 1], counts) for i in range(3)]
    np.testing.assert_allclose(sum(parts), jax.jit(objective)(LOGITS, LABELS, counts), rtol=1e-6)


def test_objective_without_a_label_is_zero():
    objective = Objective(WEIGHTS, (("cross_entropy", 1.0), ("dice", 1.0)))
    labels = np.full_like(LABELS, VOID)
    assert objective(LOGITS, labels, objective.counts(labels)) == 0
