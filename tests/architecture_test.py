"""Holds the package's imports and files to the table in docs/architecture.md."""

import ast
import re

import pytest

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "segnet_jax"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def read_table():
    """Returns for each room, such as "data/records", the files that its row names and the rooms that it may import."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/.]+)` \| (.*?) \| (.*?) ?\|$", text, re.MULTILINE)
    return {
        name.removesuffix(".py").rstrip("/"): (re.findall(r"`(\w+)`", files), re.findall(r"`([\w/]+)`", imports))
        for name, files, imports in rows
    }


TABLE = read_table()


def module_of(path):
    """Returns a file's module without the package's name, such as "data/pipeline"; a package is its own folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "/".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in SOURCES}


def room_of(module):
    """Returns the room of the longest name that holds the module."""
    holding = [name for name in TABLE if module == name or module.startswith(f"{name}/")]
    return max(holding, key=len, default="")


def imports_of(path):
    """Returns the modules of this package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "segnet_jax":
                module, symbol = "/".join(parts[1:]), "/".join(parts[1:-1])
                found.add(module if module in MODULES else symbol)
    return found - {module_of(path)}


def reachable(room):
    """Returns the rooms that a room may import, directly and through others."""
    seen, todo = set(), [room]
    while todo:
        for name in TABLE[todo.pop()][1]:
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen


def test_every_module_has_a_room_and_every_room_its_files():
    # What stands directly in the package, besides packages.
    assert {module for module in MODULES if "/" not in module and (PACKAGE / f"{module}.py").is_file()} == {
        name for name in TABLE if "/" not in name and (PACKAGE / f"{name}.py").is_file()
    }
    for room, (files, _) in TABLE.items():
        if (PACKAGE / room).is_dir():
            there = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
            there -= {name.rpartition("/")[2] for name in TABLE if name.startswith(f"{room}/")}
            assert there <= set(files), f"{room} has files that docs/architecture.md does not name"
            named = {name for name in files if name.islower()} - there
            assert not {name for name in named if not (PACKAGE / room / name).exists()}, room


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path) or "segnet_jax")
def test_imports_go_downwards(path):
    module = module_of(path)
    if not module:
        return  # the public API, which is imported lazily
    room = room_of(module)
    assert room, f"{module} stands in no room of docs/architecture.md"
    allowed = reachable(room) | {room}
    for imported in imports_of(path) - {""}:
        assert room_of(imported) in allowed, f"{module} imports {imported}, of a room that {room} may not import"


def test_no_two_rooms_and_no_two_modules_import_each_other():
    for room in TABLE:
        assert room not in reachable(room), f"{room} may import itself through others"
    graph = {module_of(path): imports_of(path) - {""} for path in SOURCES if module_of(path)}
    done, under_way = set(), []

    def visit(module):
        assert module not in under_way, f"a circle: {' -> '.join([*under_way[under_way.index(module) :], module])}"
        if module in done:
            return
        under_way.append(module)
        for imported in sorted(graph.get(module, ())):
            visit(imported)
        done.add(under_way.pop())

    for module in sorted(graph):
        visit(module)


def config_reads(tree):
    """Returns the lines that read a key of a configuration: attributes of what is called config."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value = node.value
            name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
            if name in ("config", "run_config"):
                yield node.lineno, node.attr


def test_only_from_config_reads_a_configuration():
    readers = {module for module in MODULES if module.rpartition("/")[2] == "from_config"} | {
        "config",
        "flags",
        "training/checks",
    }
    for path in SOURCES:
        if module_of(path) in readers:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # `jax.config` is JAX's own.
        reads = [(line, name) for line, name in config_reads(tree) if name not in ("update", "values")]
        assert not reads, f"{path} reads {reads} of a configuration; its package's from_config.py does that"
