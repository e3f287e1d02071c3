import numpy as np
import pytest

from sop_keras.monitoring.pictures import Suspect, gallery, noise_matrices

DARK = np.array([8, 48, 107])


def test_a_matrix_is_dark_where_the_share_is_1():
    # Row 0: all under label 1; row 1: none at all, white.
    counts = np.array([[0, 5], [0, 0]])
    picture = noise_matrices({"estimated": counts}, ["a", "b"])
    is_dark = (picture == DARK).all(axis=-1)
    rows, columns = np.nonzero(is_dark)
    # One cell of 34 pixels, less what the number 100 covers.
    assert np.ptp(rows) == np.ptp(columns) == 33
    assert 0.7 * 34**2 < is_dark.sum() < 34**2
    # It is on the right of a white one of the same size.
    left = picture[rows.min() : rows.max() + 1, columns.min() - 34 : columns.min()]
    assert (left == 255).all()


def test_two_matrices_stand_side_by_side():
    counts = np.eye(3, dtype=int)
    one = noise_matrices({"estimated": counts}, "abc")
    two = noise_matrices({"estimated": counts, "estimated ": counts}, "abc")
    np.testing.assert_array_equal(two, np.concatenate([one, one], axis=1))


def test_titles_are_not_cut():
    title = "estimated, by predictions in training"
    line = noise_matrices({title: np.eye(2, dtype=int)}, "ab")[10:25]
    assert line.min() == 0
    assert (line[:, -9:] == 255).all()  # the margin


@pytest.mark.parametrize("num_classes", [2, 30, 31, 1000])
def test_any_number_of_classes_fits(num_classes):
    names = [f"class {number}" for number in range(num_classes)]
    picture = noise_matrices({"true": np.eye(num_classes, dtype=int)}, names)
    assert picture.dtype == np.uint8
    assert max(picture.shape) < 1200
    assert (picture == DARK).all(axis=-1).sum() >= num_classes


def test_names_may_be_anything():
    names = ["$x^{", "a\nb\x00", "", "猫", "<script>alert(1)</script>"]
    noise_matrices({"estimated": np.eye(5, dtype=int)}, names)
    image = np.zeros((2, 2, 3), np.uint8)
    gallery([Suspect(image, "id 1", given=name, suggested=name) for name in names], "x")


def test_images_keep_their_pixels_and_shape():
    # 2 rows of 4 columns: 60 by 120 pixels in the middle of a square of 120.
    image = np.zeros((2, 4, 3), np.uint8)
    image[0, :, 0] = image[1, :, 2] = 200
    page = gallery([Suspect(image, "id 1, 0.5", "cat", "dog", "dog")], "Title")
    red = (page == [200, 0, 0]).all(axis=-1)
    blue = (page == [0, 0, 200]).all(axis=-1)
    assert red.sum() == blue.sum() == 30 * 120
    assert np.nonzero(blue)[0].min() == np.nonzero(red)[0].max() + 1


def test_grey_images_and_large_ones():
    grey = Suspect(np.full((8, 8, 1), 77, np.uint8), "id 1", "a", "b")
    pixels = np.full((300, 200, 3), [9, 200, 99], np.uint8)
    large = Suspect(pixels, "id 2", "a", "b")
    page = gallery([grey, large], "Title")
    assert (page == 77).all(axis=-1).sum() == 120 * 120
    assert (page == [9, 200, 99]).all(axis=-1).sum() == 120 * 80


def test_rows_have_nine_examples():
    image = np.full((1, 1, 3), 77, np.uint8)
    suspects = [Suspect(image, str(number), "a", "b") for number in range(10)]
    page = gallery(suspects, "Title")
    assert (page == 77).all(axis=-1).sum() == 10 * 120 * 120
    one_row = gallery(suspects[:9], "Title")
    assert page.shape[1] == one_row.shape[1]
    assert page.shape[0] > one_row.shape[0] + 120
