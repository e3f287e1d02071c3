"""Files are written in one place, `sop_keras/files/atomic.py`, or by name here."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The rooms where files and folders are made, replaced and removed.
ROOMS = {
    "sop_keras/files/atomic.py",
    "sop_keras/files/folders.py",
    "sop_keras/files/growing.py",
    "sop_keras/files/row_file.py",
    "sop_keras/files/journaled_rows.py",
}

# What writes to, makes, moves or removes something by its name, whatever it is a
# function or a method of.
WRITERS = {
    *("write_text", "write_bytes", "touch", "tofile", "dump_to_file"),
    *("mkdir", "makedirs", "mkfifo", "symlink_to", "hardlink_to", "link", "symlink"),
    *("unlink", "rmdir", "rmtree", "removedirs", "rename", "renames", "move"),
    *("chmod", "chown", "truncate", "ftruncate", "pwrite"),
    *("save", "save_weights", "savez", "savez_compressed", "savetxt", "savefig"),
    *("imsave", "to_csv", "to_parquet", "to_json", "to_pickle", "to_html", "to_excel"),
    *("write_table", "write_file", "ParquetWriter", "TFRecordWriter", "FileWriter"),
    *("create_file_writer", "extractall", "mkdtemp", "mkstemp", "NamedTemporaryFile"),
    *("copyfile", "copytree", "copy2", "make_archive"),
}
# Of these modules alone: others have methods of these names.
OF_MODULES = {("os", "remove"), ("os", "replace"), ("os", "write"), ("shutil", "copy")}

# What writes elsewhere: a file, what it calls, and why that is right.
EXCEPTIONS = {
    # A path that `replacing` gave, which is a file of this process.
    "sop_keras/label_issues/export.py": {
        "open",
        "to_csv",
        "ParquetWriter",
        "write_table",
    },
    "sop_keras/features/known_files.py": {"open"},
    "sop_keras/label_issues/corrected.py": {"open", "write_table", "mkdir", "save"},
    "sop_keras/theory/figures/units.py": {"open", "savez_compressed", "mkdir"},
    "sop_keras/theory/figures/findings.py": {"open"},
    "sop_keras/theory/figures/condition27.py": {"savefig"},
    "sop_keras/theory/figures/figure2.py": {"savefig"},
    "sop_keras/theory/figures/figure3.py": {"savefig"},
    "sop_keras/theory/figures/figure4.py": {"savefig"},
    "sop_keras/report/write.py": {"write_bytes"},
    "sop_keras/report/parts.py": {"write_bytes", "unlink"},
    "sop_keras/training/run.py": {"save"},
    "launch/contact_sheet.py": {"save", "mkdir"},
    "launch/evaluation_files.py": {"savefig"},
    "launch/ablations.py": {"mkdir", "savefig"},
    "launch/compare.py": {"mkdir"},
    "launch/compare_pictures.py": {"savefig"},
    "launch/epoch_times.py": {"mkdir", "savefig"},
    "launch/figure1.py": {"open", "savefig", "mkdir"},
    "launch/paper_tables.py": {"open", "savefig", "mkdir"},
    # The same, of images that are encoded in memory; in the user's own folder.
    "sop_keras/data/datasets/prepare.py": {"TFRecordWriter", "save", "mkdir"},
    # Into memory.
    "sop_keras/report/gallery.py": {"save"},
    "sop_keras/report/plots.py": {"savefig"},
    # A folder that is made under a name that nobody foresees, with what goes into it.
    "sop_keras/training/checkpoint.py": {
        *("mkdir", "save_weights", "savez", "rename", "unlink", "rmtree"),
    },
    "sop_keras/training/recorder.py": {"save"},  # a checkpoint
    "sop_keras/core/saved_rows.py": {"save"},  # the user's own call
    # Locks: opened without following links, by whoever may write there.
    "sop_keras/training/run_lock.py": {
        *("open", "mkdir", "rmdir", "ftruncate", "pwrite", "link", "rename", "unlink"),
    },
    # For reading, by flags.
    "sop_keras/files/untrusted.py": {"open"},
    # A pipe, in this process.
    "sop_keras/training/preemption.py": {"write"},
    # TensorFlow's own writer, whose files have the time and the process in their names.
    "sop_keras/files/tensorboard.py": {"create_file_writer"},
    # The user's own folder, by name; no run is in it that may be somebody else's.
    "sop_keras/training/run_folder.py": {"mkdir"},
    "sop_keras/data/images/bad_images.py": {"mkdir"},
    "launch/theory.py": {"mkdir"},
}


def name_of(function):
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def mode_of(call, place):
    """The mode that a call of `open` has at a place, "r" if it has none."""
    given = [one.value for one in call.keywords if one.arg == "mode"]
    given += call.args[place : place + 1]
    if not given:
        return "r"
    (one,) = given
    return one.value if isinstance(one, ast.Constant) else "?"


def writes(call):
    """Whether a call writes, makes, moves or removes a file or folder by its name."""
    name, is_method = name_of(call.func), isinstance(call.func, ast.Attribute)
    owner = getattr(call.func.value, "id", "") if is_method else ""
    if name == "open" and owner == "os":
        return "O_RDONLY" not in ast.unparse(call)
    if name == "open":
        is_function = not is_method or owner in ("io", "gzip", "Image")
        return bool(set(str(mode_of(call, 1 if is_function else 0))) & set("wax+?"))
    if (owner, name) in OF_MODULES:
        return True
    if name == "replace" and is_method:
        # Of paths, it has one argument; of texts two, of dataclasses keywords.
        return len(call.args) == 1 and not call.keywords
    return (name in WRITERS and is_method) or name in ("ParquetWriter", "FileWriter")


def writings(tree):
    """Line and name of what writes in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and writes(node):
            yield node.lineno, name_of(node.func)
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
            names = {alias.name for alias in node.names}
            for name in names & (WRITERS | {name for _, name in OF_MODULES}):
                yield node.lineno, name


def test_files_are_written_in_one_place():
    found, used = [], {}
    for folder in ("sop_keras", "launch"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name in ROOMS:
                continue
            for line, function in writings(ast.parse(path.read_text("utf-8"))):
                if function in EXCEPTIONS.get(name, ()):
                    used.setdefault(name, set()).add(function)
                else:
                    found.append(f"{name}:{line} {function}")
    assert found == []
    assert used == EXCEPTIONS


@pytest.mark.parametrize(
    "code",
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "open(path, mode)",
        "open(path, 'r+')",
        "path.open('x')",
        "io.open(path, 'w')",
        "os.open(path, flags)",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "path.write_text(text)",
        "(folder / name).write_bytes(data)",
        "partial.replace(path)",
        "os.replace(one, other)",
        "os.remove(path)",
        "shutil.rmtree(folder)",
        "shutil.copy(one, other)",
        "folder.mkdir(parents=True)",
        "np.savez(path, x)",
        "figure.savefig(path)",
        "model.save(path)",
        "image.save(path)",
        "table.to_csv(path)",
        "tf.summary.create_file_writer(folder)",
        "from shutil import rmtree",
    ],
)
def test_what_writes_is_found(code):
    assert len(list(writings(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "open(path)",
        "open(path, 'rb')",
        "path.open(newline='')",
        "os.open(path, os.O_RDONLY)",
        "text.replace('a', 'b')",
        "dataclasses.replace(one, name=2)",
        "replace(one, name=2)",
        "replacing(path)",
        "write_atomically(path, text)",
        "write_new(path, data)",
        "names.remove(name)",
        "array.copy()",
        "file.write(text)",
    ],
)
def test_what_writes_nothing_is_not(code):
    assert list(writings(ast.parse(code))) == []
