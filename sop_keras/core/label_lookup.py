"""What a trained model says of its training labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from sop_keras.core.lookup import lookup_batches
from sop_keras.core.prediction import batch_predictor
from sop_keras.core.probabilities import check_probabilities, log_probabilities
from sop_keras.core.training_evidence import evidence_of
from sop_keras.label_issues.doubts import Evidence
from sop_keras.label_issues.find import find_label_issues

if TYPE_CHECKING:
    import pandas as pd


class LabelLookup:
    """The methods of a model that look at its training examples by their ids."""

    def label_issues(
        self: Any,
        x: Any,
        y: Any = None,
        batch_size: int = 128,
        num_issues: int | None = None,
        issue_rate: float | None = None,
    ) -> pd.DataFrame:
        """What the tables and the network say of each training label.

        Args:
            x: what was trained on, unaugmented and of one view: arrays, in the order
                of `fit`, or a stream of `(x, {"label": y, "index": i})`, each example
                once (`with_index(dataset).batch(128)`).
            y: for arrays: labels, or `{"label": labels, "index": ids}` for a part of
                the examples.
            batch_size: of the predictions, for arrays. Defaults to `128`.
            num_issues: mark this many as label issues. Defaults to `None`.
            issue_rate: mark this share of the examples, in [0, 1]. Defaults to `None`;
                with neither, those of `label_quality` below 1/2 are marked.

        Returns:
            A `pandas.DataFrame` with a row for each example, in the order of the data:

            - `id`: the example's row of the tables; for arrays, its position.
            - `given_label`, `suggested_label`: the likeliest other class is suggested,
              whether or not the label is an issue.
            - `label_quality`: in [0, 1], higher is cleaner: the estimated probability
              that the given label is right, as the method's `scores` estimates it.
            - `noise_score`: higher is noisier: what the tables say alone.
            - `given_label_prob`, `suggested_label_prob`: the network's.
            - `is_label_issue`: bool.

            An example that was never trained on (in no batch, or with the weight 0) has
            NaN for quality and score. One that `trust` was called for has quality 1 and
            no score (NaN), and is never an issue. Where the training is not to be
            trusted, warnings say why, and without `num_issues` or `issue_rate` no label
            is marked. A warning is logged where fewer than `num_issues` can be marked.
            Memory: about 200 bytes an example, and a batch.

        Raises:
            ValueError: before training; for a method that finds no label issues, data
                of another length, ids that do not exist or come twice, and labels that
                are not those of training.
            ImportError: without pandas.
        """
        return find_label_issues(self, x, y, batch_size, num_issues, issue_rate)

    def evidence(self: Any) -> Evidence:
        """What is known of the training, for `method.doubts`."""
        return evidence_of(self)

    def lookup_batches(
        self: Any, x: Any, y: Any, batch_size: int
    ) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Inputs, labels and ids of data as `label_issues` takes them."""
        return lookup_batches(self, x, y, batch_size)

    def looked_up(
        self: Any, x: Any, y: Any, batch_size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The network's outputs, labels and ids of data as `label_issues` takes them.

        Yields:
            A batch: outputs `(n, num_classes)`, labels and ids, integers `(n,)`.
        """
        predict = batch_predictor(self)
        for inputs, labels, ids in self.lookup_batches(x, y, batch_size):
            yield np.asarray(predict(inputs)), labels, ids

    def log_probs(self: Any, outputs: np.ndarray) -> np.ndarray:
        """Logarithms of the probabilities in outputs, float32 `(n, num_classes)`.

        Raises:
            ValueError: if an output is NaN or infinite, or no probability where the
                network is said to give such (`from_logits=False`).
        """
        if not np.isfinite(outputs).all():
            raise ValueError(
                "The network gives outputs that are NaN or infinite; nothing can be "
                "said about labels. Did its training diverge?"
            )
        if not self.from_logits:
            check_probabilities(outputs)
        outputs = ops.cast(outputs, "float32")
        return ops.convert_to_numpy(log_probabilities(outputs, self.from_logits))
