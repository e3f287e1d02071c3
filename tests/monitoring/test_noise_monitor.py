import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import IDS, LABELS, events, scalars, set_by_hand, settings_written, tiny_model

from sop_keras import SOPModel
from sop_keras.files.atomic import OutputError
from sop_keras.monitoring import pictures
from sop_keras.monitoring.noise_monitor import NoiseMonitor, has_pictures

CLEAN = np.array([1, 1, 0, 0])
IMAGES = np.zeros((4, 2, 2, 1), np.uint8)


def at_the_end_of_an_epoch(monitor, model, epoch=0, epochs=1, logs=None):
    monitor.set_params({"epochs": epochs})
    monitor.set_model(model)
    monitor.on_epoch_end(epoch, logs)


def test_the_scalars_of_an_epoch(tmp_path):
    monitor = NoiseMonitor(tmp_path, LABELS, ids=IDS, clean_labels=CLEAN)
    logs = {"loss": 2.0, "val_loss": 4.0}
    at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()), epoch=7, logs=logs)
    found = scalars(tmp_path, 7)
    # Those of test_figures.py and tiny.py.
    assert found["noise/mean_s1"] == pytest.approx(0.4225240 / 4, rel=1e-5)
    assert found["noise/estimated_rate"] == pytest.approx(1 / 3)
    assert found["detection/auroc"] == 0.5
    assert found["memorization/wrong_labels_corrected"] == 0.5
    assert found["rates/alpha_u"] == 2.0
    assert found["rates/alpha_v"] == 3.0
    assert found["rates/learning_rate"] == 0.25
    written = events(tmp_path)
    assert written["train", "epoch_loss", 7] == 2
    assert written["validation", "epoch_loss", 7] == 4
    # |u| = 0.5, 0.05, 0.004, 0.001, in fifths of decades.
    histogram = written[".", "log10_u_at_the_label", 7]
    lefts = [left for left, _, count in histogram.tolist() if count]
    assert lefts == pytest.approx([-3, -2.4, -1.4, -0.4])


def test_labels_are_those_that_were_trained_on(tmp_path):
    # The record has labels 0, 1, 2 of ids 5, 0, 3, and nothing of id 2. In the order of
    # ids 0, 2, 3, 5 the labels are 1, 0, 2, 0: as given, 0 and 1 stand at 0 and 2, and
    # of 2 nothing is known, so that one is seen to be wrong.
    monitor = NoiseMonitor(tmp_path, LABELS, ids=np.sort(IDS))
    text = r"1 of the 4 `labels` are not .* the first is 0, for the index 0\. .* `ids`"
    with pytest.raises(ValueError, match=text):
        at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()))
    assert not list(tmp_path.iterdir())


def test_labels_in_another_order_end_training_after_the_first_batch(tmp_path):
    model, seen = tiny_model(), []
    # Shuffled, as a file's rows may be: no label is at its place.
    labels = np.array([0, 1, 2, 0, 1, 2])
    monitor = NoiseMonitor(tmp_path, np.roll(labels, 1))
    counter = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(batch)
    )
    x = np.zeros((6, 2), "float32")
    options = {"batch_size": 2, "verbose": 0}
    with pytest.raises(ValueError, match="2 of the 6 `labels` are not those that"):
        model.fit(x, labels, callbacks=[counter, monitor], **options)
    assert seen == [0]
    # Corrected labels of a trained model are those of the epoch that is over.
    corrected = np.array([1, 2, 0, 1, 2, 0])
    monitor = NoiseMonitor(tmp_path, corrected)
    options["changed_labels"] = "reset"
    model.fit(x, corrected, callbacks=[monitor], **options)


def test_examples_of_weight_0_are_not_known(tmp_path):
    model = tiny_model()
    labels = np.array([0, 1, 2, 0, 1, 2])
    monitor = NoiseMonitor(tmp_path, labels)
    x, weights = np.zeros((6, 2), "float32"), np.array([1, 0, 1, 1, 0, 1.0])
    model.fit(x, labels, sample_weight=weights, callbacks=[monitor], verbose=0)
    scan = monitor.look().scan
    assert scan.is_known.tolist() == [True, False, True, True, False, True]
    assert np.isnan(scan.quality).tolist() == [False, True, False, False, True, False]
    assert scan.likely_labels[[1, 4]].tolist() == [1, 1]


def test_one_hot_labels_without_anything_else(tmp_path):
    model = set_by_hand(tiny_model())
    labels = np.eye(3)[[1, 0, 0, 2, 0, 0]]
    monitor = NoiseMonitor(tmp_path, labels, write_logs=False)
    at_the_end_of_an_epoch(monitor, model, logs={"loss": 1.0})
    assert {part for part, _, _ in events(tmp_path)} == {"."}
    found = scalars(tmp_path, 0)
    # Rows 1 and 4 are 0; row 2 is labelled 0 as in tiny.py, and the others are, too.
    assert found["noise/mean_s1"] == pytest.approx(0.4225240 / 6, rel=1e-5)
    assert not any(tag.startswith(("detection", "memor")) for tag in found)
    tags = {tag for _, tag, _ in events(tmp_path)}
    assert "noise_matrix" in tags
    assert "suspicious_labels" not in tags


def test_of_many_classes_there_is_no_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr("sop_keras.monitoring.noise_monitor.MOST_CLASSES", 2)
    monitor = NoiseMonitor(tmp_path, LABELS, ids=IDS, images=IMAGES)
    at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()))
    tags = {tag for _, tag, _ in events(tmp_path)}
    assert "suspicious_labels" in tags
    assert "noise_matrix" not in tags


def test_pictures_are_drawn_now_and_then():
    chosen = [epoch for epoch in range(1, 1001) if has_pictures(epoch)]
    assert chosen == [1, 3, 10, 30, 100, 300, 1000]


@pytest.mark.parametrize(("epochs", "steps"), [(None, {0, 2, 3}), (7, {0, 2})])
def test_pictures_are_drawn_after_the_last_epoch(tmp_path, epochs, steps):
    monitor = NoiseMonitor(tmp_path, LABELS, ids=IDS, images=IMAGES, epochs=epochs)
    for epoch in range(4):
        at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()), epoch, epochs=4)
    for name in ("noise_matrix", "suspicious_labels"):
        assert {step for _, tag, step in events(tmp_path) if tag == name} == steps


def test_images_are_asked_for_the_lowest_qualities_alone(tmp_path):
    asked = []

    def images(positions):
        asked.extend(positions.tolist())
        return IMAGES[positions] / 255.0

    monitor = NoiseMonitor(tmp_path, LABELS, ids=IDS, images=images, num_suspicious=2)
    at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()))
    assert asked == [0, 1]  # 0.32, 0.92; then 0.9995 and what is not known


def test_no_more_examples_are_shown_than_are_known(tmp_path):
    asked = []
    monitor = NoiseMonitor(
        tmp_path,
        LABELS,
        ids=IDS,
        images=lambda positions: asked.append(positions) or IMAGES[positions],
    )
    at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()))
    assert asked[0].tolist() == [0, 1, 2]


def test_hparams_have_the_figures_of_the_training(tmp_path):
    hparams = {"rate": 0.5, "kind": "a", "epochs": [1, 2], "size": None, "fast": True}
    monitor = NoiseMonitor(
        tmp_path, LABELS, ids=IDS, clean_labels=CLEAN, hparams=hparams
    )
    logs = {"accuracy": 0.5, "val_accuracy": 0.5, "test_accuracy": 0.5, "loss": 1.0}
    at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()), logs=logs)
    expected = {"rate": 0.5, "kind": "a", "epochs": "[1, 2]", "size": "none"}
    found, metrics = settings_written(tmp_path)
    assert found == {**expected, "fast": True}
    assert metrics == {
        ("train", "epoch_accuracy"),
        ("validation", "epoch_accuracy"),
        ("train", "epoch_test_accuracy"),
        ("", "noise/estimated_rate"),
        ("", "detection/auroc"),
        ("", "detection/average_precision"),
    }
    # They are where these say.
    written = {(part.strip("."), tag) for part, tag, _ in events(tmp_path)}
    assert metrics <= written


def test_text_stays_text(tmp_path):
    text = "--a=1\n```\n<script>alert(1)</script>\r# b\u2028c"
    monitor = NoiseMonitor(tmp_path, LABELS, ids=IDS, text=text)
    at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()), epoch=3)
    (line,) = [a for (_, tag, _), a in events(tmp_path).items() if tag == "flags"]
    # Markdown shows what is indented by four as it is.
    lines = line.item().decode().split("\n")
    expected = ["--a=1", "```", "<script>alert(1)</script>", "# b", "c"]
    assert lines == [f"    {one}" for one in expected]


def fit(model, monitor, **arguments):
    x = np.arange(12.0, dtype="float32").reshape(6, 2)
    y = np.array([0, 1, 2, 0, 1, 2])
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[monitor], **arguments)


def test_several_calls_of_fit_are_one_training(tmp_path):
    model = tiny_model()
    monitor = NoiseMonitor(tmp_path, [0, 1, 2, 0, 1, 2], text="once")
    fit(model, monitor, epochs=2)
    fit(model, monitor, epochs=3, initial_epoch=2)
    written = events(tmp_path)
    assert {step for _, tag, step in written if tag == "noise/mean_s1"} == {0, 1, 2}
    assert {step for _, tag, step in written if tag == "epoch_loss"} == {0, 1, 2}
    assert {step for _, tag, step in written if tag == "flags"} == {0}
    # All examples have been in a batch; alpha and the losses are there.
    assert written["train", "epoch_ce_loss", 2].item() > 0
    noise = model.estimate_noise(np.arange(6), [0, 1, 2, 0, 1, 2])
    last = written[".", "noise/mean_s1", 2].item()
    assert last == pytest.approx(np.abs(noise).sum(axis=-1).mean(), rel=1e-5)


def test_what_is_not_to_be_trusted_is_on_its_pages(tmp_path):
    model = tiny_model()
    fit(model, NoiseMonitor(tmp_path, [0, 1, 2, 0, 1, 2]), epochs=2)
    fit(model, NoiseMonitor(tmp_path, [0, 1, 2, 0, 1, 2]), epochs=4, initial_epoch=2)
    written = events(tmp_path)
    # Two visits are to be too few, from the first on; later there are four.
    text = written[".", "doubts", 0].item().decode()
    assert text.startswith("    Each example gets 2 of the 3 visits")
    numbers = [written[".", "noise/num_doubts", step].item() for step in range(4)]
    assert numbers[0] >= 1
    assert numbers[2] == numbers[0] - 1


def test_training_is_the_same_with_it(tmp_path):
    def trained(*monitors):
        keras.utils.set_random_seed(0)
        model = tiny_model()
        for monitor in monitors or [keras.callbacks.Callback()]:
            fit(model, monitor, epochs=2)
        return [variable.numpy() for variable in model.variables]

    with_it = trained(
        NoiseMonitor(tmp_path, [0, 1, 2, 0, 1, 2], images=IMAGES[[0] * 6])
    )
    for one, other in zip(trained(), with_it, strict=True):
        np.testing.assert_array_equal(one, other)


def test_under_a_strategy(tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = tiny_model()
    monitor = NoiseMonitor(tmp_path, [0, 1, 2, 0, 1, 2])
    fit(model, monitor, epochs=1)
    noise = model.estimate_noise(np.arange(6), [0, 1, 2, 0, 1, 2])
    found = scalars(tmp_path, 0)["noise/mean_s1"]
    assert found == pytest.approx(np.abs(noise).sum(axis=-1).mean(), rel=1e-5)


def test_another_model_is_refused_before_training(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile(loss="mse")
    monitor = NoiseMonitor(tmp_path / "logs", LABELS)
    with pytest.raises(
        ValueError, match=r"needs a NoisyLabelModel, such as SOPModel.*Sequential"
    ):
        fit(model, monitor, epochs=1)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": [0, 1]}, "`ids` must have an entry for each of the 4.*Received: 2"),
        ({"clean_labels": [0, 1]}, "`clean_labels`.*of the 4.*Received: 2"),
        ({"images": IMAGES[:3]}, "`images`.*of the 4.*Received: 3"),
        ({"images": IMAGES[..., 0]}, r"`images` must be.*shape \(4, 2, 2\).*\.\.\."),
        ({"images": IMAGES.astype(int)}, "`images` must be uint8.*int64"),
        ({"images": IMAGES + 2.0}, r"in \[0, 1\].*from 2 to 2\. .*divided by 255"),
        ({"images": IMAGES - 0.5}, r"in \[0, 1\].*from -0\.5 to -0\.5\. .*standard"),
        ({"images": IMAGES + np.nan}, r"in \[0, 1\].*from nan to nan"),
        ({"labels": [0.5, 1, 2, 0]}, "`labels` must be integers.*float64"),
        ({"labels": np.full((4, 3), 0.5)}, "not one-hot"),
        ({"labels": np.empty(0, int)}, "`labels` must be.*at least one.*none"),
        (
            {"num_suspicious": 0},
            "`num_suspicious` must be an integer of at least 1.*=0",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        NoiseMonitor(tmp_path, **{"labels": LABELS, **arguments})


def test_images_of_a_function_are_checked_when_it_is_called(tmp_path):
    monitor = NoiseMonitor(
        tmp_path, LABELS, ids=IDS, images=lambda positions: IMAGES[positions] + 255.0
    )
    with pytest.raises(ValueError, match=r"`images`.*in \[0, 1\].*from 255 to 255"):
        at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()))


def test_images_may_be_a_rounding_off(tmp_path):
    images = np.full((4, 2, 2, 1), 1 + 1e-6, np.float32)
    NoiseMonitor(tmp_path, LABELS, images=images)


def test_an_error_of_the_images_is_not_one_of_writing(tmp_path):
    def images(positions):
        raise FileNotFoundError("cat.png")

    monitor = NoiseMonitor(tmp_path, LABELS, ids=IDS, images=images)
    with pytest.raises(FileNotFoundError, match=r"^cat\.png$"):
        at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()))


def test_class_names_need_not_be_strings(tmp_path):
    monitor = NoiseMonitor(
        tmp_path, LABELS, ids=IDS, images=IMAGES, class_names=np.array([3, 5, 8])
    )
    at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()))
    assert {"noise_matrix", "suspicious_labels"} < {
        tag for _, tag, _ in events(tmp_path)
    }


def test_a_look_writes_nothing(tmp_path):
    monitor = NoiseMonitor(tmp_path / "logs", LABELS, ids=IDS)
    monitor.set_params({"epochs": 1})
    monitor.set_model(set_by_hand(tiny_model()))
    look = monitor.look()
    assert look.figures["noise/estimated_rate"] == pytest.approx(1 / 3)
    assert not (tmp_path / "logs").exists()
    monitor.write(4, look, {})
    found = scalars(tmp_path / "logs", 4)
    assert found == pytest.approx(look.figures, rel=1e-6)


def test_the_matrix_says_what_it_is_estimated_by(tmp_path, monkeypatch):
    titles = []
    draw = pictures.noise_matrices
    monkeypatch.setattr(
        pictures,
        "noise_matrices",
        lambda matrices, names: titles.extend(matrices) or draw(matrices, names),
    )
    monitor = NoiseMonitor(tmp_path, LABELS, ids=IDS, clean_labels=CLEAN)
    at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()))
    assert titles == ["estimated, by predictions in training", "true"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": [0, 1, 2, 6]}, r"Index 6 is outside \[0, 6\)"),
        ({"labels": [0, 1, 2, 3]}, r"Label 3 is not in \[0, 3\)"),
        ({"clean_labels": [0, 1, 2, -1]}, r"Label -1 is not in \[0, 3\)"),
        ({"class_names": ["a", "b"]}, "`class_names` must be 3.*Received: 2"),
        ({"ids": None}, "num_examples=6.*or come with `ids`.*Received: 4"),
    ],
)
def test_what_the_model_does_not_have_is_refused(tmp_path, arguments, message):
    monitor = NoiseMonitor(tmp_path, **{"labels": LABELS, "ids": IDS, **arguments})
    with pytest.raises(ValueError, match=message):
        monitor.set_model(tiny_model())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("PIL", {}), ("tensorboard", {}), ("sklearn", {"clean_labels": CLEAN})],
)
def test_missing_extras_are_named(tmp_path, monkeypatch, module, arguments):
    monkeypatch.setitem(sys.modules, module, None)  # an import of it fails
    with pytest.raises(ImportError, match=rf"{module}.*sop-keras\[monitor\]"):
        NoiseMonitor(tmp_path, LABELS, **arguments)


def test_scikit_learn_is_for_clean_labels_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    NoiseMonitor(tmp_path, LABELS)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monitor = NoiseMonitor(tmp_path / "file" / "logs", LABELS, ids=IDS)
    with pytest.raises(OutputError, match=r"logs could not be written: .*bytes free"):
        at_the_end_of_an_epoch(monitor, set_by_hand(tiny_model()))


def test_a_model_without_first_values(tmp_path):
    # init_std=0: u and v are 0, and stay there.
    backbone = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model = SOPModel(backbone, num_examples=6, num_classes=3, init_std=0.0)
    model.compile(keras.optimizers.SGD(0.1))
    fit(model, NoiseMonitor(tmp_path, [0, 1, 2, 0, 1, 2]), epochs=1)
    found = scalars(tmp_path, 0)
    assert found["noise/mean_s1"] == found["noise/rows_moved"] == 0
    assert found["noise/sparsity"] == 1
