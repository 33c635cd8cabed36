"""The files of a team's own repository, and how they come into its folder: all of them or none."""

import json
import re
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath

from pullsecrets.config.load import PROJECT_FILE
from pullsecrets.errors import BadInputError, ConflictError
from pullsecrets.files import write_whole

TEMPLATE = Path(__file__).parent / "template"
"""What `pulumi new` takes too, which fills in `${PROJECT}` as `init` does; once written these files are the team's."""
_SHIPPED = Path(__file__).parent / "shipped"
"""Files of the repository that the wheel carries along, at their paths there; a checkout has them where they are."""
_ROOT = _SHIPPED if _SHIPPED.is_dir() else Path(__file__).parents[2]
_SCHEMA = "docs/stack.schema.json"
_AS_THEY_ARE = (
    ".ci/github-comment",
    ".ci/gitlab-stacks.yml",
    ".ci/gitlab-vault-token",
    ".ci/install-pulumi",
    ".ci/stack",
    ".ci/state_copy.py",
    ".github/actions/stack/action.yml",
    ".github/actions/stacks/action.yml",
    ".github/actions/update/action.yml",
    ".github/workflows/deploy.yml",
    ".github/workflows/drift.yml",
    ".github/workflows/preview.yml",
)
_GITLAB = ".gitlab-ci.yml"
_REQUIREMENT = re.compile(r'"(pull-secrets\[.*?)"')


def files(project: str, requirement: str | None = None) -> dict[PurePosixPath, str]:
    """Return the text of each file but the stacks' own, by its path in the repository.

    Args:
        project: name of the Pulumi project.
        requirement: how the package is required, such as `pull-secrets @ https://...`; None for what is installed here:
            the archive that it came from, or else this version from an index.
    """
    found = {PurePosixPath(file.name): _filled(file, project) for file in sorted(TEMPLATE.iterdir()) if file.is_file()}
    pyproject = PurePosixPath("pyproject.toml")
    if requirement := requirement or _installed_archive():
        found[pyproject] = _REQUIREMENT.sub(lambda _: f'"{requirement}"', found[pyproject])
    found |= {PurePosixPath(path): _read(path) for path in _AS_THEY_ARE}
    found[PurePosixPath(_GITLAB)] = _without_checks(_read(_GITLAB))
    # Keys of a stack file begin with the project's name.
    found[PurePosixPath("stack.schema.json")] = re.sub(r'(?<=["^])pull-secrets:', f"{project}:", _read(_SCHEMA))
    return found


def _installed_archive() -> str | None:
    """Return the requirement of the wheel or sdist that this package was installed from; None for an index or a clone.

    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    recorded = json.loads(metadata.distribution("pull-secrets").read_text("direct_url.json") or "{}")
    return f"pull-secrets[pulumi,policies] @ {recorded['url']}" if "archive_info" in recorded else None


def project_of(folder: Path) -> str | None:
    """Return the name of the project that is in a folder already; None for none."""
    file = folder / PROJECT_FILE
    named = re.search(r"^name: *[\"']?([^\s\"'#]+)", file.read_text(encoding="utf-8"), re.M) if file.exists() else None
    return named[1] if named else None


def place(
    folder: Path, wanted: Mapping[PurePosixPath, str], *, keep: bool = False, overwrite: bool = False
) -> list[PurePosixPath]:
    """Write the files into a folder, all of them or none, and return those that were written.

    Files of the template that are there stay as they are in any case.

    Args:
        folder: the repository's root, made when it is not there.
        wanted: texts by path.
        keep: leave files of other content as they are.
        overwrite: put the texts in their place.

    Raises:
        ConflictError: when a file has other content, and neither is asked for.
        BadInputError: when the folder cannot be written.
    """
    try:
        present = {path for path in wanted if (folder / path).exists()}
        ours = [path for path in wanted if path in present and not (TEMPLATE / path).is_file()]
        other = [path for path in ours if (folder / path).read_text(encoding="utf-8") != wanted[path]]
        if other and not (keep or overwrite):
            listed = ", ".join(map(str, other))
            raise ConflictError(
                f"{folder}: {listed} is there with other content, so nothing was written; --keep leaves such files as "
                "they are, --overwrite replaces them"
            )
        chosen = [path for path in wanted if path not in present or (overwrite and path in other)]
        _write(folder, {path: wanted[path] for path in chosen})
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{folder}: {error}; name a folder that can be written") from None
    return chosen


def _write(folder: Path, texts: Mapping[PurePosixPath, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Whatever cannot be written fails in the draft, before the first file stands in its place.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-secrets-init-") as draft:
        for path, text in texts.items():
            file = Path(draft) / path
            write_whole(file, text)
            file.chmod(0o755 if text.startswith("#!") else 0o644)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        for path in texts:
            (Path(draft) / path).replace(folder / path)


def _read(path: str) -> str:
    return (_ROOT / path).read_text(encoding="utf-8")


def _filled(file: Path, project: str) -> str:
    text = file.read_text(encoding="utf-8").replace("${PROJECT}", project)
    # Only `pulumi new` reads how it lists the template.
    return re.sub(r"^template:\n(  .*\n)+", "", text, flags=re.M)


def _without_checks(pipeline: str) -> str:
    """Leave out the job that tests this repository's own code."""
    return re.sub(r"^checks:\n(?:  .*\n)+\n", "", pipeline, flags=re.M).replace("stages: [check, ", "stages: [")
