"""Builds each pack as a self-contained folder: `pulumi policy publish` takes along only what is in the folder.

Run as `python -m pullsecrets.packs.package [OUT]`; OUT is `build/policy-packs` unless named.
"""

import ast
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from textwrap import dedent

import yaml

from pullsecrets.packs.catalog import PACKS
from pullsecrets.packs.crossguard import Pack
from pullsecrets.packs.pull_secrets import PACK as ALL

ROOT = Path(__file__).resolve().parents[2]
"""Where `pullsecrets` is imported from: the repository, or where packages are installed."""
OUT = Path("build/policy-packs")
_REQUIREMENTS = ("pulumi", "pulumi-policy", "publicsuffixlist")


def files_of(pack: Pack, virtualenv: str = "venv") -> dict[PurePosixPath, str]:
    """Return the files of a pack that stands alone, by path inside its folder."""
    source = ROOT / "pullsecrets" / "packs" / pack.folder
    files = {
        module: (ROOT / module).read_text(encoding="utf-8") for module in _closure(f"pullsecrets.packs.{pack.folder}")
    }
    files |= {module: (ROOT / module).read_text(encoding="utf-8") for module in _closure("pullsecrets.packs.serve")}
    files[PurePosixPath("__main__.py")] = (source / "__main__.py").read_text(encoding="utf-8")
    files[PurePosixPath("requirements.txt")] = "".join(f"{name}=={version(name)}\n" for name in _REQUIREMENTS)
    files[PurePosixPath("PulumiPolicy.yaml")] = _project(source / "PulumiPolicy.yaml", virtualenv)
    return files


def build(pack: Pack, out: Path, virtualenv: str = "venv") -> Path:
    """Build a pack's folder below `out`, whole or not at all, and return it.

    Args:
        pack: which pack.
        out: the folder of all packs.
        virtualenv: the Python environment it runs in; by default one of its own, which `pulumi install` makes.
    """
    target = out / pack.name
    draft = out / f".{pack.name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    for path, text in files_of(pack, virtualenv).items():
        file = draft / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    draft.replace(target)
    return target


def _project(file: Path, virtualenv: str) -> str:
    """Return the pack's project file with the environment that it runs in."""
    project = yaml.safe_load(file.read_text(encoding="utf-8"))
    project["runtime"]["options"]["virtualenv"] = virtualenv
    header = dedent("""\
        # A self-contained pack. `pulumi install` creates its Python environment, `pulumi policy publish` publishes it.
        """)
    return header + yaml.safe_dump(project, sort_keys=False, width=120)


def _closure(name: str) -> set[PurePosixPath]:
    """Return the files of a module of ours and of all of ours that it imports."""
    seen: set[PurePosixPath] = set()
    waiting = [name]
    while waiting:
        for file in _files(waiting.pop()):
            if file not in seen:
                seen.add(file)
                waiting.extend(_imports(ROOT / file))
    return seen


def _files(name: str) -> Iterator[PurePosixPath]:
    """Yield a module's file and those of the packages around it; nothing for a name inside a module."""
    parts = name.split(".")
    if parts[0] != "pullsecrets":
        return
    for length in range(1, len(parts) + 1):
        package = PurePosixPath(*parts[:length])
        for file in (package / "__init__.py", package.with_suffix(".py")):
            if (ROOT / file).is_file():
                yield file


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def main(arguments: list[str]) -> None:
    """Build every pack and say where."""
    out = Path(arguments[0]) if arguments else OUT
    for pack in (ALL, *PACKS):
        sys.stdout.write(f"{build(pack, out)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
