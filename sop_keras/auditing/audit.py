"""Wrong labels of arrays, in one call."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.auditing.beside_labels import beside_labels
from sop_keras.auditing.feature_rows import ArrayRows
from sop_keras.auditing.findings import find_wrong_labels
from sop_keras.auditing.head_settings import HeadSettings
from sop_keras.auditing.image_size import Numbers, network_for
from sop_keras.backbones.pretrained import IMAGENET
from sop_keras.data.datasets.dataset import Examples
from sop_keras.features.embed import embed
from sop_keras.features.store import FeatureStore
from sop_keras.label_issues.decisions import Decisions

if TYPE_CHECKING:
    import pandas as pd


def audit(
    images_or_features: Any,
    labels: Any,
    *,
    num_classes: int | None = None,
    backbone: str | os.PathLike[str] = "efficientnet_lite0",
    pretrained: str | os.PathLike[str] = IMAGENET,
    image_size: int | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    store: str | os.PathLike[str] | None = None,
    decisions: Decisions | None = None,
    settings: HeadSettings | None = None,
) -> pd.DataFrame:
    """Find wrong labels by features of a network that is trained already.

    Each image is shown once to a frozen network; a linear head is trained on its
    features with SOP, and judges all labels by it and by the noise between classes
    that it finds.

    Args:
        images_or_features: uint8 images of shape `(n, height, width, channels)`, values
            0 to 255, or features, floats of shape `(n, D)`, of any network; at least
            20 examples.
        labels: integers `(n,)` in `[0, num_classes)`, as given.
        num_classes: K. Defaults to `None`: the largest label and one.
        backbone: of images, the frozen network: a name that `build_backbone` knows, or
            a `.keras` file. Defaults to `"efficientnet_lite0"`, whose weights come with
            the extra `pretrained`.
        pretrained: its weights, as of `build_backbone`. Defaults to `"imagenet"`.
        image_size: the side of the images that it sees, in pixels. Defaults to `None`:
            four times that of the images, at most 224; of a file, its own.
        mean: what its images' pixels, scaled to [0, 1], are standardised with: a number
            or one a channel. Defaults to `None`: what the run beside a `backbone.keras`
            says, or else ImageNet's; of another file a warning says so. 0, and 1 for
            `std`, leave [0, 1] as it is.
        std: the standard deviation, likewise; both are given or neither.
        store: a folder where features are kept, for the next call. Defaults to `None`:
            they are not.
        decisions: what people decided (`read_decisions`); ids are places. Defaults to
            `None`: nothing yet.
        settings: of the head. Defaults to `None`: `HeadSettings()`.

    Returns:
        A row an example, in their order: the columns of `SOPModel.label_issues`;
        `decision`; `outlier_score` and `is_outlier`, of images of no class; and
        `duplicate_group`, the number that near-duplicates share, or -1.

    Raises:
        ValueError: for arrays that cannot be, features that are not finite or all
            alike, one class alone, and decisions on other data.
        ImportError: if the weights' package is not installed.

    Example:
    ```python
    table = audit(embeddings, y)
    table.sort_values("label_quality").head(20)
    ```
    """
    given = np.asarray(images_or_features)
    labels = np.asarray(labels)
    if num_classes is None:
        num_classes = 2
        if labels.dtype.kind in "iu" and labels.size:
            num_classes = max(num_classes, int(labels.max()) + 1)
    with ExitStack() as stack:
        if given.ndim == 4:
            if store is None:
                store = stack.enter_context(tempfile.TemporaryDirectory())
            network = network_for(
                given, backbone, pretrained, image_size, mean=mean, std=std
            )
            examples = Examples(np.arange(len(given)), given, labels)
            embedded = embed(examples, network, FeatureStore(store))
            features, places = embedded.stored, embedded.rows
        else:
            features, places = given, np.arange(len(given))
            if len(given) != len(labels):
                raise ValueError(
                    "There must be one label a row of features. Received: "
                    f"{len(labels)} labels and {len(given)} rows."
                )
        findings = find_wrong_labels(
            features,
            labels,
            num_classes,
            places=places,
            decisions=decisions,
            settings=settings,
        )
        beside = beside_labels(ArrayRows(features, places), findings.table)
        return findings.table.assign(**beside.columns)
