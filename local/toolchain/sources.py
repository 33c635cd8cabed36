"""The sources that a recipe is built from: its module, with what it embeds of other modules and builds trimmed."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from local.toolchain import store
from local.toolchain.recipes import Recipe, Trim


class SourceChanged(Exception):  # noqa: N818 - reads as what it says at every `except`
    """A module does not hold what a recipe takes out of it. The message says what, and where to correct it."""


def lay(recipe: Recipe, folder: Path) -> None:
    """Copy the recipe's own module into `folder`, which is not there yet: the build adds to it."""
    shutil.copytree(recipe.module, folder)


def modules(recipe: Recipe) -> list[str]:
    """Return the modules that must be at hand before the recipe can be built."""
    copied = () if recipe.programs else recipe.copies
    return sorted({item.module for item in (*recipe.embeds, *recipe.trims, *copied)})


def complete(recipe: Recipe, folder: Path, module_folder: Callable[[str], Path]) -> None:
    """Put the files that the recipe embeds into `folder`, and trimmed copies of modules in place of the originals.

    Args:
        recipe: what is built.
        folder: what `lay` has made.
        module_folder: says where a module's files are.

    Raises:
        SourceChanged: a file is missing, or a trim does not fit its file.
    """
    for embed in recipe.embeds:
        source = found(embed.module, module_folder(embed.module), embed.source)
        store.copy(source, folder / embed.target, executable=False)
    for number, module in enumerate(sorted({trim.module for trim in recipe.trims})):
        copied = f"trimmed/{number}"
        store.copy(module_folder(module), folder / copied, executable=False)
        for trim in recipe.trims:
            if trim.module == module:
                _apply(trim, folder / copied)
        with (folder / "go.mod").open("a", encoding="utf-8") as file:
            file.write(f"\nreplace {module} => ./{copied}\n")


def found(module: str, folder: Path, path: str) -> Path:
    """Return where `path` is in a module whose files are in `folder`. Raises SourceChanged when it is not there."""
    if not (folder / path).exists():
        raise SourceChanged(f"{path} is not in the module {module}: correct the recipe in local/toolchain/recipes.py")
    return folder / path


def _apply(trim: Trim, copied: Path) -> None:
    """Write the file without the trim's lines."""
    file = found(trim.module, copied, trim.file)
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not re.search(trim.pattern, line)]
    if len(lines) - len(kept) != trim.lines:
        raise SourceChanged(
            f"{trim.file} of the module {trim.module} has {len(lines) - len(kept)} lines to leave out and not "
            f"{trim.lines}: the module has changed, correct the trim in local/toolchain/recipes.py"
        )
    file.write_text("".join(kept), encoding="utf-8")
