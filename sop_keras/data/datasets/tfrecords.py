"""Images inside the TFRecord files of a prepared TFDS data set, read one by one."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sop_keras.data.images.encoded_images import RAISE_IMAGE_BYTES, EncodedImages
from sop_keras.files.untrusted import NO_LIMIT, FileTooLargeError, open_untrusted

# Where an image is: the number of its file, that of the record inside it, and the
# bytes of the image's tf.train.Feature.
PLACE = np.dtype(
    [("file", "<i4"), ("record", "<i4"), ("offset", "<i8"), ("length", "<i8")]
)

# A record: uint64 length, uint32 checksum of it, the data, uint32 checksum of them.
_LENGTH_SIZE, _HEADER_SIZE, _FOOTER_SIZE = 8, 12, 4

_COMPRESSED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda")


class TFRecordImages(EncodedImages):
    """One record of a TFRecord file an image; made by `read_records`.

    An image is read by itself, from where it is, with no record before it. Its checksum
    is not checked, which would cost more than the reading: a flipped byte shows when
    the image is decoded, or not at all.

    Args:
        files: the TFRecord files.
        places: structured array, shape `(n,)`, one entry an image: `file` (an index of
            `files`), `record` (its number in the file), and `offset` and `length` of
            the image's `tf.train.Feature`, in bytes.
        resize: as for `EncodedImages`. Defaults to `256`.
        image_size: as for `EncodedImages`. Defaults to `224`.
    """

    def __init__(
        self,
        files: Sequence[Path],
        places: np.ndarray,
        resize: int = 256,
        image_size: int = 224,
    ):
        super().__init__(resize, image_size)
        self.files = tuple(files)
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, positions: np.ndarray) -> TFRecordImages:
        return TFRecordImages(
            self.files, self.places[positions], self.resize, self.image_size
        ).read_as(self)

    def read(self, position: int) -> bytes:
        """The encoded image, as it is in the record."""
        import tensorflow as tf

        place = self.places[position]
        if place["length"] > self.max_bytes:
            raise FileTooLargeError(
                f"{place['length']:,} bytes, where at most {self.max_bytes:,} are read"
                f". Raise that limit with {RAISE_IMAGE_BYTES}",
                self.name(position),
            )
        # Opened anew each time: threads and forked processes share no file position,
        # and 1,000 files need no 1,000 descriptors.
        with open_untrusted(self.files[place["file"]], NO_LIMIT) as file:
            data = os.pread(file.fileno(), place["length"], place["offset"])
        try:
            return tf.train.Feature.FromString(data).bytes_list.value[0]
        except Exception as error:  # the DecodeError of any version of protobuf
            raise OSError(
                f"{self.name(position)} holds no image any more: has the file changed?"
            ) from error

    def name(self, position: int) -> str:
        """The file and the number of the record in it, from 0."""
        place = self.places[position]
        return f"{self.files[place['file']]} record {place['record']}"


def read_records(
    builder: Any,
    split: str,
    *,
    image_feature: str = "image",
    label_feature: str = "label",
    resize: int = 256,
    image_size: int = 224,
) -> tuple[TFRecordImages, np.ndarray]:
    """Where the images of a prepared TFDS split are, and their labels.

    The files are passed over once, in their order; of each record only the label is
    read, not the image.

    Args:
        builder: the `tfds.core.DatasetBuilder` of a data set whose split is prepared,
            as TFRecord files.
        split: the name of the split, such as `"validation"`.
        image_feature: the name of the feature that is the encoded image. Defaults to
            `"image"`.
        label_feature: the name of the feature that is an integer. Defaults to
            `"label"`.
        resize: as for `EncodedImages`. Defaults to `256`.
        image_size: as for `EncodedImages`. Defaults to `224`.

    Returns:
        The images, and their labels as an int64 array, shape `(n,)`; both in the order
        of the records, shard by shard.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if there is no such split, the files are in another format, a file
            is cut short or has another number of records than the data set says, a
            record lacks a feature, or a size is out of range.
    """
    info = builder.info
    if split not in info.splits:
        raise ValueError(
            f"The prepared {info.full_name} has no split {split!r}. It has: "
            f"{', '.join(info.splits) or 'none'}. Prepare it with that split."
        )
    _check_file_format(builder)
    files = [Path(os.fspath(path)) for path in info.splits[split].filepaths]
    lengths = info.splits[split].shard_lengths
    if missing := [str(file) for file in files if not file.exists()]:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(files)} files of {info.full_name}, split "
            f"{split!r}, are missing, such as {missing[0]}. Prepare or copy the data "
            "set again."
        )
    places = np.zeros(sum(lengths), PLACE)
    labels = np.zeros(len(places), np.int64)
    start = 0
    for number, (file, length) in enumerate(zip(files, lengths, strict=True)):
        here = slice(start, start + length)
        places["file"][here] = number
        start += length
        features = (image_feature.encode(), label_feature.encode())
        _read_file(file, features, places[here], labels[here])
    return TFRecordImages(files, places, resize, image_size), labels


def _check_file_format(builder: Any) -> None:
    file_format = builder.info.file_format.value
    if file_format != "tfrecord":
        raise ValueError(
            f"{builder.info.full_name} in {builder.data_dir} is prepared as "
            f"{file_format} files. Prepare it as TFRecord files, TFDS' default "
            "(file_format='tfrecord')."
        )


def _read_file(
    file: Path, features: tuple[bytes, bytes], places: np.ndarray, labels: np.ndarray
) -> None:
    """Fills in the places and labels of the records of one file, in their order."""
    image_feature, label_feature = features
    num_records = 0
    for record, (data, start, end) in enumerate(records(file)):
        num_records += 1
        if record >= len(places):
            continue  # counted, for the text
        try:
            found = features_of(data, start, end)
            image, label = found[image_feature], found[label_feature]
            labels[record] = integer_of(data[slice(*label)])
        except KeyError as error:
            raise ValueError(
                f"{file} record {record} has no feature {error.args[0].decode()!r}. "
                f"It has: {b', '.join(found).decode()}."
            ) from error
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"{file} record {record} is no tf.train.Example with an integer "
                f"{label_feature.decode()!r}: {error}. Prepare or copy it again."
            ) from error
        places[record]["record"] = record
        places[record]["offset"] = image[0]
        places[record]["length"] = image[1] - image[0]
    if num_records != len(places):
        raise ValueError(
            f"{file} has {num_records} records; the data set's dataset_info.json says "
            f"{len(places)}. Prepare or copy it again."
        )


def records(file: Path) -> Iterator[tuple[mmap.mmap, int, int]]:
    """The mapped file, and start and end of the data of each record.

    Raises:
        ValueError: if the file is cut short, compressed, or no TFRecord file.
    """
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_untrusted(file, NO_LIMIT))
        size = os.fstat(opened.fileno()).st_size
        if not size:  # a shard without examples; an empty file cannot be mapped
            return
        data = stack.enter_context(
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        )
        offset = 0
        while offset < size:
            length = int.from_bytes(data[offset : offset + _LENGTH_SIZE], "little")
            start = offset + _HEADER_SIZE
            offset = start + length + _FOOTER_SIZE
            if offset > size:
                raise ValueError(_cut_short(file, data[:2], offset, size))
            yield data, start, start + length


def _cut_short(file: Path, first_bytes: bytes, expected: int, size: int) -> str:
    if first_bytes in _COMPRESSED:
        return (
            f"{file} is compressed, and a single image cannot be read out of such a "
            "file. Prepare the data set without compression."
        )
    return (
        f"{file} is cut short, or no TFRecord file: a record ends at byte {expected}, "
        f"the file at byte {size}. Prepare or copy it again."
    )


def features_of(
    data: bytes | mmap.mmap, start: int, end: int
) -> dict[bytes, tuple[int, int]]:
    """Start and end of each feature of a serialized tf.train.Example, by name.

    Parsing the Example would read the image too, which is nearly all of a data set.

    Raises:
        ValueError, IndexError: if it is no such Example.
    """
    found = {}
    # Example.features is field 1, Features.feature field 1: a map, whose entries have
    # the key in field 1 and the value in field 2.
    for _, features_start, features_end in _fields(data, start, end):
        for _, entry_start, entry_end in _fields(data, features_start, features_end):
            entry = {
                number: (field_start, field_end)
                for number, field_start, field_end in _fields(
                    data, entry_start, entry_end
                )
            }
            found[data[slice(*entry.get(1, (0, 0)))]] = entry.get(2, (0, 0))
    return found


def _fields(
    data: bytes | mmap.mmap, start: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a message of strings and messages."""
    while start < end:
        tag, start = data[start], start + 1
        length, shift = 0, 0
        while True:
            byte, start = data[start], start + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        # Wire type 2: a length, then so many bytes. Field numbers are below 16 here.
        if tag & 0x07 != 2 or start + length > end:
            raise ValueError(f"no protocol buffer at byte {start}")
        yield tag >> 3, start, start + length
        start += length


def integer_of(feature: bytes, name: str = "label") -> int:
    """The integer of a serialized tf.train.Feature.

    Args:
        feature: the bytes.
        name: what it is, for the error. Defaults to `"label"`.

    Raises:
        ValueError: if it is no such Feature, or has not one integer.
    """
    import tensorflow as tf

    try:
        values = tf.train.Feature.FromString(feature).int64_list.value
    except Exception as error:  # the DecodeError of any version of protobuf
        raise ValueError(f"the {name} is no tf.train.Feature") from error
    if len(values) != 1:
        raise ValueError(f"the {name} has {len(values)} integers")
    return values[0]
