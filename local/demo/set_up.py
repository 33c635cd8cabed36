"""The first part of the demo: from a cluster without pull Secrets to every tenant namespace with a proved one."""

import time
from dataclasses import dataclass

from local.controlplane.waiting import until
from local.demo.credentials import seed_generated, seeded_credential
from local.demo.pulling import let_in
from local.demo.steps import STACK, Steps, existing
from pullsecrets.packs.options import pack_options

OTHERS_ENTRY = "default-dockercfg-abc"
"""An entry as OpenShift keeps it in each ServiceAccount's list; the binding must leave it there."""


@dataclass(frozen=True)
class SetUp:
    """What the set-up took."""

    seconds: float
    """From the first step to the proof of every namespace."""
    from_nothing: bool
    """Whether none of the stack's fan-outs was in the cluster before it."""


def set_up(steps: Steps) -> SetUp:
    """Seed, deploy and prove; then let the doctor and a second preview find nothing."""
    began = time.monotonic()
    from_nothing = not _fanouts(steps)
    adopted = [tenant.name for tenant in steps.config.resolve_tenants() if tenant.adopt]
    with steps.step(f"A namespace that exists before the program: {', '.join(adopted)}"):
        for namespace in adopted:
            _existing_namespace(steps, namespace)
    with steps.step("A generated credential for each registry, seeded into Vault"):
        _seed(steps)
    with steps.step(f"pulumi up --stack {STACK}, with the policy packs on"):
        packs = pack_options(steps.config, steps.workspace.root)
        steps.pulumi("up", "--yes", "--skip-preview", "--suppress-outputs", *packs)
    with steps.step("Coverage, proved by the digest beside each Secret"):
        steps.run(steps.auditor, "audit", "--wait", "120")
    taken = SetUp(time.monotonic() - began, from_nothing)
    with steps.step(f"pulumi preview --stack {STACK} once more: nothing left to change"):
        steps.pulumi("preview", "--expect-no-changes", "--suppress-outputs", "--diff")
    with steps.step("pull-secrets doctor, as the on-call"):
        steps.run(steps.on_call, "doctor")
    return taken


def _fanouts(steps: Steps) -> set[str]:
    """The stack's fan-outs that are in the cluster; each is named after its registry."""
    found = steps.admin.call("GET", "/apis/external-secrets.io/v1/clusterexternalsecrets")["items"]
    return {item["metadata"]["name"] for item in found} & {registry.name for registry in steps.config.registries}


def _seed(steps: Steps) -> None:
    for registry in steps.config.registries:
        if seed_generated(steps.plane, steps.workspace, STACK, registry):
            steps.commands.append("pull-secrets seed")
        else:
            # A new one would be a rotation, which has a step of its own.
            steps.say(f"{registry.name} holds the one of an earlier demo")
        if steps.node is not None:
            let_in(steps.node, seeded_credential(steps.plane, steps.config.vault.mount, registry.path))


def _existing_namespace(steps: Steps, namespace: str) -> None:
    steps.admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    what = f"ServiceAccount default in {namespace}"
    account = until(lambda: existing(steps.admin, path), deadline=30, what=what)
    if not account.get("imagePullSecrets"):
        entries = {"imagePullSecrets": [{"name": OTHERS_ENTRY}]}
        steps.admin.call("PATCH", path, entries, "application/merge-patch+json")
    steps.say(f"its default ServiceAccount lists {OTHERS_ENTRY}, which is not ours to lose")
