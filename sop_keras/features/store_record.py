"""What a store of features says of itself: which network, how many rows, which sums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from sop_keras.files.atomic import write_atomically
from sop_keras.files.shown_text import shown
from sop_keras.files.untrusted import read_text

FORMAT = "sop_keras features"
VERSION = 1
SEGMENT_ROWS = 4096
"""How many rows have one checksum: 20 MiB of 1,280 features."""

MAX_FEATURES = 2**20
_MAX_ROWS = 2**40
_MAX_BYTES = 2**28
_LONGEST_SHOWN = 60


class FeatureStoreError(ValueError):
    """A folder that holds something else than features that can be gone on with."""


class DamagedRecordError(ValueError):
    """A record that says nothing, or nothing that can be so."""


@dataclass
class Sums:
    """The checksums (CRC-32) of the rows of a segment, so far.

    Args:
        features: of the bytes of their features.
        digests: of those of their images' digests.
        is_lost: whether the segment was found damaged: its rows do not count. Defaults
            to `False`.
    """

    features: int = 0
    digests: int = 0
    is_lost: bool = False


@dataclass
class StoreRecord:
    """What is in a store's files, as of the last time that it was written.

    Args:
        network: the record of the network that the features are of.
        num_features: D, of an image.
        num_rows: how many rows count; what lies beyond them in the files does not.
        segments: the sums of all segments of `SEGMENT_ROWS` rows, the last of which may
            have fewer.
    """

    network: dict[str, Any]
    num_features: int
    num_rows: int
    segments: list[Sums]

    def write(self, path: Path) -> None:
        """Replace the file in one step.

        Raises:
            OutputError: if it cannot be written.
        """
        sums = [[one.features, one.digests, one.is_lost] for one in self.segments]
        text = json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "network": self.network,
                "num_features": self.num_features,
                "num_rows": self.num_rows,
                "segment_rows": SEGMENT_ROWS,
                "segments": sums,
            }
        )
        write_atomically(path, text)


def read_record(path: Path) -> StoreRecord | None:
    """The record in a file; None where there is none.

    Raises:
        DamagedRecordError: if it is no JSON, or its numbers cannot be.
        FeatureStoreError: if it is another program's, or of a later version.
        OSError: if it cannot be read for a reason of the disk, is no regular file, or
            has more than 256 MiB.
    """
    try:
        record = json.loads(read_text(path, _MAX_BYTES))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise DamagedRecordError("its record is no JSON") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise FeatureStoreError(
            f"{path} was not written as the record of a store of features: nothing in "
            f"{path.parent} is touched. Choose another folder, or remove that file."
        )
    version = record.get("version")
    if _is_count(version, 2**31) and version > VERSION:
        raise FeatureStoreError(
            f"{path} is of version {version}, and this version of sop_keras knows "
            f"{VERSION}. Use the newer one, or choose another folder."
        )
    network, segments = record.get("network"), record.get("segments")
    num_features, num_rows = record.get("num_features"), record.get("num_rows")
    if (
        version != VERSION
        or record.get("segment_rows") != SEGMENT_ROWS
        or not isinstance(network, dict)
        or not _is_count(num_features, MAX_FEATURES)
        or not num_features
        or not _is_count(num_rows, _MAX_ROWS)
        or not isinstance(segments, list)
        or len(segments) != -(-num_rows // SEGMENT_ROWS)
        or not all(map(_are_sums, segments))
    ):
        raise DamagedRecordError("its record has numbers that cannot be")
    return StoreRecord(
        network, num_features, num_rows, [Sums(*sums) for sums in segments]
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between two records of networks, old -> new; "" if nothing does."""
    names = [*new, *(name for name in old if name not in new)]
    return ", ".join(
        f"{shown(name)} ({_short(old, name)} -> {_short(new, name)})"
        for name in names
        if old.get(name) != new.get(name)
    )


def _short(record: Mapping[str, Any], name: str) -> str:
    if name not in record:
        return "none"
    text = shown(str(record[name]))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _is_count(value: Any, most: int) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= most


def _are_sums(value: Any) -> bool:
    match value:
        case [features, digests, bool()]:
            return _is_count(features, 2**32 - 1) and _is_count(digests, 2**32 - 1)
    return False
