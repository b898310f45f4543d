"""`plain_kernels.py FOLDER MODULE`: takes `@compiled` off the module's kernels, and off all that call them.

mutmut leaves decorated functions alone, and a compiled kernel can't call a plain one. The rest stays compiled, so that
tests are quick.
"""

import ast
import os
import sys
from pathlib import Path


def decorators(tree: ast.Module) -> list[tuple[str, ast.Call]]:
    """Name and `@compiled(...)` of each kernel."""
    return [
        (function.name, made)
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
        for made in function.decorator_list
        if isinstance(made, ast.Call) and getattr(made.func, "id", "") == "compiled"
    ]


def imported(tree: ast.Module) -> set[tuple[str, str]]:
    """(module, name) of what it imports from its siblings."""
    found = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {(node.module or "", alias.name) for node in found for alias in node.names}


def strip(path: Path, kernels: list[tuple[str, ast.Call]]) -> None:
    """Empties the decorators' lines; the file keeps its time, for a copy that brings only what is newer."""
    lines, written = path.read_text().splitlines(keepends=True), path.stat()
    for _, made in kernels:
        lines[made.lineno - 1 : made.end_lineno] = ["\n"] * (made.end_lineno - made.lineno + 1)
    path.write_text("".join(lines))
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))


def main(folder: Path, module: str) -> None:
    trees = {path.stem: ast.parse(path.read_text()) for path in folder.glob("*.py")}
    kernels = {name: decorators(tree) for name, tree in trees.items()}
    plain, added = {module}, True
    while added:
        called = {(name, kernel) for name in plain for kernel, _ in kernels[name]}
        added = {name for name, tree in trees.items() if kernels[name] and imported(tree) & called} - plain
        plain |= added
    for name in sorted(plain):
        strip(folder / f"{name}.py", kernels[name])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
