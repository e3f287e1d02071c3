"""Users meet the names of the top alone: in docs/api.md, documents and messages."""

import ast
import re
from pathlib import Path

import pytest

import sop_keras

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [
    path for folder in ("sop_keras", "launch") for path in (ROOT / folder).rglob("*.py")
]
# Section 3 is a room of its own for users, and so are the methods and the losses.
ROOMS = {"losses", "methods", "theory"}
DOTTED = re.compile(r"\bsop_keras\.([A-Za-z_]\w*)")


def below_the_top(text):
    """The names of modules, in a text, that are not for users."""
    return [
        found[0]
        for found in DOTTED.finditer(text)
        if found[1] not in {*sop_keras.__all__, *ROOMS}
    ]


def imported_below(code):
    """The modules below the top that a program imports."""
    modules = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules.append(node.module)
    return [
        name for name in modules if re.match(r"sop_keras\.(?!methods$|theory)", name)
    ]


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)


def test_the_page_lists_exactly_the_public_names():
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+)` \| \S.* \|$", page, flags=re.M)
    assert listed != []
    assert sorted(listed) == sorted(sop_keras.__all__)
    assert len(listed) <= 36  # a wall has few doors


@pytest.mark.parametrize("name", sop_keras.__all__)
def test_every_name_can_be_imported_and_says_what_it_is(name):
    documented = getattr(sop_keras, name).__doc__
    assert documented
    # Keras and dataclasses would otherwise hand down, or make up, a text.
    assert not documented.startswith(f"{name}(")
    assert below_the_top(documented) == []


def test_their_methods_send_nobody_below_the_top():
    found = {
        f"{name}.{attribute}": wrong
        for name in sop_keras.__all__
        if isinstance(public := getattr(sop_keras, name), type)
        for attribute, value in vars(public).items()
        if not attribute.startswith("_")
        and (wrong := below_the_top(getattr(value, "__doc__", None) or ""))
    }
    assert found == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_imports_from_below_the_top(path):
    assert [name for code in python_blocks(path) for name in imported_below(code)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_names_a_module_below_the_top(path):
    assert below_the_top(path.read_text("utf-8")) == []


def messages(tree):
    """The texts of a module that users may see: no names, no documentation."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and " " in node.value
            and id(node) not in documentation
        ):
            yield node


def test_no_message_names_a_module_below_the_top():
    found = {
        f"{path.name}:{node.lineno}": wrong
        for path in SOURCES
        for node in messages(ast.parse(path.read_text("utf-8")))
        if (wrong := below_the_top(node.value))
    }
    assert found == {}


def test_what_would_be_found():
    # The checks above see what they are for.
    assert below_the_top("Pass a layer of sop_keras.augment.") == ["sop_keras.augment"]
    assert below_the_top("sop_keras.SOPModel, sop_keras.methods.SOP()") == []
    assert imported_below("from sop_keras.core.model import NoisyLabelModel") != []
    assert imported_below("from sop_keras import SOPModel") == []
    (message,) = messages(ast.parse('"""Not sop_keras.data."""\nraise E(f"a {b}")'))
    assert message.value == "a "
