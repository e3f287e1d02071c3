"""How the library is built: rooms, imports, and who may know of which method."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from sop_keras import methods
from sop_keras.settings import flag_of

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sop_keras"

# From the ground floor up: a room imports from those before it, and from itself.
FLOORS = (
    {"validation", "log_softmax", "files"},
    {"settings", "drawing", "randomness"},
    {"label_noise", "losses", "optimizers", "backbones", "theory"},
    {"augment"},
    {"data"},
    {"label_issues"},
    {"core"},
    {"methods"},
    {"monitoring"},
    {"training"},
    {"features"},
    {"auditing"},
    {"report"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in PACKAGE.rglob("*.py")}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}


def owner(name):
    """The module of the library that an imported name is of; "" for others'."""
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name


def imported(tree):
    """What a module imports of the library, inside functions and for types too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {owner(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {owner(f"{node.module}.{alias.name}") for alias in node.names}
    return found - {"", "sop_keras"}


IMPORTS = {name: imported(tree) - {name} for name, tree in TREES.items()}


def room(module):
    return module.split(".")[1]


def test_every_room_has_a_floor():
    assert {room(name) for name in FILES if name != "sop_keras"} == set(FLOOR_OF)


def test_no_import_runs_upwards_and_no_two_rooms_import_each_other():
    # Rooms of one floor import nothing of each other: no two can do so mutually.
    wrong = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        if name != "sop_keras"
        for other in others
        if room(name) != room(other) and FLOOR_OF[room(other)] >= FLOOR_OF[room(name)]
    ]
    assert wrong == []


def test_no_circle_of_files():
    left = dict(IMPORTS)
    while ready := [name for name, others in left.items() if not others & left.keys()]:
        for name in ready:
            del left[name]
    assert sorted(left) == []


def test_the_library_without_the_launchers_packages():
    # Pillow and the like come with the extra `launch` alone.
    reached, waiting = set(), ["sop_keras.core.model", "sop_keras.augment.two_views"]
    waiting += [name for name in FILES if name.startswith("sop_keras.methods.")]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += IMPORTS[name]
    packages = {"PIL", "absl", "tensorflow_datasets", "matplotlib", "pandas"}
    found = [
        f"{name} imports {alias}"
        for name in sorted(reached)
        for node in TREES[name].body  # what is imported where it is used may be
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [one.name for one in node.names]
        )
        if alias.partition(".")[0] in packages
    ]
    assert found == []


def test_section_3_is_imported_by_nothing_else():
    users = [
        name
        for name, others in IMPORTS.items()
        if not name.startswith("sop_keras.theory")
        and any(room(other) == "theory" for other in others)
    ]
    assert users == []


def strangers():
    """All who may not know of single methods, but for the paper's tables."""
    for path in (*PACKAGE.rglob("*.py"), *(ROOT / "launch").glob("*.py")):
        if path.parent.name != "methods" and path.name != "paper.py":
            yield path, ast.parse(path.read_text("utf-8"))


def test_no_other_file_asks_which_method_runs():
    names = set(methods.names())
    assert names >= {"ce", "sop", "sop_plus"}
    found = [
        f"{path.name}:{node.lineno} {node.value!r}"
        for path, tree in strangers()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == []


def test_no_other_file_reads_a_setting_of_a_method():
    own = {
        one.name
        for record in methods.records().values()
        for one in record.settings.__dataclass_fields__.values()
    }
    assert own >= {"u_learning_rate", "init_std"}
    found = [
        f"{path.name}:{node.lineno} .{node.attr}"
        for path, tree in strangers()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in own
    ]
    assert found == []


def test_fields_of_one_name_are_one_flag():
    # A flag is made of the first field of its name: the others must agree with it.
    kinds = {}
    for record in methods.records().values():
        for one in record.settings.__dataclass_fields__.values():
            known = kinds.setdefault(one.name, (one.type, flag_of(one)))
            assert known == (one.type, flag_of(one)), one.name


@pytest.mark.parametrize("folder", ["sop_keras", "launch", "tests", "benchmarks"])
def test_no_file_is_longer_than_400_lines(folder):
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text("utf-8").splitlines())) > 400
    }
    assert long == {}


def test_there_is_one_training_step_and_it_is_short():
    steps = [
        (name, node.end_lineno - node.lineno + 1)
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "train_step"
    ]
    ((module, lines),) = steps
    assert module == "sop_keras.core.model"
    assert lines <= 40


def test_no_pipeline_of_our_own_is_tuned():
    # Such an iterator may end a minute late (`without_autotuning`). Those that wrap a
    # user's data set leave its options alone.
    made = {"range", "from_tensor_slices", "from_tensors", "from_generator", "zip"}
    theirs = {"sop_keras.core.with_epoch", "sop_keras.core.with_index"}
    found = set()
    for name, tree in TREES.items():
        if any(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in made
            and ast.unparse(node.func.value) == "tf.data.Dataset"
            for node in ast.walk(tree)
        ):
            found.add(name)
            text = ast.unparse(tree)
            ours = "without_autotuning(" in text or "in_parallel(" in text
            assert ours or name in theirs, name
    assert {"sop_keras.data.batches.tensors", "sop_keras.auditing.head"} < found


def test_a_plain_import_in_a_test_means_one_file():
    """All tests share one process and its path: `import NAME` must not depend on order.

    A benchmark with the name of a launcher is `from benchmarks import NAME`, since the
    launchers' folder comes first (conftest.py).
    """
    files = list((ROOT / "tests").rglob("*.py"))
    helpers = [
        path for path in files if not path.name.startswith(("test_", "conftest"))
    ]
    places = Counter(path.stem for path in [*helpers, *(ROOT / "launch").glob("*.py")])
    assert [name for name, count in places.items() if count > 1] == []
    benchmarks = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert benchmarks & {path.stem for path in helpers} == set()
    twice = benchmarks & {path.stem for path in (ROOT / "launch").glob("*.py")}
    for path in (ROOT / "tests" / "benchmarks").glob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module)
        assert names & twice == set(), path
