"""NoiseMonitor: what SOP finds out about its labels, in TensorBoard."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.scan import PredictionScan
from sop_keras.core.table_scan import scan_tables
from sop_keras.drawing.cells import MOST_CLASSES
from sop_keras.files.tensorboard import Scalars, Summaries
from sop_keras.label_issues.noise_matrix import noise_matrix
from sop_keras.monitoring import pictures
from sop_keras.monitoring.figures import figures_by_clean_labels, noise_figures
from sop_keras.monitoring.monitored_examples import MonitoredExamples
from sop_keras.validation import check_integer

# Once training has ended, `label_issues` estimates it by predictions made then.
_ESTIMATED = "estimated, by predictions in training"


@dataclass(frozen=True)
class Look:
    """What a look at the tables found.

    Args:
        figures: the scalars, by name.
        scan: what is drawn.
        doubts: why it is not to be trusted.
    """

    figures: dict[str, float]
    scan: PredictionScan
    doubts: Sequence[str] = ()


class NoiseMonitor(keras.callbacks.Callback):
    """Writes pages for TensorBoard about the label noise, after each epoch of `fit`.

    Scalars: `noise/` has the mean, quantiles and sparsity of s, the share of labels
    that count as wrong (`label_quality` below 1/2, by the predictions that were made in
    training) and of rows of u, v that have left their first values; `rates/` the
    learning rates. `noise/num_doubts` counts the reasons not to trust what was found,
    which the text `doubts` gives. Where clean labels are known, `detection/` says how
    well wrong ones are found, and `memorization/` how many of the right and of the
    wrong labels the network predicts, and for how many wrong ones the clean label.
    Histograms are the method's: of SOP log10 of |u| at the label and of |v| off the
    label. Images: the estimated class-to-class noise of up to 2,000 classes, beside the
    true one where that is known, and the examples whose labels look worst. HParams and
    text, where they are given.

    The tables are read once an epoch, a chunk of rows at a time; pictures are drawn
    after epochs 1, 3, 10, 30, 100, ... and the last one. Nothing is drawn at random,
    and no state is kept: a training is the same with it and without, and may be
    interrupted.

    Args:
        log_dir: where TensorBoard's files go.
        labels: the given labels of the training examples, integers `(n,)` or one-hot.
        ids: their rows of the noise table, integers `(n,)`. Defaults to `None`: their
            positions, as in `fit` on arrays.
        clean_labels: like `labels`. Defaults to `None`: not known.
        class_names: one a class, as strings or what `str` makes some of. Defaults to
            `None`: their numbers.
        images: an array `(n, height, width, 1 or 3)`, uint8 or in [0, 1], in the order
            of `labels`; or a function from positions, integers `(k,)`, to such images,
            called for those that are shown alone. Standardised ones are refused.
            Defaults to `None`: no gallery.
        hparams: settings by name. Defaults to `None`.
        text: shown as it is, such as the flags of a command. Defaults to `None`.
        num_suspicious: how many examples the gallery shows, at least 1. Defaults to
            `36`.
        write_logs: whether the losses and metrics of `fit` are written as well, where
            and as `keras.callbacks.TensorBoard` would. Defaults to `True`.
        epochs: after how many epochs the training ends, where it is more than one call
            of `fit`. Defaults to `None`: `epochs` of `fit`.

    Raises:
        ValueError: for lengths that differ, and images that are out of range (of a
            function, once it is called); before training, for a model whose
            method finds no wrong labels, and ids or labels that are out of its range;
            after the first batch or an epoch, for labels that are not those of `fit`.
        ImportError: without Pillow, or scikit-learn where clean labels are given.
        OutputError: where something cannot be written.

    Example:
    ```python
    monitor = NoiseMonitor("logs", y_noisy, images=x_train)
    model.fit(x_train, y_noisy, epochs=20, callbacks=[monitor])
    ```

    and `tensorboard --logdir=logs`. On several machines, give it to `fit` on the first
    one alone.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        labels: Any,
        *,
        ids: Any = None,
        clean_labels: Any = None,
        class_names: Sequence[Any] | None = None,
        images: np.ndarray | Callable[[np.ndarray], np.ndarray] | None = None,
        hparams: Mapping[str, Any] | None = None,
        text: str | None = None,
        num_suspicious: int = 36,
        write_logs: bool = True,
        epochs: int | None = None,
    ):
        super().__init__()
        check_integer(
            "num_suspicious",
            num_suspicious,
            1,
            mend="Without `images` there is no gallery.",
        )
        self._examples = MonitoredExamples(
            labels, ids, clean_labels, images, class_names
        )
        _import_extras(["PIL.ImageFont", "tensorboard.summary"])
        if self._examples.clean_labels is not None:
            _import_extras(["sklearn.metrics"])
        self._folder = Path(log_dir)
        self._summaries = Summaries(self._folder)
        self._hparams = hparams
        self._text = text
        self._num_suspicious = num_suspicious
        self._epochs = epochs
        self._logs: Any = None
        self._awaits_batch = False
        if write_logs:
            self._logs = Scalars(self._folder)

    def set_model(self, model: keras.Model) -> None:
        """Check that the model and the examples belong together."""
        method = getattr(model, "method", None)
        if method is None or not method.finds_label_issues:
            received = model if method is None else method
            raise ValueError(
                "NoiseMonitor shows what a method finds out about labels: it needs a "
                "NoisyLabelModel, such as SOPModel, whose method finds wrong ones. "
                f"Received: {type(received).__name__}."
            )
        self._examples.check(model)
        super().set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See whether the first batch alone will be in the training record."""
        model: Any = self.model
        self._awaits_batch = model.training_record.is_empty()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Check the labels of a new model as soon as some are known.

        Those of an earlier training may be corrected in this one: they are checked once
        the epoch has passed over them.
        """
        if self._awaits_batch:
            self._awaits_batch = False
            self._examples.check_record(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the table once, and write; later callbacks find the scalars in logs.

        So does the history that `fit` gives.
        """
        logs = {} if logs is None else logs
        look = self.look()
        self.write(epoch, look, logs)
        logs.update(look.figures)

    def look(self) -> Look:
        """Look at the table once, and write nothing.

        Raises:
            ValueError: for labels that are not those of `fit`.
        """
        examples = self._examples
        examples.check_record(self.model)
        scan = scan_tables(self.model, examples.labels, examples.ids)
        doubts = [one.text for one in self.model.doubt_watch.doubts]
        figures = {
            **noise_figures(scan),
            "noise/num_doubts": float(len(doubts)),
            **self.model.tables.figures(),
            **self._rates(),
            **self.model.method.figures(self.model.shared_values()),
        }
        if examples.clean_labels is not None:
            figures |= figures_by_clean_labels(scan, examples.clean_labels)
        return Look(figures, scan, doubts)

    def write(self, epoch: int, look: Look, logs: Mapping[str, Any]) -> None:
        """Write the pages of an epoch.

        Args:
            epoch: counted from 0.
            look: at the table after it.
            logs: its losses and metrics, without the figures of `look`.

        Raises:
            OutputError: where something cannot be written.
            ValueError: where the function for images gives something else.
        """
        summaries, scan = self._summaries, look.scan
        last = self.params["epochs"] if self._epochs is None else self._epochs
        images = {}
        if has_pictures(epoch + 1) or epoch + 1 == last:
            images = self._pictures(epoch, scan)
        is_first = not summaries.is_begun
        with summaries.writing():
            if is_first:
                self._write_settings(epoch, logs)
            summaries.scalars(epoch, look.figures)
            if look.doubts:
                summaries.text(epoch, "doubts", "\n".join(look.doubts))
            for name, buckets in scan.histograms().items():
                summaries.histogram(epoch, name, buckets)
            for name, pixels in images.items():
                summaries.image(epoch, name, pixels)
        if self._logs is not None:
            self._logs.write(epoch, dict(logs))

    def _rates(self) -> dict[str, float]:
        model: Any = self.model
        optimizers = {"learning_rate": model.optimizer}
        for name, optimizer in model.row_optimizers().items():
            optimizers[f"alpha_{name}"] = optimizer
        return {
            f"rates/{name}": float(ops.convert_to_numpy(optimizer.learning_rate))
            for name, optimizer in optimizers.items()
        }

    def _write_settings(self, epoch: int, logs: Mapping[str, Any]) -> None:
        if self._text:
            self._summaries.text(epoch, "flags", self._text)
        if self._hparams is None:
            return
        metrics = {
            name: (
                f"epoch_{name.removeprefix('val_')}",
                "validation" if name.startswith("val_") else "train",
            )
            for name in logs
            if name.endswith("accuracy")
        }
        metrics["estimated noise rate"] = ("noise/estimated_rate", "")
        if self._examples.clean_labels is not None:
            metrics["AUROC"] = ("detection/auroc", "")
            metrics["average precision"] = ("detection/average_precision", "")
        self._summaries.hparams(self._hparams, metrics)

    def _pictures(self, epoch: int, scan: PredictionScan) -> dict[str, np.ndarray]:
        examples = self._examples
        names, labels = examples.class_names or (), examples.labels
        matrices = {_ESTIMATED: scan.likely_labels}
        if examples.clean_labels is not None:
            matrices["true"] = examples.clean_labels
        drawn = {}
        if len(names) <= MOST_CLASSES:
            counts = {
                title: noise_matrix(true, labels, len(names))
                for title, true in matrices.items()
            }
            drawn["noise_matrix"] = pictures.noise_matrices(counts, names)
        if examples.have_images and scan.is_known.any():
            suspects = self._suspects(scan, names)
            title = f"The {len(suspects)} labels of lowest quality, epoch {epoch + 1}"
            drawn["suspicious_labels"] = pictures.gallery(suspects, title)
        return drawn

    def _suspects(
        self, scan: PredictionScan, names: Sequence[str]
    ) -> list[pictures.Suspect]:
        """The examples of lowest quality, the lowest first."""
        examples = self._examples
        order = np.argsort(scan.quality, kind="stable")  # NaN comes last
        positions = order[: min(self._num_suspicious, int(scan.is_known.sum()))]
        clean = examples.clean_labels
        return [
            pictures.Suspect(
                image=image,
                title=f"id {examples.ids[position]}, {scan.quality[position]:.2g}",
                given=names[examples.labels[position]],
                suggested=names[scan.suggested[position]],
                clean=None if clean is None else names[clean[position]],
            )
            for position, image in zip(
                positions, examples.images_at(positions), strict=True
            )
        ]


def has_pictures(epoch: int) -> bool:
    """Whether an epoch, counted from 1, is one of 1, 3, 10, 30, 100, ...

    Pictures cost five times what all else does, and TensorBoard shows ten of a kind.
    """
    return str(epoch).rstrip("0") in ("1", "3")


def _import_extras(modules: Sequence[str]) -> None:
    """Import what is needed later, where its absence is an early error."""
    for module in modules:
        package = module.partition(".")[0]
        try:
            importlib.import_module(package)
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(
                f"NoiseMonitor needs {package}: pip install 'sop-keras[monitor]' "
                "installs all that it needs."
            ) from error
