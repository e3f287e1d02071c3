import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from sop_keras.data.datasets.restricted_pickle import PickledArrays

ARRAYS = {
    "first": np.array([3, -1, 2**40]),
    "second": np.array([7, 200], np.uint8),
    "third": np.array([5, 1000, -8], ">i4"),
}


class Calls:
    """Pickled as the call of a function, with a state for what it returns."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.parts


def with_old_names(data):
    """As numpy 1 wrote it; protocols 2 and 3 have these names as plain lines."""
    new = b"cnumpy._core.multiarray\n"
    assert new in data
    return data.replace(new, b"cnumpy.core.multiarray\n")


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(ARRAYS, 2),
        with_old_names(pickle.dumps(ARRAYS, 2)),
        pickle.dumps(ARRAYS, 3),
        with_old_names(pickle.dumps(ARRAYS, 3)),
        pickle.dumps(ARRAYS, 4),
    ],
    ids=["protocol 2", "2, old names", "protocol 3", "3, old names", "protocol 4"],
)
def test_the_arrays_that_were_pickled(data):
    arrays = PickledArrays(data)
    assert list(arrays) == ["first", "second", "third"]
    assert len(arrays) == 3
    for name, expected in ARRAYS.items():
        assert arrays[name].tolist() == expected.tolist()
        assert arrays[name].dtype == expected.dtype


def test_no_code_is_run(tmp_path):
    victim = tmp_path / "made"
    data = pickle.dumps({"first": Calls(os.system, f"touch {victim}")}, 2)
    # Plain pickle runs it: the pickle is as bad as it should be.
    pickle.loads(data)
    assert victim.exists()
    victim.unlink()
    with pytest.raises(
        ValueError, match=r"asks for 'posix\.system'.*nothing of it was"
    ):
        PickledArrays(data)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (pickle.dumps(Calls(eval, "1 + 1"), 2), "__builtin__.eval"),
        (pickle.dumps(Calls(eval, "1 + 1"), 4), "builtins.eval"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.", "torch._utils._rebuild_tens"),
        (b"\x80\x02cnumpy\nload\n.", "numpy.load"),
        (b"\x80\x02cnumpy\nndarray.tofile\n.", "numpy.ndarray.tofile"),
        (b"\x80\x02c_codecs\nlookup\n.", "_codecs.lookup"),
        (pickle.dumps(Path("a"), 2), "pathlib"),
        # Protocol 5 rebuilds arrays by a function that is not allowed.
        (pickle.dumps(ARRAYS, 5), "numpy._core.numeric._frombuffer"),
    ],
)
def test_any_other_name_is_refused(data, name):
    with pytest.raises(ValueError, match="The pickle asks for '") as error:
        PickledArrays(data)
    assert f"asks for '{name}" in str(error.value)


def test_tensors_are_refused(tmp_path):
    class TorchLike(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", "0", "cpu", 3) if obj is Ellipsis else None

    with open(tmp_path / "tensors", "wb") as file:
        TorchLike(file, 2).dump({"first": ...})
    with pytest.raises(ValueError, match=r"torch tensors do.*call `.numpy\(\)`"):
        PickledArrays((tmp_path / "tensors").read_bytes())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array([1.0]), "one of the types i1, i2"),
        (np.array([None]), "one of the types i1, i2"),
        (np.array(["a"]), "one of the types i1, i2"),
        (np.zeros((2, 3), int), "with one axis"),
        ([1, 2], "must be a numpy array"),
        (Calls(np.dtype, "i8"), "must be a numpy array"),
    ],
)
def test_an_entry_that_is_no_array_of_integers(value, text):
    arrays = PickledArrays(pickle.dumps({"good": np.arange(2), "bad": value}, 2))
    assert arrays["good"].tolist() == [0, 1]
    with pytest.raises(ValueError, match=f"Entry `bad` of the pickle: .*{text}"):
        arrays["bad"]


def an_array(*, size=2, dtype_state=(3, "<", None, None, None, -1, -1, 0), content):
    """As numpy pickles an array of int64, each part open to forgery."""
    # Any callable of the right name will do: the pickle has only the name.
    reconstruct, (ndarray, shape, code), _ = np.arange(2).__reduce__()
    dtype = Calls(np.dtype, "i8", False, True, state=dtype_state)
    state = (1, (size,), dtype, False, content)
    return Calls(reconstruct, ndarray, shape, code, state=state)


def test_a_forged_array_of_the_right_form():
    two = np.array([5, -6], "<i8").tobytes()
    arrays = PickledArrays(pickle.dumps({"a": an_array(content=two)}, 2))
    assert arrays["a"].tolist() == [5, -6]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        # The flags say that the integers are pointers to Python's objects.
        (
            {
                "dtype_state": (3, "<", None, None, None, -1, -1, 63),
                "content": b"8" * 16,
            },
            "one of the types",
        ),
        ({"dtype_state": (3, "?", None, None, None, -1, -1, 0)}, "one of the types"),
        ({"size": 2**40}, "must hold 1099511627776 integers, not 2"),
        ({"size": "2"}, "with one axis"),
        ({"content": b"8" * 15}, "buffer size must be a multiple"),
        ({"content": Calls(__import__("_codecs").encode, "\xff", "utf-8")}, "be bytes"),
        ({"content": [1, 2]}, "must be bytes"),
    ],
)
def test_forged_arrays(parts, text):
    data = pickle.dumps({"a": an_array(**{"content": b"8" * 16, **parts})}, 2)
    with pytest.raises(ValueError, match=f"Entry `a` of the pickle: .*{text}"):
        PickledArrays(data)["a"]


def test_an_array_is_not_made_by_its_class():
    # 8 TB, if it were.
    data = pickle.dumps({"a": Calls(np.ndarray, (2**40,))}, 2)
    with pytest.raises(ValueError, match=r"damaged.*not callable"):
        PickledArrays(data)


def test_a_pickle_does_not_change_the_reader():
    # Sets attributes of what stands for numpy.dtype: (None, {"args": 1}) as its state.
    data = b"\x80\x02cnumpy\ndtype\nN}X\x04\x00\x00\x00argsK\x01s\x86b."
    with pytest.raises(ValueError, match="damaged"):
        PickledArrays(data)
    good = PickledArrays(pickle.dumps(ARRAYS, 2))
    assert good["first"].tolist() == ARRAYS["first"].tolist()


def test_a_memo_index_that_would_fill_the_memory():
    # An empty dict, memoised at 2**20 (at 2**31 the table would have 32 GB).
    with pytest.raises(ValueError, match=r"damaged \(ValueError: memo 1048576 in 9"):
        PickledArrays(b"\x80\x02}r\x00\x00\x10\x00.")


@pytest.mark.parametrize(
    ("content", "received"),
    [(np.arange(3), "array"), ({1: np.arange(3)}, "dict"), (["a"], "list")],
)
def test_a_pickle_of_something_else(content, received):
    with pytest.raises(ValueError, match=f"a dict of numpy arrays.*type {received}"):
        PickledArrays(pickle.dumps(content, 2))


def test_damaged_bytes_are_a_value_error():
    data = pickle.dumps(ARRAYS, 2)
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"pickle is damaged|pickle asks for"):
            PickledArrays(data[:length])
    rng = np.random.default_rng(0)
    num_refused = 0
    for _ in range(2000):
        spoilt = bytearray(data)
        spoilt[rng.integers(len(data))] = rng.integers(256)
        try:
            arrays = PickledArrays(bytes(spoilt))
            assert all(isinstance(arrays[name], np.ndarray) for name in arrays)
        except ValueError:
            num_refused += 1
    assert num_refused > 500


def test_a_nesting_that_would_end_the_process_is_refused():
    data = b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns."
    with pytest.raises(ValueError, match="more than 10000 operations"):
        PickledArrays(data)
