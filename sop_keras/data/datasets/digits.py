"""scikit-learn's handwritten digits: 1,797 real 8x8 images, no download."""

from __future__ import annotations

import numpy as np

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.randomness.keyed import random_bits

NUM_EXAMPLES = 1797
NUM_TEST = 360

# Never changed: everybody's results are on the same 360 test examples.
TEST_SEED = 0


def load_digits() -> Dataset:
    """The digits data set, the default of every launcher.

    It is the test set of UCI's "Optical Recognition of Handwritten Digits"
    (E. Alpaydin, C. Kaynak, 1998) in scikit-learn's order. The published grey levels
    are whole numbers v from 0 to 16; the image holds `round(v * 255 / 16)`, so 0 is 0,
    16 is 255 and no two levels fall together.

    The data set has no test split of its own. The 360 examples with the smallest keyed
    random numbers, under a seed that never changes, are the test set; the other 1,437
    are the training set. Ids are places in scikit-learn's order, so both sets draw
    theirs from 0 to 1796, and `num_examples` is 1,797.

    Returns:
        A data set of images of shape `(8, 8, 1)` in 10 classes, each split in the order
        of its ids. `mean` (0.306) and `std` (0.376) are those of the training images.

    Raises:
        ImportError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load_published_digits
    except ImportError as error:
        raise ImportError(
            "The digits data set comes with scikit-learn, which is not installed. Run: "
            "pip install scikit-learn"
        ) from error
    published = load_published_digits()
    ids = np.arange(NUM_EXAMPLES)
    images = np.rint(published.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = published.target.astype(np.int64)
    examples = Examples(ids, images, labels, clean_labels=labels)
    is_test = np.zeros(NUM_EXAMPLES, dtype=bool)
    is_test[np.argsort(random_bits(TEST_SEED, "digits_test", ids))[:NUM_TEST]] = True
    return Dataset(
        name="digits",
        class_names=tuple(str(name) for name in published.target_names),
        num_examples=NUM_EXAMPLES,
        train=examples.take(~is_test),
        test=examples.take(is_test),
        mean=(float(images[~is_test].mean()) / 255,),
        std=(float(images[~is_test].std()) / 255,),
        splits_share_ids=True,
    )
