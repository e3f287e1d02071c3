"""An audit of a data set: its images' features, a head, and what the folder gets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.auditing.audit_figures import figures_of
from sop_keras.auditing.beside_labels import BesideLabels, beside_labels
from sop_keras.auditing.earlier_audit import check_ids, forget_result
from sop_keras.auditing.feature_rows import ArrayRows, FeatureRows
from sop_keras.auditing.findings import Findings, find_wrong_labels
from sop_keras.auditing.head import HeadProgress
from sop_keras.auditing.head_settings import HeadSettings, steps_of_epoch
from sop_keras.auditing.image_size import Numbers, network_for
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.features.embed import Embedded, Progress, embed
from sop_keras.features.store import FeatureStore
from sop_keras.files.atomic import remove, write_atomically
from sop_keras.files.shown_text import shown
from sop_keras.label_issues.decisions import Decisions
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData, load_data
from sop_keras.training.run_folder import LABEL_ISSUES, RunFolder, RunFolderError
from sop_keras.training.run_lock import RunLock
from sop_keras.training.summary import write_issues
from sop_keras.training.versions import versions

if TYPE_CHECKING:
    import pandas as pd

FEATURES = "features"
"""The folder of stored features in that of an audit."""

_OF_TRAININGS = ("model.keras", "checkpoints")

_APPLY_FIRST = (
    "Apply them first (`sop-keras correct_labels --decisions=FILE`), or put the data "
    "back."
)


@dataclass(frozen=True)
class Audited:
    """What an audit came to.

    Args:
        data: what was looked at.
        table: all labels of images that could be read, in the order of the data.
        embedded: the features; bad images have none.
        rows: those of the table's examples, in its order.
        findings: of the head.
        beside: outliers and near-duplicates.
        result: the content of `result.json`.
    """

    data: ExperimentData
    table: pd.DataFrame
    embedded: Embedded
    rows: FeatureRows
    findings: Findings
    beside: BesideLabels
    result: dict[str, Any]


def experiment_of(
    settings: HeadSettings, backbone: str, pretrained: str, **of_data: Any
) -> Experiment:
    """The settings of an audit as those of a run, which other commands read.

    Args:
        settings: of the head.
        backbone: the network; of one in a file, whose settings nobody knows, the
            experiment keeps its default.
        pretrained: its weights.
        of_data: what the data are.
    """
    network: dict[str, Any] = (
        {} if backbone.endswith(".keras") else {"backbone": backbone}
    )
    return Experiment(
        **of_data,
        **network,
        pretrained=pretrained,
        augment="none",
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        schedule="cosine",
        l2=0.0 if settings.l2 is None else settings.l2,
        seed=settings.seed,
    )


def check_folder(folder: Path, experiment: Experiment, files: DataFiles) -> None:
    """Check that a folder may hold this audit, before anything is loaded.

    Raises:
        RunFolderError: if it holds a training, or an audit of other settings.
    """
    found = [name for name in _OF_TRAININGS if (folder / name).exists()]
    if found:
        raise RunFolderError(
            f"{folder} holds a training ({', '.join(found)}). Choose another folder "
            "for the audit."
        )
    RunFolder(folder, experiment, files).check()


def run_audit(
    experiment: Experiment,
    folder: Path,
    files: DataFiles,
    settings: HeadSettings,
    backbone: str,
    *,
    image_size: int | None = None,
    scale: tuple[Numbers, Numbers] | None = None,
    store: Path | None = None,
    read: Callable[[int], Decisions | None] = lambda num_classes: None,
    told: Progress | None = None,
    told_of_head: HeadProgress | None = None,
    flags: str = "",
) -> Audited:
    """Audit the training examples of a data set, and write what is found.

    Called again, it reuses the features of all images that have not changed.

    Args:
        experiment: what the data are, of `experiment_of`.
        folder: gets config.json, data.json, history.csv, label_issues.csv, result.json,
            bad_images.csv and the features.
        files: where the data set is.
        settings: of the head.
        backbone: the network, as `feature_network` takes it.
        image_size: the side of its images, in pixels. Defaults to `None`: what suits
            the images (`network_for`).
        scale: mean and standard deviation that its images are standardised with, a
            number or one a channel each. Defaults to `None`: as of `network_for`.
        store: the folder of the features, which several audits may share. Defaults to
            `None`: `FEATURES` in `folder`.
        read: gives people's decisions, told the number of classes. Defaults to none.
        told: of embedded images. Defaults to `None`.
        told_of_head: of the head's epochs. Defaults to `None`.
        flags: of the command, for `result.json`. Defaults to `""`.

    Raises:
        RunFolderError: as `check_folder`; for decisions on other data.
        RunLockedError: if another process audits there.
        ValueError: for data, decisions or settings that cannot be.
        OSError: if something cannot be read or written.
    """
    started = time.monotonic()
    check_folder(folder, experiment, files)
    store = folder / FEATURES if store is None else store
    with RunLock(folder) as lock:
        data = load_data(experiment, files)
        decisions = read(data.dataset.num_classes)
        train = data.train
        own = RunFolder(folder, experiment, files)
        check_ids(folder, data, decisions, _APPLY_FIRST)
        # Once the features are there, nothing holds the network in memory.
        mean, std = scale or (None, None)
        network = network_for(
            train.images, backbone, experiment.pretrained, image_size, store, mean, std
        )
        of_network = network.record()
        embedded = embed(
            train,
            network,
            FeatureStore(store),
            max_bad_fraction=files.max_bad_fraction,
            progress=told,
        )
        del network
        # Those of an earlier audit may have been mended, and ids may be others.
        remove(folder / "bad_images.csv")
        bad = BadImages(folder / "bad_images.csv", files.max_bad_fraction)
        reasons = dict(embedded.bad_images)
        images = train.images
        if isinstance(images, EncodedImages):
            for place in np.flatnonzero(embedded.is_bad).tolist():
                name = images.name(place)
                reason = reasons.get(
                    shown(name), "it is a copy of one that cannot be used"
                )
                bad.report("train", int(train.ids[place]), name, reason, len(train))
        good = np.flatnonzero(~embedded.is_bad)
        findings = find_wrong_labels(
            embedded.stored,
            train.labels[good],
            data.dataset.num_classes,
            ids=train.ids[good],
            places=embedded.rows[good],
            decisions=decisions,
            settings=settings,
            progress=told_of_head,
        )
        rows_of_good = ArrayRows(embedded.stored, embedded.rows[good])
        beside = beside_labels(rows_of_good, findings.table, data.dataset.num_classes)
        table = findings.table.assign(**beside.columns)
        clean = train.clean_labels
        result = {
            **figures_of(
                findings,
                len(train),
                experiment.record.noise_score,
                train.labels[good],
                None if clean is None else clean[good],
            ),
            "num_bad_images": bad.counts(),
            "seconds": round(time.monotonic() - started, 1),
            "versions": versions(),
            "settings": experiment.settings(),
            "flags": flags,
            "facts": {
                "Head": "linear, with SOP, on stored features of the frozen network",
                "Network": f"{backbone}, frozen",
                "Batch size": f"{-(-len(good) // steps_of_epoch(len(good)))}",
                "L2": f"{settings.l2_of(len(good), embedded.num_features):.3g}",
                "Image size": f"{of_network['image_size']} pixels",
                **beside.facts(data.dataset.class_names),
            },
            **beside.figures(table["id"].to_numpy()),
            "features": of_network,
        }
        rows = enumerate(findings.head.accuracies, start=1)
        lock.check()
        forget_result(folder)
        own.begin(data)
        lines = [f"{epoch},{accuracy:.6g}" for epoch, accuracy in rows]
        write_atomically(
            folder / "history.csv", "\n".join(["epoch,accuracy", *lines, ""])
        )
        write_issues(folder / LABEL_ISSUES, table, data)
        own.write_result(result)
        return Audited(data, table, embedded, rows_of_good, findings, beside, result)
