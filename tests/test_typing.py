"""The stub of the C extension names what the built module has, with the same parameters."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import ptagrpo
import ptagrpo.training
from ptagrpo import _core

STUB = Path(ptagrpo.__file__).with_name("_core.pyi")
ONLY_FOR_TYPES = {"Chains"}


def described(node) -> dict[str, list[str] | None]:
    """Names of a module or class in the stub: parameters of functions, None for properties and attributes."""
    found: dict[str, list[str] | None] = {}
    for entry in node.body:
        if isinstance(entry, ast.FunctionDef):
            decorated = any(isinstance(d, ast.Name) and d.id == "property" for d in entry.decorator_list)
            if entry.name in found:  # a setter
                continue
            parameters = [a.arg for a in entry.args.posonlyargs + entry.args.args if a.arg not in ("self", "cls")]
            found[entry.name] = None if decorated else parameters
        elif isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name) and isinstance(node, ast.ClassDef):
            found[entry.target.id] = None
    return found


def parameters_of(function) -> list[str] | None:
    """From the text signature, or the first lines of the docstring; None: it names none."""
    if getattr(function, "__text_signature__", None):
        return [name for name in inspect.signature(function).parameters if name not in ("self", "args", "kwargs")]
    match = re.match(r"\w*\(([^()]*(?:\([^()]*\)[^()]*)*)\)", function.__doc__ or "")
    return [part.split("=")[0].strip() for part in match[1].split(",") if part.strip()] if match else None


@pytest.fixture(scope="module")
def tree():
    return ast.parse(STUB.read_text())


def public(thing) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def test_the_stub_has_the_modules_names(tree):
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)} - ONLY_FOR_TYPES
    assert classes | set(described(tree)) == public(_core)


@pytest.mark.parametrize("name", sorted(n for n in public(_core) if isinstance(getattr(_core, n), type)))
def test_the_stub_has_a_classs_members(tree, name):
    node = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found, cls = described(node), getattr(_core, name)
    constructor = found.pop("__new__")
    assert set(found) == public(cls)
    stated = parameters_of(cls)
    assert stated is None or stated == constructor
    for member, parameters in found.items():
        attribute = vars(cls)[member]
        assert (parameters is None) == (not callable(attribute)), member
        stated = parameters_of(attribute) if parameters is not None else None
        assert stated is None or stated == parameters, member


@pytest.mark.parametrize("name", sorted(n for n in public(_core) if not isinstance(getattr(_core, n), type)))
def test_the_stub_has_a_functions_parameters(tree, name):
    stated = parameters_of(getattr(_core, name))
    if name.startswith(("ops_", "kernels_", "attention_")):
        return  # their docstrings are one line for tests
    assert stated == described(tree)[name]


def test_types_are_part_of_the_package():
    assert STUB.with_name("py.typed").exists()


@pytest.mark.parametrize("package", [ptagrpo, ptagrpo.training])
def test_type_checkers_see_every_public_name(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {entry.names[0].name: entry.module for entry in block.body}
    lazy = {name: where if isinstance(where, str) else where[0] for name, where in package._EXPORTS.items()}
    assert seen == lazy and all(entry.names[0].name == entry.names[0].asname for entry in block.body)
