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
to fit the wrong ones. On digits and CIFAR-10, m = 7 was best, whatever alpha and gamma
made it so; Table A.1's 10 and 1e-8 are m = 21 (docs/theory.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sop_keras.sop.arguments import check_integer

# Chosen by short trainings on digits and CIFAR-10: docs/theory.md.
_VISITS = 7.0  # m
_SHARE = 0.7  # of the visits: the most that m is
_LARGEST_GROWTH = 2.8125  # c: alpha_u = 10 for 10 classes in batches of 64
_INIT_STD = (1e-8, 1e-2)  # the paper's; and where s would be seen in the loss at once


class NoiseRates(NamedTuple):
    """What `suggest_noise_rates` proposes.

    Args:
        u_learning_rate: alpha_u, for `SOPModel.compile(u_optimizer=...)`.
        v_learning_rate: alpha_v, for `v_optimizer`.
        init_std: for `SOPModel(init_std=...)`.
    """

    u_learning_rate: float
    v_learning_rate: float
    init_std: float


def suggest_noise_rates(
    epochs: float,
    batch_size: int,
    num_classes: int,
    init_std: float | None = None,
) -> NoiseRates:
    """Propose alpha_u, alpha_v and init_std.

    A label that the network knows nothing of is given up after 7 visits; after
    sqrt(epochs) in trainings of more than 49 epochs, which have time to learn what is
    hard, and 0.7 epochs in those of less than 10. The rates grow with the batch, as
    gradients are those of its mean, and alpha_u shrinks with the number of classes. To
    reproduce the paper, take its Table A.1.

    Args:
        epochs: how often each example is visited, at least 1.
        batch_size: the whole batch's, of all replicas.
        num_classes: at least 2.
        init_std: where u and v start, if that is decided, between 0 and 1; the rates
            are then those that belong to it. Defaults to `None`: proposed, too.

    Raises:
        ValueError: for other numbers.

    Example:
    ```python
    rates = suggest_noise_rates(epochs=30, batch_size=128, num_classes=10)
    model = SOPModel(backbone, 50_000, 10, init_std=rates.init_std)
    model.compile(
        keras.optimizers.SGD(0.02, momentum=0.9),
        u_optimizer=rates.u_learning_rate,
        v_optimizer=rates.v_learning_rate,
    )
    ```
    """
    if not 1 <= epochs < math.inf:
        raise ValueError(
            "`epochs` must be at least 1, how often each example is visited. "
            f"Received: epochs={epochs!r}."
        )
    batch_size = check_integer("batch_size", batch_size, 1)
    num_classes = check_integer("num_classes", num_classes, 2)
    visits = min(max(_VISITS, math.sqrt(epochs)), _SHARE * epochs)
    if init_std is None:
        least, largest = _INIT_STD
        init_std = min(max((1 + _LARGEST_GROWTH) ** -visits, least), largest)
    elif not 0 < init_std < 1:
        raise ValueError(
            "`init_std` must be between 0 and 1, or None for a proposal. Received: "
            f"init_std={init_std!r}."
        )
    growth = min(init_std ** (-1 / visits) - 1, _LARGEST_GROWTH)
    return NoiseRates(
        u_learning_rate=growth * batch_size / (2 * (num_classes - 1)),
        # As alpha_u for 10 classes: v's growth does not depend on their number.
        v_learning_rate=growth * batch_size / 18,
        init_std=init_std,
    )
