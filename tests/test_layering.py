"""Imports and includes point one way; files stay readable."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ptagrpo

ROOT = Path(__file__).resolve().parent.parent

# What each C room may include besides itself: core <- kernels <- ops <- model <- generate, core <- rl, core <- optim.
C_ROOMS = {
    "core": set(),
    "kernels": {"core"},
    "ops": {"core", "kernels"},
    "vision": {"core", "kernels", "ops"},
    "model": {"core", "kernels", "ops", "vision"},
    "generate": {"core", "kernels", "ops", "model"},
    "rl": {"core"},
    "optim": {"core", "model"},
    "py": {"core", "kernels", "ops", "vision", "model", "generate", "rl", "optim"},
}

# Python rooms (a folder or a file of ptagrpo/) by level: a room imports rooms of its own level or lower ones.
PYTHON_LEVELS = [
    {
        "_core",
        "errors",
        "io",
        "rng",
        "records",
        "parsing",
        "plan_tree",
        "token_bytes",
        "reference",
        "statistics",
        "images",
        "environment",
        "yaml_file",
        "outside",
    },  # fmt: skip
    {"models", "vision", "chat", "template", "tokenizer", "packing"},
    {"checkpoint", "llama2c"},
    {"lora"},
    {"generation", "policy"},
    {"rollouts", "rewards", "algorithms", "benchmarks", "answers", "understanding"},
    {"data", "distill", "evaluation", "training"},
    {"quickstart", "study", "viewer"},
    {"commands", "cli", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(PYTHON_LEVELS) for room in rooms}


def c_files() -> list[Path]:
    files = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in {".c", ".h"})
    assert len(files) > 20
    return files


def python_files() -> list[Path]:
    files = sorted((ROOT / "ptagrpo").rglob("*.py"))
    assert len(files) > 20
    return files


def c_violations(room: str, text: str, folder: Path) -> list[str]:
    """Includes in `text`, a file of `folder` in `room`, that the table above does not allow."""
    found = []
    for target in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
        other = (folder / target).resolve().relative_to((ROOT / "csrc").resolve()).parts[0]
        if other != room and other not in C_ROOMS[room]:
            found.append(f"{room} includes {other} ({target})")
    for target in re.findall(r"^\s*#\s*include\s*<([^>]+)>", text, re.M):
        if room != "py" and (target.startswith("Python") or target.startswith("numpy/")):
            found.append(f"{room} includes <{target}>")
        if room != "kernels" and "cblas" in target:
            found.append(f"{room} includes <{target}>: BLAS belongs to kernels/openblas.c")
    if room != "py" and re.search(r"\b(printf|fprintf|puts|exit|abort|assert)\s*\(", strip_comments(text)):
        found.append(f"{room} prints, exits or aborts")
    return found


def strip_comments(text: str) -> str:
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r"//[^\n]*", " ", text)


@pytest.mark.parametrize("path", c_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_c_includes_point_one_way(path):
    room = path.relative_to(ROOT / "csrc").parts[0]
    assert room in C_ROOMS, f"{path}: add the room '{room}' to C_ROOMS with what it may include"
    assert c_violations(room, path.read_text(), path.parent) == []


def test_the_c_check_sees_violations():
    ops = ROOT / "csrc" / "ops"
    assert c_violations("ops", '#include "../model/model.h"\n', ops)
    assert c_violations("ops", "#include <Python.h>\n", ops)
    assert c_violations("model", '#include "../py/state.h"\n', ROOT / "csrc" / "model")
    assert c_violations("core", 'void f(void) { printf("x"); }\n', ROOT / "csrc" / "core")
    assert not c_violations("core", "/* printf(x) */\n", ROOT / "csrc" / "core")


def imported_modules(text: str, package: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Dotted paths below ptagrpo that a file in `package` imports; TYPE_CHECKING blocks do not count."""
    tree = ast.parse(text)
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    modules: list[tuple[str, ...]] = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            modules += [tuple(name[1:]) for name in names if name[0] == "ptagrpo"]
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if node.level == 0:
                if module[:1] != ("ptagrpo",):
                    continue
                base = module[1:]
            else:
                base = package[: len(package) - (node.level - 1)] + module
            modules += [(*base, alias.name) for alias in node.names]
    return modules


def public_names() -> dict[str, str]:
    """Names that the package itself offers (loaded at first use) and the rooms that they come from."""
    return {"__version__": "_core", **{name: module for name, (module, _) in ptagrpo._EXPORTS.items()}}


def python_violations(relative: Path, text: str) -> list[str]:
    room = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    if room not in LEVEL:
        return [f"{relative}: add the room '{room}' to PYTHON_LEVELS"]
    found = []
    for target in imported_modules(text, relative.parts[:-1]):
        other = public_names().get(target[0], target[0]) if target else "__init__"
        if other != room and LEVEL.get(other, 99) > LEVEL[room]:
            found.append(f"{room} imports {'.'.join(target)}")
    return found


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_imports_point_one_way(path):
    relative = path.relative_to(ROOT / "ptagrpo")
    if relative == Path("__init__.py"):
        # It names the public API lazily and imports nothing of ours by itself.
        assert imported_modules(path.read_text(), ()) == []
        return
    assert python_violations(relative, path.read_text()) == []


def test_the_python_check_sees_violations():
    assert python_violations(Path("policy.py"), "from .training import SFTTrainer")
    assert python_violations(Path("rewards/plan.py"), "import ptagrpo.training.rl")
    assert python_violations(Path("rewards/plan.py"), "def f():\n    from ..quickstart import run")
    assert python_violations(Path("nowhere.py"), "")
    assert not python_violations(Path("rewards/plan.py"), "from ..records import Group")
    typing_only = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .policy import Policy"
    assert not python_violations(Path("packing.py"), typing_only)


def test_rooms_of_one_level_do_not_import_in_circles():
    edges: dict[str, set[str]] = {}
    public = public_names()
    for path in python_files():
        relative = path.relative_to(ROOT / "ptagrpo")
        room = relative.parts[0] if len(relative.parts) > 1 else relative.stem
        imported = imported_modules(path.read_text(), relative.parts[:-1])
        targets = {public.get(target[0], target[0]) for target in imported if target}
        edges.setdefault(room, set()).update(targets - {room})
    finished: set[str] = set()

    def visit(room: str, trail: tuple[str, ...]) -> None:
        assert room not in trail, " -> ".join((*trail, room))
        if room in finished:
            return
        for target in sorted(edges.get(room, ())):
            visit(target, (*trail, room))
        finished.add(room)

    for room in sorted(edges):
        visit(room, ())


@pytest.mark.parametrize("folder", ["csrc", "ptagrpo", "tests", "bench", "tools"])
def test_no_file_is_longer_than_500_lines(folder):
    suffixes = {".py", ".c", ".h", ".sh"}
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    assert files or folder in {"bench", "tools"}
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def test_the_core_needs_neither_torch_nor_transformers():
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in {"torch", "transformers", "scipy_openblas32"}, (
                    f"{path}: {name}"
                )
