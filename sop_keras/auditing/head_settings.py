"""How a head is trained on features."""

from __future__ import annotations

from dataclasses import dataclass

from sop_keras.settings import check_settings, setting

STEPS_AT_ONCE = 8
"""Steps of one call of TensorFlow; an epoch has a multiple of them."""

MOMENTUM = 0.9
"""Of the head's optimizer."""

_LEAST_STEPS = 96  # of an epoch, where batches are as large as that allows
_L2_OF_FEATURE = 0.8
# Of the largest L2 term that steps are stable at. Nearer to it, weights that have few
# steps swing from one sign to the other in two or three.
_STABLE_SHARE = 0.1
_LEAST_BATCH, _LARGEST_BATCH = 16, 512


@dataclass(frozen=True)
class HeadSettings:
    """The settings of a linear head on standardised features, trained with SOP.

    Its rows' rates are auto. What it is compared with: docs/label_issues.md.

    Raises:
        ValueError: for a value that its field does not allow.
    """

    epochs: int = setting(
        10,
        "Passes of the head over the features.",
        title="Epochs",
        flag="head_epochs",
        least=1,
    )
    learning_rate: float = setting(
        0.02,
        "The head's first learning rate, which falls to 0 along a cosine.",
        title="Learning rate",
        flag="head_lr",
        least=0,
    )
    l2: float | None = setting(
        None,
        "Times the sum of squares of the kernel, in the loss; auto: 0.8 D / n "
        "for n examples of D features, so that few are held back more, but at most "
        "0.19 / learning rate, a tenth of what steps are stable at.",
        title="L2",
        flag="head_l2",
        least=0,
        may_be_auto=True,
    )
    seed: int = setting(
        0, "Of the order of examples.", title="Seed", least=0, most=2**32 - 1
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def l2_of(self, num_examples: int, num_features: int) -> float:
        """The factor of the L2 term as a number.

        Where it is auto, it has a bound. Of l2 w^2 the curvature is 2 l2, and steps at
        the rate r with the momentum m, v <- m v - 2 r l2 w, w <- w + v, have the
        characteristic polynomial z^2 - (1 + m - 2 r l2) z + m: its roots are within the
        unit circle for 2 r l2 < 2 (1 + m), and beyond that weights grow without end.

        Args:
            num_examples: n.
            num_features: D.
        """
        if self.l2 is not None:
            return self.l2
        l2 = _L2_OF_FEATURE * num_features / num_examples
        if not self.learning_rate:
            return l2
        return min(l2, _STABLE_SHARE * (1 + MOMENTUM) / self.learning_rate)


def steps_of_epoch(num_examples: int) -> int:
    """Steps of an epoch: 96, or more in batches of 512, or fewer in batches of 16.

    Args:
        num_examples: n, at least 1.
    """
    steps = min(max(num_examples // _LEAST_BATCH, 1), _LEAST_STEPS)
    steps = max(steps, -(-num_examples // _LARGEST_BATCH))
    if steps < STEPS_AT_ONCE:
        return steps
    return -(-steps // STEPS_AT_ONCE) * STEPS_AT_ONCE
