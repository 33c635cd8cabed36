"""The Kustomize component that adds the pull Secret to workloads beside the entries that are there.

A strategic-merge patch and not JSON Patch: kustomize merges the list of these kinds by name, where an `add` of the
whole list replaces it and an `add` to its end fails without one. New entries come first; for the kubelet, which tries
every login for an image's host, their order means nothing.
"""

from pathlib import PurePosixPath
from typing import Final

from pullsecrets.data import Values

FOLDER: Final = PurePosixPath("components", "imagepullsecret")

_POD_TEMPLATE: Final = ("spec", "template", "spec")
KINDS: Final = {
    ("apps/v1", "Deployment"): _POD_TEMPLATE,
    ("apps/v1", "StatefulSet"): _POD_TEMPLATE,
    ("apps/v1", "DaemonSet"): _POD_TEMPLATE,
    ("batch/v1", "Job"): _POD_TEMPLATE,
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", *_POD_TEMPLATE),
}
"""The kinds whose list is merged. By version: of others, such as custom resources, kustomize does not know the list's
merge key and would replace it."""


def folder(secret: str) -> PurePosixPath:
    """Return the component's folder in the repository."""
    return FOLDER / secret


def covers(item: Values) -> bool:
    """Tell whether the component adds the entry to an object of this version and kind."""
    return (str(item.get("apiVersion")), str(item.get("kind"))) in KINDS


def render(secret: str) -> str:
    """Return the component's kustomization.yaml."""
    patches = "".join(_patch(version, kind, path, secret) for (version, kind), path in KINDS.items())
    return (
        f"# Adds {secret} to imagePullSecrets of every workload, beside the entries that are there.\n"
        "# Written by `pull-secrets gitops migrate`.\n"
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n\npatches:\n" + patches
    )


def _patch(version: str, kind: str, path: tuple[str, ...], secret: str) -> str:
    group, _, release = version.partition("/")
    lines = [f"apiVersion: {version}", f"kind: {kind}", "metadata:", "  name: any"]
    lines += [f"{'  ' * depth}{key}:" for depth, key in enumerate(path)]
    lines += [f"{'  ' * len(path)}imagePullSecrets:", f"{'  ' * (len(path) + 1)}- name: {secret}"]
    head = f"  - target:\n      group: {group}\n      version: {release}\n      kind: {kind}\n    patch: |-\n"
    return head + "".join(f"      {line}\n" for line in lines)
