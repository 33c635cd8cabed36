"""The Kustomize component that adds the pull Secret to workloads beside the entries that are there.

A strategic-merge patch and not JSON Patch: kustomize merges the list of these kinds by name, where an `add` of the
whole list replaces it and an `add` to its end fails without one. New entries come first; for the kubelet, which tries
every login for an image's host, their order means nothing.
"""

from pathlib import PurePosixPath
from typing import Final

from pullsecrets.config.gitops import GitOps
from pullsecrets.data import Values
from pullsecrets.kube.podspec import CRON_JOB, DAEMON_SET, DEPLOYMENT, JOB, STATEFUL_SET, PodKind

KINDS: Final = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB, CRON_JOB)
"""The kinds whose list is merged. By version: of others, such as custom resources, kustomize does not know the list's
merge key and would replace it."""


def folder(settings: GitOps, secret: str) -> PurePosixPath:
    """Return the component's folder in a repository."""
    return PurePosixPath(settings.components, secret)


def covers(item: Values) -> bool:
    """Tell whether the component adds the entry to an object of this version and kind."""
    return any((item.get("apiVersion"), item.get("kind")) == (known.version, known.kind) for known in KINDS)


def render(secret: str) -> str:
    """Return the component's kustomization.yaml."""
    patches = "".join(_patch(known, secret) for known in KINDS)
    return (
        f"# Adds {secret} to imagePullSecrets of every workload, beside the entries that are there.\n"
        "# Written by `pull-secrets gitops migrate`.\n"
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n\npatches:\n" + patches
    )


def _patch(known: PodKind, secret: str) -> str:
    group, _, release = known.version.partition("/")
    depth = len(known.path)
    lines = [f"apiVersion: {known.version}", f"kind: {known.kind}", "metadata:", "  name: any"]
    lines += [f"{'  ' * level}{key}:" for level, key in enumerate(known.path)]
    lines += [f"{'  ' * depth}imagePullSecrets:", f"{'  ' * (depth + 1)}- name: {secret}"]
    head = f"  - target:\n      group: {group}\n      version: {release}\n      kind: {known.kind}\n    patch: |-\n"
    return head + "".join(f"      {line}\n" for line in lines)
