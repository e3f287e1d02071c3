"""One run of an experiment in a folder: trained, or resumed after an interruption."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from sop_keras.core.agreement import is_common, on_any_worker
from sop_keras.core.in_turn import check_turns
from sop_keras.core.strategies import is_chief, make_strategy, scope
from sop_keras.data.batches.epoch_size import num_in_epoch
from sop_keras.data.batches.pipelines import evaluation_batches, steps_per_epoch
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.files.atomic import check_room, replacing
from sop_keras.files.shown_text import shown
from sop_keras.monitoring.noise_monitor import NoiseMonitor
from sop_keras.training.checkpoint import Checkpoints
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData, load_data
from sop_keras.training.fit_calls import fit_calls
from sop_keras.training.image_views import check_image_views
from sop_keras.training.inputs import evaluation_input
from sop_keras.training.model_size import file_size
from sop_keras.training.monitor import monitor_of_run
from sop_keras.training.network import compile_model, make_backbone
from sop_keras.training.output_errors import saying_what_is_left
from sop_keras.training.picture_folder import needed_folder
from sop_keras.training.preemption import Preemption
from sop_keras.training.recorder import Recorder
from sop_keras.training.resumed import restored
from sop_keras.training.run_folder import (
    FIRST_RUN,
    LABEL_ISSUES,
    RunFolder,
    RunFolderError,
)
from sop_keras.training.run_lock import RunLock
from sop_keras.training.saved_classifier import load_classifier
from sop_keras.training.summary import summarize, write_issues
from sop_keras.training.terminate_on_nan import TerminateOnNaN
from sop_keras.training.versions import versions

logger = logging.getLogger(__name__)


class Run:
    """An experiment and the folder that its files go to.

    Files: `config.json` (the settings), `data.json` (what the data are: a run goes on
    with those it began with), `history.csv` (a row an epoch), `checkpoints/` (while it
    trains, with rows on disk in `table/`), `tensorboard/`, and at the end
    `model.keras` (everything), `backbone.keras` (what is deployed), `label_issues.csv`
    (which training labels look wrong, of methods that tell, as of
    `NoisyLabelModel.label_issues`) and `result.json`; in `first_run/`, the run of
    another method that comes before, where one must. The folder of an interrupted run
    is continued after the batch of its last checkpoint, and the end is the same to the
    last bit where the computation is deterministic. Image files that
    cannot be used are left out and listed in `bad_images.csv`.

    Args:
        experiment: the settings.
        folder: where the files go; made if needed.
        files: where the data set is. Defaults to `None`: `DataFiles()`.
        execution: how it is computed; may differ when it is continued. Defaults to
            `None`: `Execution()`.
        strategy: what `execution.strategy` names, where it is already made: a process
            should make one only. Defaults to `None`: made when training starts.

    Attributes:
        picture_folder: the folder that the report needs to be told of, to show the
            images; None if it knows, or before `train`.

    On several machines all of them run this, on a folder that they share; the first one
    writes.

    Raises:
        RunFolderError: if the folder holds a run of other settings, or damaged files.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: str | os.PathLike[str],
        files: DataFiles | None = None,
        execution: Execution | None = None,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self.experiment = self._asked = experiment
        self.picture_folder: Path | None = None
        self.folder = Path(folder)
        self.files = files or DataFiles()
        self.execution = execution or Execution()
        self.strategy = strategy or make_strategy(self.execution.strategy)
        if experiment.record.load().in_turn:
            check_turns(
                experiment.record.title,
                self.strategy.num_replicas_in_sync,
                self.execution.steps_per_execution,
            )
        self._writes = is_chief(self.strategy)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", self._writes)
        self._own = RunFolder(self.folder, experiment, self.files)
        self._own.check()
        self._seconds_before = 0.0

    @property
    def result(self) -> dict[str, Any] | None:
        """What `result.json` says, or None while the run is not complete."""
        return self._own.result

    def train(self, verbose: Any = "auto", flags: str = "") -> dict[str, Any]:
        """Train to the end, or give the result of a complete run.

        The data are read for that too, and a complete run on others is refused. In the
        main thread, SIGTERM stops it after the batch under way, or the evaluation, with
        a checkpoint.

        Args:
            verbose: as in Keras' `fit`.
            flags: the command's flags, for the record in `result.json`.

        Returns:
            The content of `result.json`.

        Raises:
            RunLockedError: if another process trains the run.
            RunFolderError: if the folder holds a run on other data.
            Preempted: after a SIGTERM.
            DivergenceError: if the loss or a weight becomes NaN or infinite.
            OutputError: if something cannot be written. The last checkpoint is intact.
            TooManyBadImagesError: if more images cannot be used than `files` allows.
        """
        if (result := self._complete_result()) is not None:
            return result
        with contextlib.ExitStack() as stack:
            with saying_what_is_left(self.checkpoints):
                lock = stack.enter_context(self._locked())
            # Another start may have begun the run meanwhile, and ended it.
            self._own.check()
            if (result := self._complete_result()) is not None:
                return result
            first = self._train_first(verbose, flags)
            stack.enter_context(saying_what_is_left(self.checkpoints))
            preemption = stack.enter_context(Preemption())
            return self._train(preemption, lock, first, verbose, flags)

    def _locked(self) -> contextlib.AbstractContextManager[RunLock | None]:
        """What keeps other starts out: of several machines' processes, one writes."""
        return RunLock(self.folder) if self._writes else contextlib.nullcontext()

    def _complete_result(self) -> dict[str, Any] | None:
        if (result := self.result) is None:
            return None
        self._check_complete()
        logger.info("%s is complete; nothing to train.", shown(self.folder))
        self.checkpoints.remove()  # a kill may have come between the two
        return result

    def _train_first(self, verbose: Any, flags: str) -> keras.Model | None:
        """Train the run that the method needs before, in a folder in this one."""
        changes = self.experiment.method.first_run()
        if changes is None:
            return None
        own = (self.files, self.execution, self.strategy)
        # Of that one, nothing is asked but what it finds out as it trains.
        plain = replace(self.experiment, weight_average="none", test_views="none")
        run = Run(replace(plain, **changes), self.folder / FIRST_RUN, *own)
        if run.result is None:
            logger.info("First, the run that this one needs: %s.", shown(run.folder))
        self._seconds_before = run.train(verbose, flags)["seconds"]
        return load_classifier(run.folder / "model.keras")

    def _check_complete(self) -> None:
        """Check that a complete run is not taken for one on the data as they are now.

        Results can be shown without the data: where these cannot be read, because they
        are gone, say, a warning has the reason.

        Raises:
            RunFolderError: if labels, files or examples are others.
        """
        self._own.check_tables()
        try:
            data = load_data(self.experiment, self.files)
        except (OSError, ImportError, ValueError) as error:
            logger.warning(
                "%s is complete; whether its data are still those that it was trained "
                "on cannot be seen: %s",
                *(self.folder, error),
            )
            return
        self._own.check_data(data)
        self.picture_folder = needed_folder(data.train, self.files)

    def _train(
        self,
        preemption: Preemption,
        lock: RunLock | None,
        first: keras.Model | None,
        verbose: Any,
        flags: str,
    ) -> dict[str, Any]:
        keras.utils.set_random_seed(self.experiment.seed)
        data = load_data(self.experiment, self.files)
        # A run goes on with what was suggested when an earlier version began it.
        experiment = self._asked.with_suggested(self._own.suggested)
        self.experiment = experiment
        num_examples = num_in_epoch(
            data.train.labels, data.dataset.num_classes, experiment.examples_per_class
        )
        steps = steps_per_epoch(num_examples, experiment.batch_size)
        self._own.check_data(data)
        if self._writes:
            self.checkpoints.remove_unused_rows()
        with scope(self.strategy):
            backbone = make_backbone(experiment, data)
            model = compile_model(
                *(experiment, backbone, data, steps, self.execution, first),
                table_folder=self.checkpoints.table,
            )
        if model.method.in_turn:
            steps = model.method.most_batches(num_examples, experiment.batch_size)
        check_image_views(data.train.image_shape, experiment.test_views)
        self.picture_folder = needed_folder(data.train, self.files)
        self._check_machines(data)
        progress = restored(
            self.checkpoints, model, experiment, data, steps, self.strategy
        )
        bad_images = BadImages(
            self.folder / self._name_of_bad_images(), self.files.max_bad_fraction
        )
        monitor = self._monitor(data, flags)
        calls = fit_calls(
            model, experiment, self.execution, data, progress, steps, bad_images
        )
        ready = list(itertools.islice(calls, 1))  # which refuses what it cannot give
        # Only now: nothing is written before all that can be wrong has been looked at.
        if self._writes:
            self._own.begin(data)
        recorder = Recorder(
            self.folder,
            self.checkpoints,
            data,
            progress,
            checkpoint_minutes=self.execution.checkpoint_minutes,
            terminate_on_nan=TerminateOnNaN(
                self.folder, experiment, data, self.checkpoints, self._writes
            ),
            preemption=preemption,
            bad_images=bad_images,
            strategy=self.strategy,
            monitor=monitor,
            lock=lock,
        )
        self._check_preemption(preemption, "before its first batch")
        with _clear_messages(bad_images):
            validation = None
            if len(data.validation):
                validation = evaluation_input(
                    data.validation, data.dataset, "validation", bad_images
                )
            for arguments in itertools.chain(ready, calls):
                arguments["callbacks"] = [*arguments["callbacks"], recorder]
                model.fit(**arguments, validation_data=validation, verbose=verbose)
            if not ready:  # its last epoch was another process': nothing was evaluated
                _read_once(data, bad_images)
            return self._finish(model, data, recorder, preemption, lock, flags)

    def _check_machines(self, data: ExperimentData) -> None:
        """Check that all machines train the same on the same."""
        settings = (
            self.experiment.settings(),
            self.execution.steps_per_execution,
            data.description(),
        )
        text = json.dumps(settings, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]  # 40 bits
        if not is_common(self.strategy, int(digest, 16)):
            raise RunFolderError(
                "The machines were not started with the same flags on the same data: "
                "give all of them the same command, and the same files."
            )

    def _check_preemption(self, preemption: Preemption, where: str) -> None:
        if on_any_worker(self.strategy, preemption.is_requested):
            preemption.stop(where)

    def _monitor(self, data: ExperimentData, flags: str) -> NoiseMonitor | None:
        experiment = self.experiment
        finds = experiment.record.finds_label_issues
        if not (finds and self.execution.noise_monitor and self._writes):
            return None
        return monitor_of_run(experiment, data, self.folder / "tensorboard", flags)

    def _name_of_bad_images(self) -> str:
        if self._writes:
            return "bad_images.csv"
        # Each machine lists those that it read.
        return f"bad_images-worker{self.strategy.cluster_resolver.task_id}.csv"

    def _finish(
        self,
        model: keras.Model,
        data: ExperimentData,
        recorder: Recorder,
        preemption: Preemption,
        lock: RunLock | None,
        flags: str,
    ) -> dict[str, Any]:
        started = time.monotonic()
        parts = {"model.keras": model, "backbone.keras": model.predictor()}
        for name, part in parts.items():
            self._check_preemption(preemption, "after the last epoch")
            if lock is None:  # another machine writes
                continue
            lock.check()
            with replacing(self.folder / name) as partial:
                check_room(self.folder / name, file_size(part))
                part.save(partial)
        self._check_preemption(preemption, "after the last epoch")
        figures, issues = summarize(
            model,
            data,
            recorder.progress.history[-self.experiment.epochs :],  # of the last one
            self.experiment.record.noise_score,
            recorder.bad_images,
            self.experiment.test_views,
        )
        result = {
            **figures,
            "seconds": round(
                self._seconds_before + recorder.seconds + time.monotonic() - started, 1
            ),
            "versions": versions(),
            "settings": self.experiment.settings(),
            "execution": self.execution.settings(),
            "flags": flags,
        }
        if lock is not None:
            lock.check()
            if issues is not None:
                write_issues(self.folder / LABEL_ISSUES, issues, data)
            self._own.write_result(result)
        self.checkpoints.remove()
        on_any_worker(self.strategy, False)  # no machine leaves before the others
        return result


def _read_once(data: ExperimentData, bad_images: BadImages) -> None:
    """Read what is evaluated on, to count the images of it that cannot be used."""
    for split, examples in {**data.tests, "validation": data.validation}.items():
        if isinstance(examples.images, EncodedImages) and len(examples):
            for _ in evaluation_batches(
                examples, data.dataset, split=split, bad_images=bad_images
            ):
                pass


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
