import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import flagfiles
import keras
import numpy as np
import pytest
import train
from absl import flags
from absl.testing import flagsaver

ROOT = Path(__file__).resolve().parents[2]
DATA = os.environ.get("SOP_KERAS_DATA")


def experiment(name, *more):
    """The settings that a flagfile stands for, and the headers of the file."""
    path = flagfiles.FOLDER / f"{name}.flags"
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["train.py", f"--flagfile={path}", *more])
        method = flags.FLAGS.method[0]
        return train.experiment_from_flags(flags.FLAGS, method), path.read_text()


def test_methods_of_one_command_differ_in_the_method_alone():
    path = flagfiles.FOLDER / "plus_cpu.flags"
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["train.py", f"--flagfile={path}"])
        methods = flags.FLAGS.method
        settings = [
            dataclasses.asdict(train.experiment_from_flags(flags.FLAGS, method))
            for method in methods
        ]
    assert methods == ["sop_plus", "sop", "ce"]
    for one, method in zip(settings, methods, strict=True):
        assert one == {**settings[0], "method": method}


def test_flags_after_the_flagfile_win():
    settings, _ = experiment("digits", "--epochs=3", "--method=ce")
    assert (settings.epochs, settings.method) == (3, "ce")


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--method=elr", "different ones of: sop, sop_plus, ce"),
        ("--method=sop,sop", "different ones of: sop, sop_plus, ce"),
        ("--noise_rate=1.5", r"not in range|\[0, 1\]|lower|upper"),
        ("--epochs=0", "positive|lower"),
        ("--decay_epochs=40,x", "positive integers, like 40,80"),
        ("--backbone=resnet51", "(?s)cnn.*resnet50"),
        ("--dataset=mnist", "digits.*tfds:NAME"),
        ("--noise=human", "symmetric"),
        ("--augment=strong", "autoaugment"),
        ("--strong_augment=randaugment", "uda"),
        ("--consistency_weight=-1", "non-negative|lower"),
        ("--consistency_weight=nan", "finite"),
        ("--balance_weight=inf", "finite"),
        ("--class_prior=0.1", "uniform.*empirical"),
        ("--lr=nan", "finite"),
        ("--u_lr=inf", "finite"),
        ("--momentum=1", "less than 1"),
        ("--seed=5000000000", "seed"),
        ("--max_bad_fraction=1.5", "max_bad_fraction"),
        ("--webvision_classes=0", "webvision_classes"),
        ("--schedule=step", "needs increasing --decay_epochs"),
        ("--decay_epochs=40,80", "no other schedule takes them"),
    ],
)
def test_flag_values_are_checked_when_parsed(flag, text):
    with pytest.raises(flags.IllegalFlagValueError, match=text):
        experiment("digits", flag)


def launch(*arguments, cwd=None, **options):
    command = [sys.executable, str(ROOT / "launch" / "train.py"), *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, **options
    )


@pytest.mark.slow
def test_the_command_line_from_any_directory(tmp_path):
    quick = ["--epochs=1", "--max_train_examples=100"]
    done = launch("--flagfile=digits", *quick, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r" sop +\d+\.\d\d .*\n +ce +\d+\.\d\d ", done.stdout)
    assert "tensorboard --logdir=runs/digits-seed0" in done.stdout
    for method in ("sop", "ce"):
        assert (tmp_path / "runs/digits-seed0" / method / "result.json").is_file()
    # What is deployed loads without this package, the whole model with it alone.
    for method in ("sop", "ce"):
        for modules, file in (("keras", "backbone"), ("keras, sop_keras", "model")):
            path = str(tmp_path / "runs/digits-seed0" / method / f"{file}.keras")
            code = f"import {modules}; keras.saving.load_model({path!r})"
            subprocess.run([sys.executable, "-c", code], check=True)
    # Each method has its folder there, so one may be added or asked for alone.
    again = launch("--flagfile=digits", *quick, "--method=ce", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "runs/digits-seed0/ce is complete" in again.stdout
    # Errors are one line that says what to do, without a traceback.
    other = launch("--flagfile=digits", "--epochs=2", cwd=tmp_path)
    assert other.returncode == 1
    text = r"^error: runs/digits-seed0/sop holds a run of other settings \(epochs: 1"
    assert re.search(text, other.stderr, flags=re.M)
    for arguments, text in [
        (["--flagfile=nope"], "error: There is no flagfile 'nope'"),
        (["--noise_rate=2"], "--noise_rate"),
        (["--epoch=2"], "Unknown command line flag 'epoch'"),
        (["--flagfile=digits", "extra"], "error: arguments that are no flags: extra"),
        (
            ["--flagfile=cifar10_sym40", f"--data_dir={tmp_path}"],
            r"(?s)error: .*tfds\.load\('cifar10'",
        ),
    ]:
        failed = launch(*arguments, cwd=tmp_path)
        assert failed.returncode != 0
        assert re.search(text, failed.stderr + failed.stdout), failed.stderr
        assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_killed_in_an_epoch_the_same_command_ends_in_the_same_bits(tmp_path):
    # SOP+ has all the state there is: u, v, and two views of every example.
    flags_ = ["--method=sop_plus", "--epochs=40"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert launch(*flags_, f"--output_dir={whole}").returncode == 0

    command = [sys.executable, str(ROOT / "launch" / "train.py"), *flags_]
    process = subprocess.Popen(
        [*command, f"--output_dir={cut}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    history, deadline = cut / "history.csv", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if history.exists() and len(history.read_text().splitlines()) > 10:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (cut / "result.json").exists()

    assert launch(*flags_, f"--output_dir={cut}").returncode == 0
    models = [keras.saving.load_model(path / "model.keras") for path in (whole, cut)]
    for one, other in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    states = [model.optimizer.variables for model in models]
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="SOP_KERAS_DATA is unset: no CIFAR-10")
@pytest.mark.parametrize(
    ("name", "schedule", "num_validation"),
    [
        ("cifar10_asym40", ["--epochs=2", "--decay_epochs=1"], 5000),
        ("cifar10_plus_asym40", ["--epochs=1"], 0),
    ],
)
def test_a_row_of_the_paper_runs_on_real_cifar10(
    name, schedule, num_validation, tmp_path
):
    done = launch(
        f"--flagfile={name}",
        f"--data_dir={DATA}/tfds",
        f"--output_dir={tmp_path / 'run'}",
        "--backbone=cnn",
        *schedule,
        "--max_train_examples=1280",
    )
    assert done.returncode == 0, done.stderr
    result = (tmp_path / "run" / "result.json").read_text()
    assert '"num_train": 1280' in result
    assert f'"num_validation": {num_validation}' in result
    # Asymmetric noise leaves 5 of 10 classes alone: 40% of half are 20% (4 standard
    # errors of 1,280: 4.5%).
    rate = float(re.search(r'"noise_rate": ([\d.]+)', result)[1])
    assert abs(rate - 0.2) < 0.045
