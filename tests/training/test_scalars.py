import tensorflow as tf

from sop_keras.files.tensorboard import Scalars


def test_figures_are_where_tensorboard_looks_for_them(tmp_path):
    scalars = Scalars(tmp_path)
    scalars.write(0, {"loss": 2.0, "val_loss": 3.0, "test_accuracy": 0.25})
    scalars.write(1, {"loss": 1.0})
    found = {
        (path.parent.name, value.tag, event.step): float(tf.make_ndarray(value.tensor))
        for path in tmp_path.rglob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert found == {
        ("train", "epoch_loss", 0): 2.0,
        ("train", "epoch_test_accuracy", 0): 0.25,
        ("validation", "epoch_loss", 0): 3.0,
        ("train", "epoch_loss", 1): 1.0,
    }
    assert len(list(tmp_path.rglob("events.*"))) == 2
