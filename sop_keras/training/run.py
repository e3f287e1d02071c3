"""One run of an experiment in a folder: trained, or resumed after an interruption."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import sop_keras
from sop_keras.backbones import build_backbone
from sop_keras.data import (
    BadImages,
    DataFiles,
    evaluation_batches,
    num_in_epoch,
    steps_per_epoch,
    training_batches,
)
from sop_keras.training.checkpoint import Checkpoints, flush, write_atomically
from sop_keras.training.experiment import (
    Experiment,
    ExperimentData,
    compile_model,
    load_data,
)
from sop_keras.training.history import EpochRecorder
from sop_keras.training.summary import summarize

logger = logging.getLogger(__name__)


class RunFolderError(ValueError):
    """A folder that does not hold this run, or holds it damaged."""


class Run:
    """An experiment and the folder that its files go to.

    Files: `config.json` (the settings), `data.json` (a digest of the data: a run goes
    on with those it began with), `history.csv` (a row an epoch), `checkpoints/`
    (while it trains), `tensorboard/`, and at the end `model.keras` (everything),
    `backbone.keras` (what is deployed) and `result.json`. The folder of an interrupted
    run is continued after its last whole epoch, and the end is the same to the last
    bit where the computation is deterministic. Image files that cannot be used are
    left out and listed in `bad_images.csv`.

    Args:
        experiment: the settings.
        folder: where the files go; made if needed.
        files: where the data set is. Defaults to `None`: `DataFiles()`.

    Raises:
        RunFolderError: if the folder holds a run of other settings, or damaged files.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: str | os.PathLike[str],
        files: DataFiles | None = None,
    ):
        self.experiment = experiment
        self.folder = Path(folder)
        self.files = files or DataFiles()
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self._check_folder()

    @property
    def result(self) -> dict[str, Any] | None:
        """What `result.json` says, or None while the run is not complete."""
        return _read_json(self.folder / "result.json")

    def train(self, verbose: Any = "auto", flags: str = "") -> dict[str, Any]:
        """Train to the end, or give the result of a complete run.

        Args:
            verbose: as in Keras' `fit`.
            flags: the command's flags, for the record in `result.json`.

        Returns:
            The content of `result.json`.

        Raises:
            TooManyBadImagesError: if more images cannot be used than `files` allows.
        """
        if (result := self.result) is not None:
            self._check_tables()
            logger.info("%s is complete; nothing to train.", self.folder)
            self.checkpoints.remove()  # a kill may have come between the two
            return result
        experiment = self.experiment
        keras.utils.set_random_seed(experiment.seed)
        data = load_data(experiment, self.files)
        num_examples = num_in_epoch(
            data.train.labels, data.source.num_classes, experiment.examples_per_class
        )
        steps = steps_per_epoch(num_examples, experiment.batch_size)
        backbone = build_backbone(
            experiment.backbone,
            data.train.image_shape,
            data.source.num_classes,
            seed=experiment.seed,
            pretrained=experiment.pretrained,
            mean=data.source.mean,
            std=data.source.std,
        )
        model = compile_model(experiment, backbone, data, steps)
        self._check_data(data)
        state = self.checkpoints.restore(model) or {"epoch": 0, "history": []}
        bad_images = BadImages(
            self.folder / "bad_images.csv", self.files.max_bad_fraction
        )
        batches = self._batches(data, state["epoch"], bad_images)
        # Only now: nothing is written before all that can be wrong has been looked at.
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self.folder / "config.json", json.dumps(experiment.settings(), indent=2)
        )
        write_atomically(
            self.folder / "data.json", json.dumps(self._describe(data), indent=2)
        )
        recorder = EpochRecorder(
            self.folder, self.checkpoints, data, state["history"], bad_images
        )
        with _clear_messages(bad_images):
            if state["epoch"] < experiment.epochs:
                if state["epoch"]:
                    logger.info("Resuming after epoch %d.", state["epoch"])
                self._fit(
                    model, data, batches, steps, state["epoch"], recorder, verbose
                )
            return self._finish(model, data, recorder, flags)

    def _batches(
        self, data: ExperimentData, initial_epoch: int, bad_images: BadImages
    ) -> tf.data.Dataset:
        experiment = self.experiment
        return training_batches(
            data.train,
            data.source,
            batch_size=experiment.batch_size,
            epochs=experiment.epochs,
            seed=experiment.seed,
            initial_epoch=initial_epoch,
            augment=experiment.augment,
            strong_augment=experiment.second_view,
            examples_per_class=experiment.examples_per_class,
            bad_images=bad_images,
        )

    def _fit(
        self,
        model: keras.Model,
        data: ExperimentData,
        batches: tf.data.Dataset,
        steps: int,
        initial_epoch: int,
        recorder: EpochRecorder,
        verbose: Any,
    ) -> None:
        experiment = self.experiment
        validation = None
        if len(data.validation):
            validation = evaluation_batches(
                data.validation,
                data.source,
                part="validation",
                bad_images=recorder.bad_images,
            )
        model.fit(
            batches,
            epochs=experiment.epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps,
            validation_data=validation,
            callbacks=[
                recorder,
                keras.callbacks.TensorBoard(
                    self.folder / "tensorboard", write_graph=False
                ),
            ],
            shuffle=False,  # the batches come shuffled; Keras warns if asked to
            verbose=verbose,
        )

    def _finish(
        self,
        model: keras.Model,
        data: ExperimentData,
        recorder: EpochRecorder,
        flags: str,
    ) -> dict[str, Any]:
        started = time.monotonic()
        _save_atomically(model, self.folder / "model.keras")
        _save_atomically(model.backbone, self.folder / "backbone.keras")
        figures = summarize(model, data, recorder.history, recorder.bad_images)
        result = {
            **figures,
            "seconds": round(recorder.seconds + time.monotonic() - started, 1),
            "versions": versions(),
            "settings": self.experiment.settings(),
            "flags": flags,
        }
        write_atomically(self.folder / "result.json", json.dumps(result, indent=2))
        self.checkpoints.remove()
        return result

    def _describe(self, data: ExperimentData) -> dict[str, Any]:
        """The content of `data.json`: what the run is trained on."""
        sizes = {part: len(examples) for part, examples in data.parts.items()}
        return {
            **sizes,
            "class_names": data.source.class_names,
            "digest": data.digest(),
            "files": self._tables(),
        }

    def _tables(self) -> dict[str, str | None]:
        paths = (self.files.manifest, self.files.test_manifest)
        absolute = (None if path is None else os.path.abspath(path) for path in paths)
        return dict(zip(("manifest", "test_manifest"), absolute, strict=True))

    def _check_data(self, data: ExperimentData) -> None:
        """Check that an interrupted run goes on with the data that it began with."""
        there, now = _read_json(self.folder / "data.json"), self._describe(data)
        if there is not None and there.get("digest") != now["digest"]:
            sizes = [
                ", ".join(f"{one.get(part, 0)} {part}" for part in data.parts)
                for one in (there, now)
            ]
            raise RunFolderError(
                f"{self.folder} holds a run on other data: other examples, labels, "
                f"classes or names of files (examples there: {sizes[0]}; now: "
                f"{sizes[1]}). Choose another folder, or remove it to train anew."
            )

    def _check_tables(self) -> None:
        """Check that a complete run is not taken for one on another table."""
        there = (_read_json(self.folder / "data.json") or {}).get("files", {})
        for name, path in self._tables().items():
            if there and there.get(name) != path:
                raise RunFolderError(
                    f"{self.folder} holds a complete run on another table ({name}: "
                    f"{there.get(name)} there, {path} now). Choose another folder."
                )

    def _check_folder(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise RunFolderError(f"{self.folder} is a file; a run needs a folder.")
        config = _read_json(self.folder / "config.json")
        if config is None:
            leftovers = [
                name
                for name in ("result.json", "history.csv", "checkpoints")
                if (self.folder / name).exists()
            ]
            if leftovers:
                raise RunFolderError(
                    f"{self.folder} has {', '.join(leftovers)} but no config.json that "
                    "says what run that is. Choose another folder, or remove it."
                )
            return
        settings = self.experiment.settings()
        changed = [
            f"{name}: {config.get(name)!r} there, {settings.get(name)!r} now"
            for name in sorted({*config, *settings})
            if config.get(name) != settings.get(name)
        ]
        if changed:
            raise RunFolderError(
                f"{self.folder} holds a run of other settings ({'; '.join(changed)}). "
                "Choose another folder, or remove it to train anew."
            )
        _ = self.result  # damaged: better said now than after hours of training


@contextlib.contextmanager
def _clear_messages(bad_images: BadImages) -> Iterator[None]:
    """Say what bad images have to do with it, once and plainly."""
    with warnings.catch_warnings():
        # Keras warns where a data set cannot tell its size; one cannot whose batches
        # may turn out to have no readable image.
        warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
        try:
            yield
        except tf.errors.OpError:
            if bad_images.error is not None:  # TensorFlow wraps it in a long trace
                raise bad_images.error from None
            raise


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    return {
        "sop_keras": sop_keras.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path} cannot be read as JSON: {error}. Put a good copy there, or choose "
            "another folder; nothing in it was changed."
        ) from None
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} is not a JSON object. Choose another folder.")
    return content


def _save_atomically(model: keras.Model, path: Path) -> None:
    partial = path.with_name(f"partial-{path.name}")
    model.save(partial)
    flush(partial)
    partial.replace(path)
    flush(path.parent)
