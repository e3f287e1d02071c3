import os
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

DATA = os.environ.get("SOP_KERAS_DATA")


@pytest.fixture(scope="session")
def cifar_images():
    """200 real CIFAR-10 images, every 250th of the training set."""
    if not DATA:
        pytest.skip("SOP_KERAS_DATA is unset: no CIFAR-10")
    from sop_keras.data.datasets.cifar import load_cifar10

    return load_cifar10(Path(DATA) / "tfds").train.images[::250]


@pytest.fixture(scope="session")
def photographs():
    """Five pieces of scikit-learn's photographs, each of another size."""
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    return [
        china[100:260, 200:360],
        china[150:198, 300:364],
        china[40:152, 120:232],
        flower[100:201, 180:315],
        flower[60:260, 250:391],
    ]


@pytest.fixture(scope="session", params=["cifar", "photographs"])
def batches(request):
    """Real images: one batch of 50 small ones, or batches of one larger one."""
    if request.param == "cifar":
        return [request.getfixturevalue("cifar_images")[::4]]
    return [np.array(image[None]) for image in request.getfixturevalue("photographs")]
