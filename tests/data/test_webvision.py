import data_trees
import numpy as np
import pytest

from sop_keras.data.datasets.webvision import load_webvision
from sop_keras.data.images.encoded_images import IMAGENET_MEAN, IMAGENET_STD

# The ten classes of the real images are ten of 60, in an order that is not ImageNet's;
# some of the ten are not among the first 50.
CIFAR_WNIDS = data_trees.wnids(60)[::6]
SYNSETS = data_trees.wnids(60, seed=1)
LABEL_OF = np.array([SYNSETS.index(wnid) for wnid in CIFAR_WNIDS])
SIZES = {"google": 60, "flickr": 30, "val": 40}


def write(folder, *, synsets=SYNSETS, label_of=LABEL_OF, **options):
    images, labels = data_trees.tiny_cifar10()
    return data_trees.write_webvision(
        folder, images, label_of[labels], SIZES, synsets=synsets, **options
    )


def load(folder, **options):
    options = {"imagenet_dir": "none", "expect_full_size": False, **options}
    return load_webvision(folder, **options)


def check_examples(examples, part, num_classes=50):
    """The lines with a label under `num_classes`: their files, labels, in order."""
    kept = np.flatnonzero(part.labels < num_classes)
    assert 0 < len(kept) < len(part.labels)
    np.testing.assert_array_equal(examples.labels, part.labels[kept])
    assert examples.clean_labels is None
    for i, line in enumerate(kept):
        assert examples.images.read(i) == data_trees.content(part.files[line])
    return kept


@pytest.fixture
def tree(tmp_path):
    write(tmp_path)
    return tmp_path


def edit(file, change):
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join(change(lines)))


def test_the_real_classes_are_on_both_sides_of_the_limit():
    # What all tests of "the first 50" hang on.
    assert 0 < (LABEL_OF < 50).sum() < 10


def test_mini_webvision(tmp_path):
    parts = write(tmp_path)
    dataset = load(tmp_path)
    kept = check_examples(dataset.train, parts["google"])
    assert dataset.train.ids.tolist() == list(range(len(kept)))
    assert dataset.num_examples == len(kept)
    lines = check_examples(dataset.test, parts["val"])
    assert dataset.test.ids.tolist() == lines.tolist()
    assert dataset.name == "webvision"
    assert dataset.num_classes == 50
    assert dataset.class_names[49] == "thing 49, such thing"
    assert (dataset.mean, dataset.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert dataset.labels_have_errors
    assert dataset.validation is None
    assert list(dataset.tests) == ["test"]
    # The paper's sizes (A.4).
    for examples in (dataset.train, dataset.test):
        assert examples.image_shape == (227, 227, 3)
        assert examples.images.resize == 256


def test_images_and_labels_belong_together(tmp_path):
    # Seen from the pixels: the class that the real image in the file really shows.
    parts = write(tmp_path, noise=0.0)
    dataset = load(tmp_path, num_classes=55)
    check_examples(dataset.train, parts["google"], 55)
    images, labels = data_trees.tiny_cifar10()
    for examples in (dataset.train, dataset.test):
        for i, label in enumerate(examples.labels):
            original = data_trees.original_of(examples.images.read(i), images)
            assert SYNSETS[label] == CIFAR_WNIDS[labels[original]]


def test_all_classes_come_from_both_searches(tmp_path):
    synsets = data_trees.wnids(1000, seed=2)
    parts = write(tmp_path, synsets=synsets, label_of=np.arange(0, 1000, 100))
    dataset = load(tmp_path, num_classes=1000, resize=320, image_size=299)
    labels = [*parts["google"].labels, *parts["flickr"].labels]
    assert dataset.train.labels.tolist() == labels
    files = [*parts["google"].files, *parts["flickr"].files]
    assert [dataset.train.images.name(i).encode() for i in range(90)] == files
    assert dataset.train.ids.tolist() == list(range(90))
    assert len(dataset.test) == 40
    assert dataset.num_classes == 1000
    assert dataset.train.image_shape == (299, 299, 3)
    assert dataset.test.images.resize == 320


@pytest.mark.parametrize("num_classes", [50, 1000])
def test_lists_and_names_from_other_systems(num_classes, tmp_path):
    parts = write(
        tmp_path,
        synsets=data_trees.wnids(1000, seed=2),
        searches_in_lists=False,
        names_are_text=False,
        style=data_trees.HANDLED,
    )
    dataset = load(tmp_path, num_classes=num_classes)
    if num_classes == 50:
        check_examples(dataset.train, parts["google"])
    else:
        files = [*parts["google"].files, *parts["flickr"].files]
        read = [dataset.train.images.read(i) for i in range(90)]
        assert read == [data_trees.content(file) for file in files]
    assert r"\xe9\xff" in dataset.train.images.name(0)
    assert dataset.class_names[0] == "thing 0, such thing"


def test_the_folder_that_holds_the_data_set(tmp_path):
    parts = write(tmp_path / "webvision")
    check_examples(load(str(tmp_path)).train, parts["google"])


@pytest.mark.parametrize("as_tfds", [False, True])
def test_the_ilsvrc2012_images_are_joined_by_wnid(as_tfds, tmp_path):
    write(tmp_path / "webvision")
    images, labels = data_trees.tiny_cifar10()
    if as_tfds:
        data_trees.write_imagenet_tfds(
            tmp_path, images, labels, 50, synsets=CIFAR_WNIDS
        )
    else:
        data_trees.write_imagenet_val(
            tmp_path / "imagenet" / "val", images, labels, 50, synsets=CIFAR_WNIDS
        )
    # Beside the data set's folder or around it: found without being named.
    for data_dir in (tmp_path, tmp_path / "webvision"):
        dataset = load(data_dir, imagenet_dir=None)
        assert list(dataset.tests) == ["test", "ilsvrc12"]
        examples = dataset.tests["ilsvrc12"]
        assert examples.image_shape == (227, 227, 3)
        # Those of the classes from 50 on are left out.
        assert 0 < len(examples) < 50
        for i, label in enumerate(examples.labels):
            assert label < 50
            original = data_trees.original_of(examples.images.read(i), images)
            assert SYNSETS[label] == CIFAR_WNIDS[labels[original]]


def test_a_named_ilsvrc2012_folder_is_the_one_that_is_read(tmp_path):
    write(tmp_path / "webvision")
    images, labels = data_trees.tiny_cifar10()
    for name, size in (("imagenet/val", 50), ("other", 30)):
        data_trees.write_imagenet_val(
            tmp_path / name, images, labels, size, synsets=CIFAR_WNIDS
        )
    dataset = load(tmp_path, num_classes=60, imagenet_dir=tmp_path / "other")
    assert len(dataset.tests["ilsvrc12"]) == 30
    with pytest.raises(ValueError, match=r"50 images of each class.*--noexpect"):
        load_webvision_with_full_lists(tmp_path, imagenet_dir=tmp_path / "other")


def load_webvision_with_full_lists(tmp_path, num_train=65_944, **options):
    """Mini WebVision's lists in full size; no image is looked at while loading."""
    info = tmp_path / "webvision" / "info"
    lines = [f"google/q0001/{i}.jpg {i % 60}" for i in range(2 * 65_944)]
    lines = [line for line in lines if int(line.split()[1]) < 50][:num_train]
    (info / "train_filelist_google.txt").write_text("\n".join(lines))
    lines = [f"val{i:06d}.jpg {i % 60}" for i in range(50 * 60)]
    (info / "val_filelist.txt").write_text("\n".join(lines))
    return load_webvision(tmp_path, **options)


def test_the_published_sizes(tmp_path):
    write(tmp_path / "webvision")
    dataset = load_webvision_with_full_lists(tmp_path, imagenet_dir="none")
    assert (len(dataset.train), len(dataset.test)) == (65_944, 2_500)
    with pytest.raises(ValueError, match="--noexpect_full_size") as error:
        load_webvision_with_full_lists(tmp_path, 65_943, imagenet_dir="none")
    assert str(error.value).startswith(
        "WebVision with 50 classes has 65,944 training, 2,500 validation images. "
        "Received: 65,943 training, 2,500 validation."
    )
    # Of other numbers of classes only the validation set's size is known.
    dataset = load_webvision_with_full_lists(
        tmp_path, 1000, num_classes=7, imagenet_dir="none"
    )
    assert len(dataset.test) == 350


def test_the_published_sizes_of_all_classes(tmp_path):
    write(tmp_path, synsets=data_trees.wnids(1000))
    text = "2,439,574 training, 50,000 validation images. Received: 90 .* 40 valid"
    with pytest.raises(ValueError, match=text):
        load_webvision(tmp_path, num_classes=1000, imagenet_dir="none")


def test_everything_that_is_missing_is_said_at_once(tree):
    (tree / "info" / "synsets.txt").unlink()
    (tree / "info" / "train_filelist_flickr.txt").unlink()
    (tree / "flickr").rename(tree / "flickr_resized_256")
    (tree / "val_images_256").rename(tree / "val_images")
    with pytest.raises(FileNotFoundError) as error:
        load(tree, num_classes=1000)
    text = str(error.value)
    assert text.startswith(
        f"webvision: missing in {tree}:\n"
        "  info/synsets.txt\n"
        "  info/train_filelist_flickr.txt\n"
        "  flickr/\n"
        "  val_images_256/\n"
        f"{tree} has: flickr_resized_256, google, info, val_images.\n"
    )
    assert "val_images_256.tar" in text
    # Mini WebVision does without flickr.
    with pytest.raises(FileNotFoundError) as error:
        load(tree)
    assert "flickr." not in str(error.value).split("has:")[0]


def test_no_ilsvrc2012_images(tree):
    with pytest.raises(FileNotFoundError, match="--imagenet_dir=none") as error:
        load(tree, imagenet_dir=None)
    for place in (tree, tree.parent):
        assert f"{place}/imagenet/val/n01440764/*.JPEG" in str(error.value)
        assert f"{place}/imagenet2012/5.1.0/features.json" in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        (
            "train_filelist_google.txt",
            lambda lines: [*lines[:4], lines[4].split()[0] + b" 60", *lines[5:]],
            r"label in line 5 of .*google\.txt must be from 0 to 59.* 60'",
        ),
        (
            "val_filelist.txt",
            # The same path, written with its folder.
            lambda lines: [*lines[:9], b"val_images_256/" + lines[2], *lines[9:]],
            r"filelist\.txt has the path 'val.*' in line 3 and again in line 10",
        ),
        (
            "val_filelist.txt",
            lambda lines: [*lines[:2], lines[2].split()[0], *lines[3:]],
            r"Line 3 of .*val_filelist\.txt must be a path, a space and an integer",
        ),
        (
            "val_filelist.txt",
            lambda lines: [b"val000001.jpg 59"],
            r"val_filelist\.txt has no label under 50",
        ),
        (
            "train_filelist_google.txt",
            lambda lines: [b"google/q0001/a.jpg 59"],
            r"train_filelist_google\.txt has no label under 50",
        ),
        (
            "synsets.txt",
            lambda lines: [*lines[:7], b"tench, Tinca tinca", *lines[8:]],
            r"Line 8 of .*synsets\.txt must begin with a wnid .*'tench, Tinca tinca'",
        ),
        (
            "synsets.txt",
            lambda lines: [*lines[:7], lines[3], *lines[8:]],
            rf"synsets\.txt has the wnid {SYNSETS[3]} in lines 4 and 8",
        ),
        (
            "synsets.txt",
            lambda lines: lines[:49],
            r"synsets\.txt has 49 classes, fewer than num_classes=50",
        ),
    ],
)
def test_lists_with_an_error(name, change, text, tree):
    edit(tree / "info" / name, change)
    with pytest.raises(ValueError, match=text):
        load(tree)


@pytest.mark.parametrize("num_classes", [0, 1001])
def test_numbers_of_classes_that_there_are_not(num_classes, tmp_path):
    text = f"from 1 to 1000. Received: num_classes={num_classes}"
    with pytest.raises(ValueError, match=text):
        load(tmp_path, num_classes=num_classes)
