"""Lint of manifests in files: the rules of the policy packs on plain YAML, with file and line."""

from pullsecrets.policy.lint import baseline
from pullsecrets.policy.lint.formats import FORMATS, render
from pullsecrets.policy.lint.judging import UNREAD, Report, Violation, lint
from pullsecrets.policy.lint.reading import STANDARD_INPUT
from pullsecrets.policy.lint.settings import read_settings, settings_of

__all__ = [
    "FORMATS",
    "STANDARD_INPUT",
    "UNREAD",
    "Report",
    "Violation",
    "baseline",
    "lint",
    "read_settings",
    "render",
    "settings_of",
]
