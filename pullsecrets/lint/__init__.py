"""Lint of manifests in files: the rules of the policy packs on plain YAML, with file and line."""

from pullsecrets.lint.formats import FORMATS, render
from pullsecrets.lint.judging import UNREAD, Report, Violation, lint
from pullsecrets.lint.reading import STANDARD_INPUT
from pullsecrets.lint.settings import read_settings, settings_of

__all__ = [
    "FORMATS",
    "STANDARD_INPUT",
    "UNREAD",
    "Report",
    "Violation",
    "lint",
    "read_settings",
    "render",
    "settings_of",
]
