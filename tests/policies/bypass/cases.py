"""The ways around the packs that the program tries, as data: which policy must stop each."""

from dataclasses import dataclass
from typing import Any

UNKNOWN = "<another resource's output>"
"""In a property: a value that is not known in a preview."""

CANARY = "canary-77d1"
"""In a property: a value that no message may show."""

ESO = "external-secrets.io"
WRITES = "disallow-cluster-pull-secret-writes"
OVERWRITES = "disallow-silent-overwrites"
MENTIONS = "disallow-cluster-pull-secret-mentions"
UNJUDGED = "disallow-unjudged-writers"
DELIVERY = "configure-safe-delivery"
GUARDED = {"name": "pull-secret", "namespace": "openshift-config"}
CONTENT = {"stringData": {".dockerconfigjson": CANARY}}


@dataclass(frozen=True)
class Case:
    """One resource, and the policy that must stop it, or tell of it where nothing in it is certain."""

    name: str
    policy: str
    token: str
    props: dict[str, Any]
    provider: str = "cluster"

    @property
    def level(self) -> str:
        """What the violation does."""
        return "advisory" if self.policy in {MENTIONS, UNJUDGED} else "mandatory"

    @property
    def resource(self) -> str:
        """Name of the resource."""
        return f"{self.policy}.{self.name}"


def _metadata(**metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata}


_CLUSTER_PULL_SECRET = [
    Case("secret", WRITES, "kubernetes:core/v1:Secret", {**_metadata(**GUARDED), **CONTENT}),
    Case("secret-patch", WRITES, "kubernetes:core/v1:SecretPatch", {**_metadata(**GUARDED), **CONTENT}),
    Case("secret-list", WRITES, "kubernetes:core/v1:SecretList", {"items": [{**_metadata(**GUARDED), **CONTENT}]}),
    Case(
        "unknown-name",
        WRITES,
        "kubernetes:core/v1:Secret",
        {**_metadata(name=UNKNOWN, namespace="openshift-config"), **CONTENT},
    ),
    Case(
        "unknown-namespace",
        WRITES,
        "kubernetes:core/v1:Secret",
        {**_metadata(name="pull-secret", namespace=UNKNOWN), **CONTENT},
    ),
    Case("unknown-metadata", WRITES, "kubernetes:core/v1:Secret", {"metadata": UNKNOWN, **CONTENT}),
    Case("unknown-items", WRITES, "kubernetes:core/v1:SecretList", {"items": UNKNOWN}),
    Case(
        "external-secret",
        WRITES,
        f"kubernetes:{ESO}/v1:ExternalSecret",
        {**_metadata(name="registry", namespace="openshift-config"), "spec": {"target": {"name": "pull-secret"}}},
    ),
    Case(
        "external-secret-unknown-target",
        WRITES,
        f"kubernetes:{ESO}/v1:ExternalSecret",
        {**_metadata(name="registry", namespace="openshift-config"), "spec": {"target": {"name": UNKNOWN}}},
    ),
    Case(
        "cluster-external-secret",
        MENTIONS,
        f"kubernetes:{ESO}/v1:ClusterExternalSecret",
        {
            **_metadata(name="registry"),
            "spec": {
                "namespaceSelectors": [{"matchLabels": {"apps.platform/tenant": "true"}}],
                "externalSecretSpec": {"target": {"name": "pull-secret"}},
            },
        },
    ),
    Case(
        "cluster-external-secret-unknown-spec",
        WRITES,
        f"kubernetes:{ESO}/v1:ClusterExternalSecret",
        {**_metadata(name="registry"), "spec": UNKNOWN},
    ),
    Case(
        "push-secret",
        MENTIONS,
        f"kubernetes:{ESO}/v1alpha1:PushSecret",
        {
            **_metadata(name="push", namespace="team-a"),
            "spec": {"data": [{"match": {"remoteRef": {"remoteKey": "pull-secret"}}}]},
        },
    ),
    Case(
        "sealed-secret",
        WRITES,
        "kubernetes:bitnami.com/v1alpha1:SealedSecret",
        {**_metadata(**GUARDED), "spec": {"encryptedData": {".dockerconfigjson": CANARY}}},
    ),
    *(
        Case(name, WRITES, "kubernetes:core/v1:Secret", {**_metadata(name=name, namespace="kube-system"), **CONTENT})
        for name in ("additional-pull-secret", "global-pull-secret", "original-pull-secret")
    ),
    Case(
        "image-config",
        WRITES,
        "kubernetes:config.openshift.io/v1:ImagePatch",
        {**_metadata(name="cluster"), "spec": {"additionalTrustedCA": {"name": CANARY}}},
    ),
    Case(
        "hosted-cluster",
        WRITES,
        "kubernetes:hypershift.openshift.io/v1beta1:HostedClusterPatch",
        {**_metadata(name="guest", namespace="clusters"), "spec": {"pullSecret": {"name": UNKNOWN}}},
    ),
    Case(
        "machine-config",
        WRITES,
        "kubernetes:machineconfiguration.openshift.io/v1:MachineConfig",
        {
            **_metadata(name="99-worker-registry"),
            "spec": {
                "config": {
                    "storage": {
                        "files": [{"path": "/var/lib/kubelet/config.json", "contents": {"source": f"data:,{CANARY}"}}]
                    }
                }
            },
        },
    ),
    Case(
        "upserting-provider",
        OVERWRITES,
        "kubernetes:core/v1:Secret",
        {**_metadata(name="registry", namespace="team-a"), **CONTENT},
        provider="upserting",
    ),
    Case(
        "forced-patch",
        OVERWRITES,
        "kubernetes:core/v1:SecretPatch",
        {
            **_metadata(name="registry", namespace="team-a", annotations={"pulumi.com/patchForce": "true"}),
            **CONTENT,
        },
    ),
    Case(
        "release-that-names-it",
        MENTIONS,
        "kubernetes:helm.sh/v3:Release",
        {
            "chart": "registry",
            "namespace": "openshift-config",
            "values": {"secretName": "pull-secret", "password": CANARY},
        },
    ),
    Case(
        "release",
        UNJUDGED,
        "kubernetes:helm.sh/v3:Release",
        {"chart": "anything", "version": "1.0.0", "namespace": "team-a", "values": {"password": CANARY}},
    ),
    Case(
        "command-that-names-it",
        MENTIONS,
        "command:local:Command",
        {"create": f"oc -n openshift-config set data secret/pull-secret --from-literal=.dockerconfigjson={CANARY}"},
        provider="commands",
    ),
    Case(
        "command-that-applies",
        UNJUDGED,
        "command:local:Command",
        {"create": "kubectl apply -f -", "stdin": CANARY},
        provider="commands",
    ),
    Case("command-unknown", UNJUDGED, "command:local:Command", {"create": UNKNOWN}, provider="commands"),
]

_TENANT_DELIVERY = [
    Case(
        "platform-namespace",
        "restrict-opt-in-labels",
        "kubernetes:core/v1:NamespacePatch",
        _metadata(name="kube-system", labels={"apps.platform/tenant": "true"}),
    ),
    Case(
        "unknown-labels",
        "restrict-opt-in-labels",
        "kubernetes:core/v1:NamespacePatch",
        _metadata(name="kube-system", labels=UNKNOWN),
    ),
    Case(
        "selector-for-everything",
        DELIVERY,
        f"kubernetes:{ESO}/v1:ClusterExternalSecret",
        {
            **_metadata(name="app-registry-pull"),
            "spec": {
                "namespaceSelectors": [{}],
                "externalSecretSpec": {
                    "target": {"name": "app-registry-pull", "template": {"type": "kubernetes.io/dockerconfigjson"}}
                },
            },
        },
    ),
    Case(
        "unknown-conditions",
        DELIVERY,
        f"kubernetes:{ESO}/v1:ClusterSecretStore",
        {**_metadata(name="vault-platform"), "spec": {"conditions": UNKNOWN}},
    ),
    Case(
        "secret-with-content",
        "disallow-inline-credentials",
        "kubernetes:core/v1:Secret",
        {**_metadata(name="registry", namespace="team-a"), **CONTENT},
    ),
    Case(
        "service-account-patch",
        "require-append-safe-binding",
        "kubernetes:core/v1:ServiceAccountPatch",
        {**_metadata(name="default", namespace="apps-shop"), "imagePullSecrets": [{"name": "app-registry-pull"}]},
    ),
]

_WORKLOADS = [
    Case(
        "other-host",
        "disallow-noncanonical-image-hosts",
        "kubernetes:apps/v1:Deployment",
        {
            **_metadata(name="shop", namespace="apps-shop"),
            "spec": {
                "template": {
                    "spec": {"containers": [{"name": "shop", "image": "app-registry.sub.comptech-lab.com/shop:1"}]}
                }
            },
        },
    ),
]

REMEDIATED = Case(
    "deployment",
    "add-image-pull-secrets",
    "kubernetes:apps/v1:Deployment",
    {
        **_metadata(name="auth", namespace="auth-dev"),
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "auth",
                            "image": "registry-api.tanhdev.com/auth:1",
                            "env": [{"name": "TOKEN", "value": CANARY}],
                        }
                    ],
                    "imagePullSecrets": [{"name": "team-registry"}],
                }
            }
        },
    },
)
"""What a policy puts right instead of stopping it."""

CASES = [*_CLUSTER_PULL_SECRET, *_TENANT_DELIVERY, *_WORKLOADS]

CHILDREN = ("yaml-openshift-config/pull-secret", "kustomize-kube-system/additional-pull-secret")
"""Names of the resources that the SDK's YAML and kustomize components make; `WRITES` must stop them."""

YAML = """
apiVersion: v1
kind: Secret
metadata:
  name: pull-secret
  namespace: openshift-config
stringData:
  .dockerconfigjson: canary-77d1
"""
