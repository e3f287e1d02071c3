import contact_sheet
import numpy as np
from PIL import Image

from sop_keras.augment.operations import OPERATIONS, apply_operation


def pixels(path):
    with Image.open(path) as sheet:
        return np.asarray(sheet)


def cells(sheet, lefts, row):
    """A row's cells at 32x32 pixels again: each pixel was enlarged to 3x3."""
    top = contact_sheet._top_of(row)
    rows = sheet[top + 1 : top + 96 : 3]
    return np.stack([rows[:, left + 1 : left + 96 : 3] for left in lefts])


def test_both_pictures(tmp_path, in_process):
    folder = tmp_path / "new"
    done = in_process(contact_sheet, "--output_dir", folder)
    paths = [folder / "augmentation.png", folder / "augmentation_pairs.png"]
    assert done.stdout.split() == [str(path) for path in paths]
    operations, views = map(pixels, paths)
    images = contact_sheet.photographs()
    assert images.shape == (4, 32, 32, 3)

    # Fifteen rows of eleven cells, the last ones 12 pixels from the borders.
    height, width, _ = operations.shape
    assert height == contact_sheet._top_of(14) + 96 + 12
    lefts = [width - 12 - 96 - 100 * k for k in reversed(range(11))]
    for row, name in enumerate(OPERATIONS):
        expected = apply_operation(np.repeat(images[:1], 11, axis=0), name, range(11))
        np.testing.assert_array_equal(cells(operations, lefts, row), expected)

    # The images themselves, then four epochs of three policies.
    lefts = [contact_sheet._column_of(column) for column in range(13)]
    assert lefts[-1] + 96 + 12 == views.shape[1]
    for row, image in enumerate(images):
        original, *others = cells(views, lefts, row)
        np.testing.assert_array_equal(original, image)
        assert len(np.unique(others, axis=0)) == 12
