"""Judging a shell text by what it plainly says: which cluster clients it runs, and whether what they do can be seen."""

import re
from collections.abc import Iterable, Sequence

_SEPARATORS = re.compile(r"[;&|\n(){}`]+|\$\(")
_WORDS = re.compile(r"[^\s'\"]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")

# fmt: off
_CLIENTS = frozenset({
    "argocd", "flux", "helm", "helmfile", "kubectl", "kustomize", "oc", "pulumi", "terraform", "tofu",
})
_READING = frozenset({
    "api-resources", "api-versions", "can-i", "cluster-info", "config", "dependency", "describe", "diff", "events",
    "explain", "extract", "get", "history", "image", "lint", "list", "logs", "ls", "project", "projects", "pull",
    "repo", "search", "show", "status", "template", "top", "version", "wait", "whoami",
})
_WRITING = frozenset({
    "adm", "annotate", "apply", "approve", "autoscale", "cordon", "cp", "create", "debug", "delete", "destroy",
    "drain", "edit", "exec", "expose", "import", "install", "label", "link", "login", "new-app", "new-project",
    "patch", "pause", "process", "proxy", "reconcile", "replace", "restart", "resume", "rollback", "run", "scale",
    "set", "sync", "taint", "undo", "uninstall", "unlink", "up", "update", "upgrade",
})
_INTERPRETERS = frozenset({
    ".", "ansible", "ansible-playbook", "bash", "dash", "eval", "exec", "ksh", "make", "node", "npm", "npx", "perl",
    "pwsh", "python", "python3", "ruby", "sh", "source", "xargs", "zsh",
})
SHELLS = frozenset({"ash", "bash", "dash", "ksh", "sh", "zsh"})
_WRAPPERS = frozenset({"!", "command", "do", "else", "env", "if", "nice", "nohup", "sudo", "then", "time", "timeout"})
# fmt: on


def writes_to_a_cluster(text: str) -> bool:
    """Tell whether a text runs a client of the cluster with anything but a reading verb."""
    return any(_writes(words) for words in _commands(text) if _program(words) in _CLIENTS)


def hands_control_on(text: str) -> bool:
    """Tell whether a text runs a script or an interpreter, so that what happens does not stand in the text."""
    return any(
        _program(words) in _INTERPRETERS
        or words[0].startswith(("./", "../", "$"))
        or words[0].endswith((".sh", ".py", ".ps1"))
        for words in _commands(text)
    )


def text_of(command: Sequence[str]) -> str:
    """Return what a command line given as words runs: the text of a shell's script, or the words themselves."""
    if command and command[0].rpartition("/")[2] in SHELLS:
        return "\n".join(command[1:])
    return " ".join(command)


def _commands(text: str) -> Iterable[list[str]]:
    for part in _SEPARATORS.split(text.replace("\\\n", " ")):
        words = _WORDS.findall(part)
        while words and (words[0] in _WRAPPERS or words[0].startswith("-") or _ASSIGNMENT.match(words[0])):
            words = words[1:]
        if words:
            yield words


def _program(words: list[str]) -> str:
    return words[0].rpartition("/")[2] or words[0]


def _writes(words: list[str]) -> bool:
    known = [word for word in words[1:] if word in _READING or word in _WRITING]
    return not known or any(word in _WRITING for word in known)
