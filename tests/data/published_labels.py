"""Labels with the published rates of error, and files of them."""

import os
import pickle
import zipfile

import numpy as np
import pytest

DATA = os.environ.get("SOP_KERAS_DATA")
needs_real_labels = pytest.mark.skipif(
    not DATA, reason="SOP_KERAS_DATA is unset: no folder with cifar_n"
)

# Wrong labels among 50,000: the published rates of 9.010, 17.234, 18.122, 17.640,
# 40.208 and 40.200%, times 500.
NUM_WRONG = {
    "aggre_label": 4505,
    "random_label1": 8617,
    "random_label2": 9061,
    "random_label3": 8820,
    "worse_label": 20104,
}
NUM_WRONG_100 = {"noisy_label": 20100}


def made_labels(num_wrong, num_classes):
    """Clean labels 0, 1, 2, ... in turn; wrong ones are the next class, first come."""
    clean = np.arange(50_000) % num_classes
    wrong = {
        entry: (clean + (np.arange(50_000) < count)) % num_classes
        for entry, count in num_wrong.items()
    }
    return {"clean_label": clean, **wrong}


def labels_of_10(**changes):
    return {**made_labels(NUM_WRONG, 10), **changes}


def labels_of_100():
    return made_labels(NUM_WRONG_100, 100)


def write_pt(path, content, *, old_names=False):
    """What `torch.save` makes of numpy arrays: a zip with a pickle of protocol 2."""
    data = content if isinstance(content, bytes) else pickle.dumps(content, 2)
    if old_names:
        new = b"cnumpy._core.multiarray\n"
        assert new in data
        data = data.replace(new, b"cnumpy.core.multiarray\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")


def write_file(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **content)
    else:
        write_pt(path, content)
