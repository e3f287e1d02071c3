"""A model of three classes whose u, v and training record are set by hand.

The examples are rows 5, 0, 3 and 2 of a table of 6, labelled 0, 1, 2 and 0. In order:

    u      v (at the label: -)    predicted, p_y    s
    0.5    -      0.2    0        1, 0.2            0.25   -0.04   0
    0.05   0.3    -      0.2      1, 0.8            -0.09  0.0025  -0.04
    0.004  0.001  0.002  -        2, 0.9            -1e-6  -4e-6   1.6e-5
    0.001  -      0.001  0.001    never             1e-6   -1e-6   -1e-6

||s||_1 is 0.29, 0.1325, 2.1e-5 and 3e-6; with init_std 1e-3, |u| or |v| is above 5e-3
in the first two rows.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras import SOPModel

IDS = np.array([5, 0, 3, 2])
LABELS = np.array([0, 1, 2, 0])
NORMS = [0.29, 0.1325, 2.1e-5, 3e-6]
# p_y / (p_y + r (1 - p_y)), where r = sqrt(||s||_1) is 0.5385165, 0.3640055, 0.0045826:
# 0.2 / 0.6308132, 0.8 / 0.8728011, 0.9 / 0.9004583.
QUALITY = [0.3170511, 0.9165891, 0.9994911, np.nan]


def tiny_model() -> SOPModel:
    backbone = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model = SOPModel(backbone, num_examples=6, num_classes=3, init_std=1e-3, seed=0)
    model.compile(
        keras.optimizers.SGD(0.25), u_optimizer=2.0, v_optimizer=3.0, metrics=["acc"]
    )
    return model


def set_by_hand(model: SOPModel) -> SOPModel:
    # What stands at the label must not count, 0.004 at most: that is no move.
    u, v, record = np.zeros((6, 1)), np.zeros((6, 3)), np.full((6, 3), -1.0)
    u[IDS, 0] = [0.5, 0.05, 0.004, 0.001]
    v[IDS] = [
        [0.004, 0.2, 0],
        [0.3, 0.004, 0.2],
        [0.001, 0.002, 0.004],
        [0.004, 0.001, 0.001],
    ]
    record[IDS[:3]] = [[1, 0.2, 0], [1, 0.8, 1], [2, 0.9, 2]]
    model.noise_table.u.assign(u)
    model.noise_table.v.assign(v)
    model.training_record.table.assign(record)
    return model


def events(folder: Path) -> dict[tuple[str, str, int], Any]:
    """All that was written, by folder, tag and step."""
    found: dict[tuple[str, str, int], Any] = {}
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        part = str(path.parent.relative_to(folder))
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                found[part, value.tag, event.step] = array
    return found


def scalars(folder: Path, step: int) -> dict[str, float]:
    return {
        tag: float(array)
        for (_, tag, of), array in events(folder).items()
        if of == step and array.ndim == 0 and array.dtype.kind == "f"
    }


def settings_written(folder: Path) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """HParams by name; group and tag of each metric."""
    from google.protobuf.json_format import MessageToJson
    from tensorboard.plugins.hparams import metadata

    hparams: dict[str, Any] = {}
    metrics: set[tuple[str, str]] = set()
    (path,) = folder.glob("events.out.tfevents.*")
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            content = value.metadata.plugin_data.content
            if value.tag == metadata.SESSION_START_INFO_TAG:
                info = metadata.parse_session_start_info_plugin_data(content)
                hparams = json.loads(MessageToJson(info))["hparams"]
            if value.tag == metadata.EXPERIMENT_TAG:
                info = metadata.parse_experiment_plugin_data(content)
                metrics = {(one.name.group, one.name.tag) for one in info.metric_infos}
    return hparams, metrics
