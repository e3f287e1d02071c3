"""Rankings of labels by how likely they are right, all from the same features.

Each function takes features and labels as given and returns a `Ranking` for each of its
methods; what several methods share is done once, and each is charged for all of it.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np

from sop_keras.auditing.head import moments, train_head
from sop_keras.auditing.head_settings import STEPS_AT_ONCE, HeadSettings, steps_of_epoch
from sop_keras.auditing.judgement import Judgement, judge
from sop_keras.log_softmax import log_softmax

NUM_CLASSES = 10
NUM_FOLDS = 5
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)
"""C of scikit-learn's logistic regression: those that are tried."""

_MOST_ITERATIONS = 300
_PLAIN_EPOCHS = 20
_MOMENTUM = 0.9
_NUM_NEIGHBOURS = 50
_ROWS_AT_ONCE = 1_000  # of the cosines of all examples


class Ranking(NamedTuple):
    """What a method says of n labels.

    Args:
        quality: the higher, the cleaner, `(n,)`.
        seconds: what it took, of processors.
        note: what was chosen on the way.
        judgement: ours, for what it says beside the ranking.
    """

    quality: np.ndarray
    seconds: float
    note: str = ""
    judgement: Judgement | None = None


class Features:
    """Features of all examples, float32 `(n, D)`."""

    def __init__(self, values: np.ndarray):
        self.values = values

    @property
    def num_features(self) -> int:
        """D."""
        return self.values.shape[1]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Those of some examples, by their places."""
        return self.values[positions]

    def standardised(self) -> np.ndarray:
        """Each with mean 0 and standard deviation 1."""
        mean, std = moments(self)
        return (self.values - mean) / std

    @cached_property
    def neighbours(self) -> tuple[np.ndarray, float]:
        """The nearest by cosine, `(n, 50)`, and the seconds that it took once."""
        start = time.process_time()
        unit = self.values / np.linalg.norm(self.values, axis=1, keepdims=True)
        nearest = np.empty((len(unit), _NUM_NEIGHBOURS), np.int64)
        for first in range(0, len(unit), _ROWS_AT_ONCE):
            cosines = unit[first : first + _ROWS_AT_ONCE] @ unit.T
            here = np.arange(len(cosines))
            cosines[here, first + here] = -np.inf
            nearest[first + here] = np.argpartition(cosines, -_NUM_NEIGHBOURS, axis=1)[
                :, -_NUM_NEIGHBOURS:
            ]
        return nearest, time.process_time() - start


def ours(features: Features, labels: np.ndarray, seed: int) -> dict[str, Ranking]:
    """The head that is trained with SOP, and its judgement."""
    start = time.process_time()
    head = train_head(features, labels, NUM_CLASSES, HeadSettings(seed=seed))
    judgement = judge(head, features, labels)
    seconds = time.process_time() - start
    return {"audit": Ranking(judgement.quality, seconds, judgement=judgement)}


def cleanlab(features: Features, labels: np.ndarray, seed: int) -> dict[str, Ranking]:
    """Scores by cleanlab of out-of-fold probabilities of a logistic regression."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    start = time.process_time()
    probs, penalty = out_of_fold(features.standardised(), labels, seed)
    confidence = get_label_quality_scores(labels, probs, method="self_confidence")
    margin = get_label_quality_scores(labels, probs, method="normalized_margin")
    seconds = time.process_time() - start
    # In this process, so that its seconds are counted.
    is_issue = find_label_issues(labels, probs, n_jobs=1)
    with_issues = time.process_time() - start
    note = f"C = {penalty:g}"
    return {
        "cleanlab_self_confidence": Ranking(confidence, seconds, note),
        "cleanlab_margin": Ranking(margin, seconds, note),
        "cleanlab_confident_learning": Ranking(
            confidence - is_issue, with_issues, note
        ),
    }


def out_of_fold(
    x: np.ndarray, labels: np.ndarray, seed: int
) -> tuple[np.ndarray, float]:
    """Probabilities for each example by a model that did not see it, and the C chosen.

    C is the one of `PENALTIES` whose model predicts most of the given labels of the
    first fold.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    splits = list(folds.split(x, labels))

    def fitted(fold: int, penalty: float) -> np.ndarray:
        seen, held_out = splits[fold]
        model = LogisticRegression(C=penalty, max_iter=_MOST_ITERATIONS)
        return model.fit(x[seen], labels[seen]).predict_proba(x[held_out])

    first = {penalty: fitted(0, penalty) for penalty in PENALTIES}
    given = labels[splits[0][1]]
    best = max(first, key=lambda one: np.mean(first[one].argmax(axis=1) == given))
    probs = np.empty((len(x), NUM_CLASSES))
    for fold, (_, held_out) in enumerate(splits):
        probs[held_out] = fitted(fold, best) if fold else first[best]
    return probs, best


def plain_head(features: Features, labels: np.ndarray, seed: int) -> dict[str, Ranking]:
    """What a head says that is trained with cross entropy alone, as people do it."""
    known = trained_with_cross_entropy(features, labels, _PLAIN_EPOCHS, 0.0, seed)
    names = ("loss", "aum", "mean_probability", "signed_entropy")
    return {name: known[name] for name in names}


def l2_head(features: Features, labels: np.ndarray, seed: int) -> dict[str, Ranking]:
    """The same with the epochs and the L2 term of ours, but without SOP."""
    ours = HeadSettings()
    l2 = ours.l2_of(len(labels), features.num_features)
    known = trained_with_cross_entropy(features, labels, ours.epochs, l2, seed)
    return {f"{name}_l2": known[name] for name in ("aum", "mean_probability")}


def trained_with_cross_entropy(
    features: Features, labels: np.ndarray, epochs: int, l2: float, seed: int
) -> dict[str, Ranking]:
    """Rankings by what a linear head said after each epoch.

    Its learning rate, schedule, momentum and steps are those of our head.
    """
    start = time.process_time()
    keras.utils.set_random_seed(seed)
    x = features.standardised()
    steps = steps_of_epoch(len(x))
    model = keras.Sequential(
        [
            keras.Input((features.num_features,)),
            keras.layers.Dense(
                NUM_CLASSES,
                kernel_initializer="zeros",
                kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
            ),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(
        HeadSettings().learning_rate, steps * epochs
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=_MOMENTUM),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=STEPS_AT_ONCE,
    )
    told = Dynamics(x, labels)
    batch_size = -(-len(x) // steps)
    model.fit(x, labels, batch_size, epochs, verbose=0, callbacks=[told])
    seconds = time.process_time() - start
    return {name: Ranking(one, seconds) for name, one in told.qualities().items()}


class Dynamics(keras.callbacks.Callback):
    """Sums over epochs of what a linear model says of each label.

    Args:
        x: what it is trained on, `(n, D)`.
        labels: as given, `(n,)`.
    """

    def __init__(self, x: np.ndarray, labels: np.ndarray):
        super().__init__()
        self._x, self._labels = x, labels
        self._margin, self._prob, self._entropy = np.zeros((3, len(labels)))
        self._log_prob = np.empty(0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at all examples."""
        kernel, bias = self.model.get_weights()
        self.look(self._x @ kernel + bias)

    def look(self, logits: np.ndarray) -> None:
        """Add what the logits say, `(n, K)`."""
        labels = self._labels
        here = np.arange(len(labels))
        log_probs = log_softmax(logits.astype(np.float64))
        self._log_prob = log_probs[here, labels]
        self._prob += np.exp(self._log_prob)
        entropy = -(np.exp(log_probs) * log_probs).sum(axis=1)
        agrees = logits.argmax(axis=1) == labels
        self._entropy += np.where(agrees, -entropy, entropy)
        others = logits.copy()
        others[here, labels] = -np.inf
        self._margin += logits[here, labels] - others.max(axis=1)

    def qualities(self) -> dict[str, np.ndarray]:
        """By method, the higher, the cleaner.

        The loss is that after the last epoch; AUM (Pleiss et al., NeurIPS 2020) and the
        probability of the label are means over epochs, up to a factor; the entropy
        counts as negative where the label is predicted.
        """
        return {
            "loss": self._log_prob,
            "aum": self._margin,
            "mean_probability": self._prob,
            "signed_entropy": -self._entropy,
        }


def knn(features: Features, labels: np.ndarray, seed: int) -> dict[str, Ranking]:
    """How many of an example's neighbours have its label."""
    nearest, seconds = features.neighbours
    start = time.process_time()
    share = np.empty(len(labels))
    for places in np.array_split(np.arange(len(labels)), 8):
        share[places] = (labels[nearest[places]] == labels[places, None]).mean(axis=1)
    return {"knn": Ranking(share, seconds + time.process_time() - start)}


FAMILIES = {
    ours: ("audit",),
    cleanlab: (
        "cleanlab_self_confidence",
        "cleanlab_margin",
        "cleanlab_confident_learning",
    ),
    plain_head: ("loss", "aum", "mean_probability", "signed_entropy"),
    l2_head: ("aum_l2", "mean_probability_l2"),
    knn: ("knn",),
}
"""Functions, and the methods that each has a ranking for."""

METHODS = tuple(name for names in FAMILIES.values() for name in names)
