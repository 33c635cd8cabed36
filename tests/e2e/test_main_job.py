"""The main job on the real control plane: from a stack file to a working pull Secret in every tenant namespace."""

import base64
import copy
import json
from typing import Any

import pytest

from pullsecrets.config import load_stack
from pullsecrets.credential.document import content_digest
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, FINALIZER_PREFIX
from pullsecrets.packs.options import pack_options
from pullsecrets.packs.pull_secrets import PACK
from tests.e2e.stack import ADOPTED, BASELINE, OTHERS_ENTRY, STACK, Stack, account, changes, namespace, secret

pytestmark = pytest.mark.controlplane


def tenants(*names: str, **change: Any) -> dict[str, Any]:
    """Configuration of the tenants with more namespaces, or other values for the adopted one."""
    config = copy.deepcopy(BASELINE["tenants"])
    config["namespaces"][0].update(change)
    config["namespaces"] += [{"name": name, "registries": ["e2e-web"]} for name in names]
    return {"tenants": config}


def test_every_tenant_receives_the_seeded_secret(deployed: Stack) -> None:
    found = deployed.audit("--wait", "60")
    assert found["green"], found
    assert {(row["namespace"], row["registry"]) for row in found["rows"]} == {
        ("e2e-auth-dev", "e2e-app"),
        ("e2e-user-dev", "e2e-app"),
        (ADOPTED, "e2e-app"),
        (ADOPTED, "e2e-web"),
    }
    for total in found["totals"]:
        assert total["selected"] == total["delivered"] == total["proved"] == total["green"] == total["expected"]


def test_the_secret_is_what_the_kubelet_needs(deployed: Stack) -> None:
    delivered = deployed.get(secret("e2e-auth-dev", "e2e-app"))
    assert delivered["type"] == "kubernetes.io/dockerconfigjson"
    document = base64.b64decode(delivered["data"][".dockerconfigjson"]).decode()
    assert json.loads(document) == json.loads(deployed.credential("e2e-app"))
    assert delivered["metadata"]["annotations"][CONTENT_DIGEST_ANNOTATION] == content_digest(document)


def test_nothing_is_left_to_change(deployed: Stack) -> None:
    printed = deployed.pulumi("preview", "--expect-no-changes")
    assert set(changes(printed)) == {"unchanged"}


def test_the_stack_passes_every_policy(deployed: Stack) -> None:
    config = load_stack(STACK, deployed.workspace.root)
    printed = deployed.pulumi("preview", *pack_options(config, deployed.workspace.root))
    assert "[mandatory]" not in printed
    assert PACK.name in printed


def test_the_cluster_and_vault_hold_what_state_says(deployed: Stack) -> None:
    deployed.audit("--wait", "60")
    deployed.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_new_tenant_costs_one_resource_and_is_gone_without_hanging_when_it_leaves(deployed: Stack) -> None:
    printed = deployed.up(tenants("e2e-new"))
    assert changes(printed)["created"] == 1
    assert deployed.get(secret("e2e-new", "e2e-web"))["type"] == "kubernetes.io/dockerconfigjson"
    assert deployed.entries("e2e-new") == ["e2e-web"]
    printed = deployed.up()
    assert changes(printed)["deleted"] == 1
    deployed.gone(namespace("e2e-new"))


def test_a_label_put_by_hand_brings_the_secret(deployed: Stack) -> None:
    deployed.make_namespace("e2e-by-hand")
    deployed.patch(namespace("e2e-by-hand"), {"metadata": {"labels": {"e2e.platform/app": "true"}}})
    delivered = deployed.get(secret("e2e-by-hand", "e2e-app"))
    assert delivered["type"] == "kubernetes.io/dockerconfigjson"
    (row,) = [row for row in deployed.audit()["rows"] if row["namespace"] == "e2e-by-hand"]
    assert (row["declared"], row["labelled"], row["unbound"]) == (False, True, ["default"])
    deployed.delete_namespace("e2e-by-hand")


def test_a_label_taken_off_by_hand_is_put_back(deployed: Stack) -> None:
    deployed.patch(namespace("e2e-auth-dev"), {"metadata": {"labels": {"e2e.platform/app": None}}})
    deployed.gone(secret("e2e-auth-dev", "e2e-app"))
    deployed.pulumi("refresh", "--yes", "--skip-preview")
    deployed.up()
    deployed.get(secret("e2e-auth-dev", "e2e-app"))


def test_a_rotated_credential_arrives_at_once_when_asked_to(deployed: Stack) -> None:
    rotated = deployed.seed("e2e-app", deployed.credential("e2e-app", f"{deployed.passwords['e2e-app']}-2"), "--yes")
    assert rotated.returncode == 0, rotated.stderr
    assert not deployed.audit()["green"], "what was delivered is not what was seeded any more"
    deployed.force_sync("e2e-app")
    assert deployed.audit("--wait", "60")["green"]


class TestBinding:
    """Nobody else's entry is ever lost."""

    def test_ours_is_appended_behind_theirs(self, deployed: Stack) -> None:
        assert deployed.entries(ADOPTED) == [OTHERS_ENTRY, "e2e-app", "e2e-web"]

    def test_refresh_and_a_second_up_change_nothing(self, deployed: Stack) -> None:
        deployed.pulumi("refresh", "--yes", "--skip-preview")
        deployed.up()
        assert deployed.entries(ADOPTED) == [OTHERS_ENTRY, "e2e-app", "e2e-web"]

    def test_a_list_that_somebody_replaced_is_repaired_by_a_plain_up(self, deployed: Stack) -> None:
        deployed.patch(account(ADOPTED), {"imagePullSecrets": [{"name": "theirs"}, {"name": OTHERS_ENTRY}]})
        printed = deployed.up()
        assert changes(printed)["updated"] == 1
        assert deployed.entries(ADOPTED) == ["theirs", OTHERS_ENTRY, "e2e-app", "e2e-web"]
        deployed.patch(account(ADOPTED), {"imagePullSecrets": [{"name": OTHERS_ENTRY}]})

    def test_a_service_account_that_appears_later_is_bound_by_the_next_up(self, deployed: Stack) -> None:
        deployed.pulumi("preview", "--expect-no-changes")
        deployed.admin.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder", "namespace": ADOPTED}}
        )
        printed = deployed.up()
        assert changes(printed)["updated"] == 1
        assert deployed.entries(ADOPTED, "builder") == ["e2e-app", "e2e-web"]

    def test_a_registry_that_is_dropped_takes_its_entry_secret_and_finalizer_along(self, deployed: Stack) -> None:
        deployed.up(tenants(registries=["e2e-app"]))
        assert deployed.entries(ADOPTED) == [OTHERS_ENTRY, "e2e-app"]
        deployed.gone(secret(ADOPTED, "e2e-web"))
        finalizers = deployed.get(namespace(ADOPTED))["metadata"].get("finalizers", [])
        assert f"{FINALIZER_PREFIX}e2e-web" not in finalizers


EMPTY_REGISTRY = {
    "name": "e2e-empty",
    "hosts": ["empty.registry.example.com"],
    "path": "e2e/registries/empty",
    "selector": {"e2e.platform/empty": "true"},
    "namespaces": ["e2e-*"],
}


@pytest.mark.usefixtures("adopted")
class TestGate:
    """Is the Vault path populated?"""

    def change(self, gate: str) -> dict[str, Any]:
        return {"gate": gate, "registries": [*BASELINE["registries"], EMPTY_REGISTRY]}

    def test_fail_stops_before_anything_changes_and_names_path_and_command(self, deployed: Stack) -> None:
        printed = deployed.up(self.change("fail"), fails=True)
        assert "Vault path secret/e2e/registries/empty holds no credential" in printed
        assert "pull-secrets seed e2e-empty --stack e2e" in printed
        assert deployed.find("/apis/external-secrets.io/v1/clusterexternalsecrets/e2e-empty") is None

    def test_warn_warns_and_applies_desired_state(self, stack: Stack) -> None:
        printed = stack.up(self.change("warn"))
        assert "warning: Vault path secret/e2e/registries/empty holds no credential" in printed
        assert stack.find("/apis/external-secrets.io/v1/clusterexternalsecrets/e2e-empty")

    def test_off_says_nothing(self, stack: Stack) -> None:
        assert "holds no credential" not in stack.up(self.change("off"))


def test_a_namespace_of_somebody_else_is_never_taken_over_and_one_to_adopt_must_exist(stack: Stack) -> None:
    stack.make_namespace("e2e-foreign")
    printed = stack.up(tenants("e2e-foreign", name="e2e-absent"), fails=True)
    assert "namespace 'e2e-foreign' exists and was not made by this program; set adopt: true" in printed
    assert "namespace 'e2e-absent' is to be adopted and does not exist" in printed
    assert "e2e.platform/web" not in stack.get(namespace("e2e-foreign"))["metadata"].get("labels", {})
    stack.delete_namespace("e2e-foreign")


def test_destroy_leaves_nothing_of_ours_and_everything_of_theirs(deployed: Stack) -> None:
    deployed.audit("--wait", "60")
    deployed.pulumi("destroy", "--yes", "--skip-preview")
    assert deployed.entries(ADOPTED) == [OTHERS_ENTRY]
    for registry in ("e2e-app", "e2e-web"):
        deployed.gone(secret(ADOPTED, registry))
        assert deployed.find(f"/apis/external-secrets.io/v1/clusterexternalsecrets/{registry}") is None
    assert deployed.find("/apis/external-secrets.io/v1/clustersecretstores/vault-e2e") is None
    deployed.gone(namespace("e2e-auth-dev"))
    left = deployed.get(namespace(ADOPTED))["metadata"]
    assert not [label for label in left.get("labels", {}) if label.startswith("e2e.platform/")]
    assert not left.get("finalizers"), "its owner can delete it without hanging"
    stored = deployed.plane.vault("root").secrets.kv.v2.read_secret_metadata("e2e/registries/web")["data"]
    assert stored["versions"], "the credential itself is never deleted"
    assert "owner" not in (stored["custom_metadata"] or {})


def test_no_credential_is_in_state_or_was_printed(deployed: Stack) -> None:
    state = deployed.workspace.pulumi("stack", "export", "--show-secrets", "--stack", "e2e").stdout
    assert "e2e-auth-dev" in state, "the state is there to be searched"
    backend = deployed.plane.layout.state / "pulumi"
    # Those of other stacks, which run at the same time, come and go.
    ours = [file for file in backend.rglob("*") if any(part.split(".")[0] == STACK for part in file.parts)]
    files = [file.read_text(errors="replace") for file in ours if file.is_file()]
    assert files
    for password in deployed.passwords.values():
        encoded = base64.b64encode(f"bot:{password}".encode()).decode()
        for text in [state, *deployed.printed, *files]:
            assert password not in text
            assert encoded not in text
