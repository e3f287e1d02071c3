"""Every file is opened for reading in one place, `sop_keras/files/untrusted.py`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The rooms where files are opened.
ROOMS = (
    "sop_keras/files/untrusted.py",
    "sop_keras/files/atomic.py",
    "sop_keras/files/growing.py",
    "sop_keras/files/row_file.py",
)

# What opens a file by its name, whatever it is a function or a method of.
OPENERS = {
    *("open", "open_code", "read_text", "read_bytes", "fromfile", "memmap"),
    *("loadtxt", "genfromtxt", "copyfile", "copy", "copy2", "copytree"),
    *("TFRecordDataset", "TFRecordReader", "TextLineDataset", "read_file", "GFile"),
    *("load_model", "load_weights", "FileInput", "getlines", "memory_map", "OSFile"),
}
# What takes a name or an open file.
READERS = {
    *("ParquetFile", "ParquetDataset", "read_table", "read_metadata", "read_schema"),
    *("ZipFile", "is_zipfile", "GzipFile", "BZ2File", "LZMAFile", "TarFile", "File"),
    *("read_csv", "read_parquet", "read_json", "read_pickle", "read_excel", "imread"),
}
# Modules whose functions of such names take a name or an open file.
MODULES = {"Image", "np", "numpy", "torch", "zipfile", "gzip", "tarfile"}
# What opened files are called here.
OPENED = {"file", "opened", "packed", "source"}

# Of shutil, where others' methods of these names open nothing.
COPIERS = {"copyfile", "copy", "copy2", "copytree"}

# What is not a stranger's, or cannot be given an open file: file, function and why.
EXCEPTIONS = {
    ("sop_keras/report/page.py", "read_text"): "a resource of this package",
    (
        "sop_keras/training/run_lock.py",
        "open",
    ): "a lock, opened without following links",
    ("sop_keras/training/run_lock.py", "read_text"): "the kernel's own file",
    ("sop_keras/training/checkpoint.py", "load_weights"): "its sum was looked at",
    ("sop_keras/training/saved_classifier.py", "load_model"): "looked at before",
    ("sop_keras/backbones/pretrained.py", "load_weights"): "looked at before",
    ("sop_keras/core/distributed_model.py", "load_weights"): "the user's own call",
    ("sop_keras/core/saved_rows.py", "load_weights"): "the user's own call",
}


def name_of(function):
    return function.attr if isinstance(function, ast.Attribute) else function.id


def writes(call, place):
    """Whether the mode, at a place among the arguments, is one for writing."""
    given = [one.value for one in call.keywords if one.arg == "mode"]
    given += call.args[place : place + 1]
    return any(
        isinstance(one, ast.Constant) and str(one.value)[:1] in ("w", "a", "x")
        for one in given
    )


def is_opened(argument):
    """Whether what is read is an open file, or bytes."""
    match argument:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.lstrip("_") in OPENED
        case ast.Call(func=function):
            return name_of(function) == "BytesIO"
    return False


def opens(call):
    """Whether a call opens a file by its name for reading."""
    name, is_method = name_of(call.func), isinstance(call.func, ast.Attribute)
    owner = getattr(call.func.value, "id", "") if is_method else ""
    is_reader = name in READERS and (is_method or not name.startswith("read_"))
    if is_reader or (owner in MODULES and name in ("open", "load")):
        return not (call.args and is_opened(call.args[0]))
    if name == "open":
        # Paths have the mode first, functions after the path.
        return not writes(call, 0 if is_method and owner not in ("os", "io") else 1)
    if name in ("read_text", "read_bytes"):
        return is_method  # or it is that of `untrusted`, or imported from elsewhere
    return name in OPENERS and (name not in COPIERS or owner == "shutil")


def openings(tree):
    """Line and name of what opens files by their names for reading in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, (ast.Attribute, ast.Name)) and opens(node):
                yield node.lineno, name_of(node.func)
        elif isinstance(node, ast.ImportFrom) and not node.module.endswith("untrusted"):
            names = {alias.name for alias in node.names}
            for name in names & {"open", "read_text", "read_bytes"}:
                yield node.lineno, name


def sources():
    for folder in ("sop_keras", "launch"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in ROOMS:
                yield name, ast.parse(path.read_text("utf-8"))


def test_files_are_opened_for_reading_in_one_place():
    found, used = [], set()
    for name, tree in sources():
        for line, function in openings(tree):
            if (name, function) in EXCEPTIONS:
                used.add((name, function))
            else:
                found.append(f"{name}:{line} {function}")
    assert found == []
    assert used == set(EXCEPTIONS)


@pytest.mark.parametrize(
    "code",
    [
        "open(path)",
        "open(path, 'rb')",
        "open(path, mode)",
        "path.open()",
        "path.open('r+')",
        "self.path.open(encoding='utf-8')",
        "os.open(path, os.O_RDONLY)",
        "io.open(path, 'r')",
        "Image.open(path)",
        "gzip.open(path, 'rb')",
        "path.read_text()",
        "Path(path).read_bytes()",
        "np.load(path)",
        "np.fromfile(file)",
        "np.loadtxt(path)",
        "pd.read_csv(path)",
        "parquet.ParquetFile(path)",
        "ParquetFile(str(path))",
        "zipfile.ZipFile(self.path)",
        "h5py.File(path, 'r')",
        "tf.data.TFRecordDataset(path)",
        "tf.io.read_file(path)",
        "keras.saving.load_model(path)",
        "shutil.copy(path, other)",
        "with path.open(newline='') as file: pass",
        "from pathlib import read_text",
    ],
)
def test_what_opens_a_file_is_found(code):
    assert len(list(openings(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "open_untrusted(path)",
        "read_text(path)",
        "read_bytes(path, 5)",
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('w', newline='')",
        "path.open(mode='x')",
        "np.load(file, allow_pickle=False)",
        "Image.open(io.BytesIO(data))",
        "zipfile.ZipFile(opened)",
        "parquet.read_metadata(self._file)",
        "image.copy()",
        "json.load(file)",
        "keras.models.load(x)",
    ],
)
def test_what_opens_none_is_not(code):
    assert list(openings(ast.parse(code))) == []
