import io
import os
import pickle
import sys
import types

import numpy as np
import pytest

from sop_keras.backbones.torch_weights import read_torch_weights

MAGIC = 0x1950A86A20F9469CFC6C


class Tensor:
    """Pickled as PyTorch pickles a tensor."""

    def __init__(self, key, start, shape, strides, size=6, kind="FloatStorage"):
        self.reference = ("storage", kind, key, "cpu", size, None)
        self.rest = (start, shape, strides, False, {})

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (Reference(self.reference), *self.rest)


class Reference:
    def __init__(self, parts):
        self.parts = parts


class Pickler(pickle.Pickler):
    def persistent_id(self, one):
        if not isinstance(one, Reference):
            return None
        name, kind, *rest = one.parts
        return (name, getattr(sys.modules["torch"], kind), *rest)


@pytest.fixture(autouse=True)
def _names_of_torch(monkeypatch):
    """Modules with the names that such files use; without PyTorch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in ("FloatStorage", "LongStorage", "HalfStorage"):
        storage = type(kind, (), {"__module__": "torch"})
        setattr(torch, kind, storage)

    def _rebuild_tensor_v2(*args):
        raise AssertionError("a name of the file was run")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def pickled(one):
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(one)
    return file.getvalue()


def storage(numbers):
    return np.array(len(numbers), "<i8").tobytes() + numbers.tobytes()


NUMBERS = np.arange(6, dtype="<f4")


def file_of(tmp_path, tensors, keys=("7",), contents=None, start=None):
    if start is None:
        system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
        start = [MAGIC, 1001, system]
    path = tmp_path / "weights.pth"
    contents = storage(NUMBERS) if contents is None else contents
    parts = [pickled(one) for one in (*start, tensors, list(keys))]
    path.write_bytes(b"".join(parts) + contents)
    return path


def test_views_of_storages(tmp_path):
    tensors = {
        "all": Tensor("7", 0, (2, 3), (3, 1)),
        "turned": Tensor("7", 0, (3, 2), (1, 3)),
        "part": Tensor("7", 4, (2,), (1,)),
        "count": Tensor("9", 0, (), (), 1, "LongStorage"),
    }
    contents = storage(np.array([5], "<i8")) + storage(NUMBERS)
    found = read_torch_weights(file_of(tmp_path, tensors, ("9", "7"), contents))
    assert list(found) == list(tensors)
    assert found["all"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["all"].dtype == np.float32
    assert found["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["part"].tolist() == [4, 5]
    assert found["count"].tolist() == 5
    assert found["count"].dtype == np.int64


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("7", 0, (7,), (1,)),
        Tensor("7", 3, (2, 3), (3, 1)),
        Tensor("7", -1, (2,), (1,)),
        Tensor("7", 0, (2,), (-1,)),
        Tensor("7", 0, (2, 3), (3,)),
        Tensor("7", 0, (10**9,), (0,)),  # 4 GB of one number
        Tensor("7", 0, (2**40, 2**40), (0, 0)),
    ],
)
def test_views_beyond_their_storage(tmp_path, tensor):
    with pytest.raises(ValueError, match="'a' is no tensor in the form"):
        read_torch_weights(file_of(tmp_path, {"a": tensor}))


class Calls:
    def __reduce__(self):
        return os.system, ("touch made",)


@pytest.mark.parametrize("place", [0, 2])
def test_no_code_is_run(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    start = [MAGIC, 1001, {"little_endian": True}]
    if place:
        start[place] = Calls()
    tensors = {"a": Tensor("7", 0, (6,), (1,)) if place else Calls()}
    path = file_of(tmp_path, tensors, start=start)
    with pytest.raises(ValueError, match=r"asks for '(posix|nt)\.system'"):
        read_torch_weights(path)
    assert not (tmp_path / "made").exists()


GOOD = {"a": Tensor("7", 0, (6,), (1,))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": [5, 1001, {"little_endian": True}]}, "does not begin like one"),
        ({"start": [MAGIC, 7, {}]}, "version is 7, not 1001"),
        ({"start": [MAGIC, 1001, {"little_endian": False}]}, "little-endian"),
        ({"tensors": [1]}, "no dict of tensors"),
        ({"tensors": {"a": 5, "b": GOOD["a"]}}, "'a' is no tensor"),
        ({"tensors": {"a": Tensor("7", 0, (6,), (1,), 6, "HalfStorage")}}, "asks for"),
        ({"keys": ("8",)}, "storages are not those"),
        ({"keys": ("7", "7")}, "storages are not those"),
        ({"contents": storage(NUMBERS)[:-1]}, "cut short"),
        ({"contents": storage(NUMBERS[:5])}, "not of 6 numbers as announced"),
        ({"contents": b""}, "not of 6 numbers as announced"),
    ],
)
def test_damaged_files(tmp_path, change, message):
    path = file_of(tmp_path, **{"tensors": GOOD, **change})
    with pytest.raises(ValueError, match=message):
        read_torch_weights(path)


def test_storages_that_would_fill_memory(tmp_path):
    tensors = {"a": Tensor("7", 0, (6,), (1,), size=2**50)}
    contents = np.array(2**50, "<i8").tobytes() + NUMBERS.tobytes()
    with pytest.raises(ValueError, match="cut short"):
        read_torch_weights(file_of(tmp_path, tensors, contents=contents))


def test_files_of_other_formats(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"PK\3\4 a zip archive, as PyTorch writes it from 1.6 on")
    with pytest.raises(ValueError, match=r"before version 1\.6, or is damaged"):
        read_torch_weights(path)
