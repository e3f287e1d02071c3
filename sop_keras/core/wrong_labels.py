"""What a trained model says of its training labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from sop_keras.core import label_checks
from sop_keras.core.data_errors import DataError
from sop_keras.methods import objective

if TYPE_CHECKING:
    import pandas as pd


class FindsWrongLabels:
    """The methods of SOPModel that read its noise table."""

    def estimate_noise(self: Any, indices: Any, labels: Any) -> np.ndarray:
        """The estimated label noise s of some training examples.

        Args:
            indices: their ids, shape `(n,)`.
            labels: their observed labels, integers `(n,)` or one-hot.

        Returns:
            float32 array `(n, num_classes)`, values in [-1, 1]: positive at the label,
            negative elsewhere. The larger, the likelier the label is wrong.

        Raises:
            ValueError: for ids or labels out of range, or not as many of each.
        """
        indices = label_checks.check_indices(indices, self.num_examples)
        labels = self._one_hot(label_checks.check_labels(labels, self.num_classes))
        if len(indices) != len(labels):
            raise DataError(
                f"There are {len(labels)} labels for {len(indices)} indices."
            )
        u, v = self.noise_table.rows(indices)
        noise = objective.estimated_noise(u, v, labels, self.variant)
        return ops.convert_to_numpy(noise)

    def label_issues(
        self: Any,
        x: Any,
        y: Any = None,
        batch_size: int = 128,
        num_issues: int | None = None,
        issue_rate: float | None = None,
    ) -> pd.DataFrame:
        """What u, v and the network say of each training label.

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

            - `id`: the example's row of the noise table; for arrays, its position.
            - `given_label`, `suggested_label`: the likeliest other class is suggested,
              whether or not the label is an issue.
            - `label_quality`: in [0, 1], higher is cleaner: the estimated probability
              that the given label is right, p_y / (p_y + sqrt(||s||_1) (1 - p_y)).
            - `noise_score`: log10 of ||s||_1, higher is noisier: u and v alone.
            - `given_label_prob`, `suggested_label_prob`: the network's.
            - `is_label_issue`: bool.

            An example that was in no training batch has NaN for quality and score. A
            warning is logged where u and v have hardly grown: the training was too
            short to mark any label.
            Memory: about 200 bytes an example, and a batch.

        Raises:
            ValueError: before training; for data of another length, ids that do not
                exist or come twice, and labels that are not those of training.
            ImportError: without pandas.
        """
        from sop_keras.label_issues.find import find_label_issues

        return find_label_issues(self, x, y, batch_size, num_issues, issue_rate)
