"""Rates of u and v, and where they start, for a training of a given length.

What Section 3's alpha = -log(gamma) / (2 lambda) becomes in stochastic descent
(docs/theory.md): lambda is how much residual a label must gather before s takes it up,
and an example gathers some each time it is visited, once an epoch. Of a label that the
network gives the probability p_y, u grows per visit by the factor

    1 + 2 alpha_u / B (1 / p_y - 1),

which is 1 + c with c = 2 alpha_u (K - 1) / B where the network knows nothing,
p_y = 1 / K; v_j grows by 1 + 4 alpha_v / B where it predicts j. From
gamma = `init_std`, the label of such an example is given up after

    m = -log(gamma) / log(1 + c)    visits.

By then the network must have learnt the clean labels from the others; later, it begins
to fit the wrong ones. In short trainings on digits and CIFAR-10, m from 5 to 8 did
best, whatever alpha and gamma made it so; Table A.1's 10 and 1e-8 are m = 21
(docs/theory.md).
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

from sop_keras.validation import check_integer, check_number

# Chosen by short trainings on digits and CIFAR-10: docs/theory.md.
_VISITS = 7.0  # m
_SHARE = 0.7  # of the visits: the most that m is
_LARGEST_GROWTH = 2.8125  # c: alpha_u = 10 for 10 classes in batches of 64
# Of 60 and 90 steps on the digits, right labels were given up; of 210, none.
_FEWEST_STEPS = 200
_INIT_STD = (1e-8, 1e-2)  # the paper's; and where s would be seen in the loss at once


class UVRates(NamedTuple):
    """What `suggest_uv_rates` proposes.

    Args:
        u_learning_rate: alpha_u, for `SOPModel.compile(u_optimizer=...)`.
        v_learning_rate: alpha_v, for `v_optimizer`.
        init_std: for `SOPModel(init_std=...)`.
    """

    u_learning_rate: float
    v_learning_rate: float
    init_std: float


def visits_until_given_up(
    u_learning_rate: float, init_std: float, batch_size: int, num_classes: int
) -> float:
    """How many visits it takes to give up a label that the network knows nothing of.

    Args:
        u_learning_rate: alpha_u, not negative.
        init_std: where u starts, below 1.
        batch_size: the whole batch's, of all replicas.
        num_classes: at least 2.

    Returns:
        m, as the module says; infinite where u never moves.
    """
    growth = 2 * u_learning_rate * (num_classes - 1) / batch_size
    if not (growth > 0 and init_std > 0):
        return math.inf
    return -math.log(init_std) / math.log1p(growth)


def suggest_uv_rates(
    epochs: float,
    batch_size: int,
    num_classes: int,
    init_std: float | None = None,
    num_examples: int | None = None,
) -> UVRates:
    """Propose alpha_u, alpha_v and init_std.

    A label that the network knows nothing of is given up after 7 visits; after
    sqrt(epochs) in trainings of more than 49 epochs, which have time to learn what is
    hard, and 0.7 epochs in those of less than 10. In less than 5 epochs there is no
    time for that: `init_std` is 1e-2, no larger, and it takes 3.4 visits. The rates
    grow with the batch, as gradients are those of its mean, and alpha_u shrinks with
    the number of classes.

    Measured for 10 classes, batches of 64 and symmetric noise of 40%, up to 100 epochs
    (docs/theory.md); the rest is the theory's word. To reproduce the paper, take its
    Table A.1.

    Args:
        epochs: how often each example is visited, at least 1.
        batch_size: the whole batch's, of all replicas.
        num_classes: at least 2.
        init_std: where u and v start, if that is decided, between 0 and 1; the rates
            are then those that belong to it, but no larger than is stable: from the
            paper's 1e-8 it takes 13.8 visits. Defaults to `None`: proposed, too.
        num_examples: N, for a warning where no constant rates will do. Defaults to
            `None`: without it.

    Warns:
        Where `num_examples` and `batch_size` leave fewer than 200 steps of the network:
        labels would be given up before it has learnt them.

    Raises:
        ValueError: for other numbers.

    Example:
    ```python
    rates = suggest_uv_rates(epochs=30, batch_size=128, num_classes=10)
    model = SOPModel(backbone, 50_000, 10, init_std=rates.init_std)
    model.compile(
        keras.optimizers.SGD(0.02, momentum=0.9),
        u_optimizer=rates.u_learning_rate,
        v_optimizer=rates.v_learning_rate,
    )
    ```
    """
    meaning = "how often each example is visited"
    epochs = check_number("epochs", epochs, least=1, meaning=meaning)
    batch_size = check_integer("batch_size", batch_size, 1)
    num_classes = check_integer("num_classes", num_classes, 2)
    if num_examples is not None:
        _check_steps(epochs, batch_size, check_integer("num_examples", num_examples, 1))
    visits = min(max(_VISITS, math.sqrt(epochs)), _SHARE * epochs)
    growth = _LARGEST_GROWTH
    if init_std is None:
        least, largest = _INIT_STD
        init_std = min((1 + growth) ** -visits, largest)
        if init_std < least:
            init_std = least
            growth = init_std ** (-1 / visits) - 1
        init_std = _rounded(init_std)
    elif not 0 < init_std < 1:
        raise ValueError(
            "`init_std` must be between 0 and 1, or None for a proposal. Received: "
            f"init_std={init_std!r}."
        )
    else:
        growth = min(growth, math.expm1(min(-math.log(init_std) / visits, 700)))
    return UVRates(
        u_learning_rate=_rounded(growth * batch_size / (2 * (num_classes - 1))),
        # As alpha_u for 10 classes: v's growth does not depend on their number.
        v_learning_rate=_rounded(growth * batch_size / 18),
        init_std=init_std,
    )


def _check_steps(epochs: float, batch_size: int, num_examples: int) -> None:
    steps = epochs * math.ceil(num_examples / batch_size)
    if steps < _FEWEST_STEPS:
        warnings.warn(
            f"{epochs:g} epochs of {num_examples} examples in batches of {batch_size} "
            f"are {steps:.0f} steps, fewer than the {_FEWEST_STEPS} that a network "
            "needs to have learnt anything when labels are given up: no constant rates "
            'will do. Leave them "auto", train for more epochs, or in smaller batches.',
            stacklevel=3,
        )


def _rounded(value: float) -> float:
    """To three digits, which is more than a proposal knows."""
    return float(f"{value:.3g}")
