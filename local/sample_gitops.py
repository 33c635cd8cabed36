"""Builds the sample GitOps repository: the second source's numbers with the irregularities that real ones have.

24 services, 50 workload files (24 deployments, 13 workers, 13 migration jobs), 2 environments, one registry, and a pull
Secret that is named everywhere and defined nowhere. `python -m local.sample_gitops FOLDER` writes it.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

REGISTRY = "registry-api.tanhdev.com"
SECRET = "registry-api-tanhdev"  # noqa: S105 - the name of one
ENVIRONMENTS = ("dev", "production")
SERVICES = (
    *("auth", "user", "customer", "gateway", "catalog", "search", "pricing", "promotion"),
    *("order", "payment", "fulfillment", "warehouse", "shipping", "notification", "analytics", "location"),
    *("review", "loyalty-rewards", "checkout", "return", "admin", "frontend", "unnamed-23", "unnamed-24"),
)
WITH_WORKER = frozenset(SERVICES) - {
    *("auth", "gateway", "admin", "frontend", "user", "location", "return", "review", "checkout", "unnamed-23"),
    "unnamed-24",
}
WITH_MIGRATION = frozenset(SERVICES) - {
    *("gateway", "search", "notification", "analytics", "location", "admin", "frontend", "pricing", "promotion"),
    *("unnamed-23", "unnamed-24"),
}
NOT_IN_PRODUCTION = "shipping"
WITHOUT_REFERENCE = "order"
"""Its worker has a list of its own that names another Secret."""
UNBOUND = ("search", "shipping", "analytics")
"""Services of which `build(unbound=True)` adds a worker that names no Secret and has a ServiceAccount of its own."""

_PULL = f"      imagePullSecrets:\n      - name: {SECRET}\n"


def build(path: Path, *, unbound: bool = False) -> None:
    """Write the repository's files into a folder, which is made when it is not there.

    Args:
        path: the folder.
        unbound: whether some services have a worker whose Pods would come without any pull Secret.
    """
    files = {name: text for service in SERVICES for name, text in _service(service).items()}
    files |= _elsewhere()
    for change in _IRREGULARITIES:
        change(files)
    if unbound:
        _unbound_workers(files)
    for name, text in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # As bytes: what ends a line is part of the sample.
        file.write_bytes(text.encode())


def commit(path: Path) -> None:
    """Make a folder a git work tree with everything in it committed."""
    identity = ("-c", "user.name=sample", "-c", "user.email=sample@example.com", "-c", "commit.gpgsign=false")
    for arguments in (("init", "--quiet"), ("add", "--all"), (*identity, "commit", "--quiet", "--message", "sample")):
        subprocess.run(["git", "-C", str(path), "-c", "core.autocrlf=false", *arguments], check=True)


def _service(name: str) -> dict[str, str]:
    base, overlays = f"apps/{name}/base", f"apps/{name}/overlays"
    resources = ["deployment.yaml", "service.yaml"]
    files = {f"{base}/deployment.yaml": _deployment(name, 8000), f"{base}/service.yaml": _kubernetes_service(name)}
    if name in WITH_WORKER:
        resources.append("worker-deployment.yaml")
        files[f"{base}/worker-deployment.yaml"] = _deployment(f"{name}-worker", 9000, image=name)
    if name in WITH_MIGRATION:
        resources.append("migration-job.yaml")
        files[f"{base}/migration-job.yaml"] = _migration(name)
    files[f"{base}/kustomization.yaml"] = _kustomization(resources)
    for environment in ENVIRONMENTS:
        if (name, environment) != (NOT_IN_PRODUCTION, "production"):
            files[f"{overlays}/{environment}/kustomization.yaml"] = _overlay(name, environment)
    return files


def _kustomization(resources: list[str]) -> str:
    listed = "".join(f"- {resource}\n" for resource in resources)
    return f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\nresources:\n{listed}"


def _overlay(name: str, environment: str) -> str:
    return (
        f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: {name}-{environment}\n"
        f"resources:\n  - ../../base\nimages:\n  - name: {REGISTRY}/{name}\n    newTag: {environment}-1\n"
    )


def _deployment(name: str, port: int, image: str | None = None) -> str:
    return f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels:
    app: {name}
spec:
  replicas: 1
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
{_PULL}      containers:
      - name: {name}
        image: {REGISTRY}/{image or name}:latest
        ports:
        - containerPort: {port}
"""


def _migration(name: str) -> str:
    return f"""apiVersion: batch/v1
kind: Job
metadata:
  name: {name}-migration
spec:
  backoffLimit: 3
  template:
    spec:
      restartPolicy: Never
{_PULL}      containers:
      - name: migration
        image: {REGISTRY}/{name}:latest
        command: ["/app/migrate", "up"]
"""


def _kubernetes_service(name: str) -> str:
    return f"""apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector:
    app: {name}
  ports:
  - port: 80
    targetPort: 8000
"""


def _elsewhere() -> dict[str, str]:
    policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: default-deny}\n"
    return {
        "README.md": "# GitOps\n",
        "infrastructure/security/network-policy.yaml": f"{policy}spec:\n  podSelector: {{}}\n",
        "infrastructure/security/kustomization.yaml": _kustomization(["network-policy.yaml"]),
        "infrastructure/templates/namespace.yaml": (
            "{{- range .services }}\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {{ . }}\n{{- end }}\n"
        ),
        "docs/values.yaml": "imagePullSecrets: not a manifest\nservices: [auth]\n",
        "components/common-labels/kustomization.yaml": (
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels:\n- pairs: {team: commerce}\n"
        ),
    }


_Files = dict[str, str]


def _base(service: str, file: str = "deployment.yaml") -> str:
    return f"apps/{service}/base/{file}"


def _swap(files: _Files, file: str, old: str, new: str) -> None:
    if old not in files[file]:
        raise ValueError(f"{file} does not hold {old!r}")
    files[file] = files[file].replace(old, new)


def _comments(files: _Files) -> None:
    name = _base("auth")
    _swap(files, name, _PULL, f"      # Pull from our registry.\n{_PULL}      # The main container.\n")
    _swap(files, name, "replicas: 1", "replicas: 1   # scaled by the HPA")
    files[name] = f"# Owned by team identity\n---\n{files[name]}# end of file\n"


def _init_container(files: _Files) -> None:
    pod = "      initContainers:\n      - name: wait\n        image: registry-api.tanhdev.com/tools/wait:1\n"
    _swap(files, _base("auth", "migration-job.yaml"), "      containers:", f"{pod}      containers:")


def _indentation(files: _Files) -> None:
    _swap(files, _base("user"), _PULL, f"      imagePullSecrets:\n          -   name:   '{SECRET}'\n")
    _swap(files, _base("user"), "  labels:\n    app: user\nspec", "  labels:\n        app:    user\nspec")
    name = _base("user", "kustomization.yaml")
    files[name] = files[name].replace("- ", "    -   ")


def _two_entries(files: _Files) -> None:
    _swap(files, _base("customer"), _PULL, f"{_PULL}      - name: legacy-registry   # until the move is over\n")
    _swap(
        files, _base("promotion"), _PULL, _PULL.replace("- name", "- name: legacy-registry\n      # ours\n      - name")
    )


def _inline_lists(files: _Files) -> None:
    _swap(files, _base("gateway"), _PULL, f"      imagePullSecrets: [{{name: {SECRET}}}]  # inline\n")
    entries = f"[ {{name: legacy-registry}}, {{ name: {SECRET} }} ]"
    _swap(files, _base("admin"), _PULL, f"      imagePullSecrets: {entries}\n")
    several = f'[\n        {{"name": "{SECRET}"}},\n        {{"name": "legacy-registry"}},\n      ]'
    _swap(files, _base("review"), _PULL, f"      imagePullSecrets: {several}\n")


def _line_ends(files: _Files) -> None:
    for file in ("deployment.yaml", "kustomization.yaml"):
        files[_base("catalog", file)] = files[_base("catalog", file)].replace("\n", "\r\n")
    files[_base("review", "kustomization.yaml")] = files[_base("review", "kustomization.yaml")].rstrip("\n")


def _several_documents(files: _Files) -> None:
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: search\n"
    name = _base("search")
    files[name] = f"---\n{account}---\n{files[name]}---\n# nothing here\n"
    checkout = _base("checkout")
    files[checkout] = f"---\n{files[checkout]}...\n"


def _anchors(files: _Files) -> None:
    name = _base("pricing")
    _swap(files, name, "  labels:\n    app: pricing\n", "  labels: &labels\n    app: pricing\n")
    _swap(files, name, "    matchLabels:\n      app: pricing\n", "    matchLabels: *labels\n")
    shared = _base("pricing", "worker-deployment.yaml")
    _swap(files, shared, f"- name: {SECRET}", f"- name: &pull {SECRET}")
    _swap(files, shared, "        ports:", "        env:\n        - {name: PULL_SECRET, value: *pull}\n        ports:")


def _other_secret(files: _Files) -> None:
    name = _base(WITHOUT_REFERENCE, "worker-deployment.yaml")
    _swap(files, name, SECRET, "order-partner-registry")


def _cron_job(files: _Files) -> None:
    pod = f"""          restartPolicy: OnFailure
          imagePullSecrets:
            - name: {SECRET}
          containers:
            - name: settle
              image: {REGISTRY}/payment:latest
"""
    files[_base("payment", "worker-deployment.yaml")] += (
        "---\napiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: payment-settlement\nspec:\n"
        f'  schedule: "0 2 * * *"\n  jobTemplate:\n    spec:\n      template:\n        spec:\n{pod}'
    )


def _patches(files: _Files) -> None:
    head = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  template:\n    spec:\n"
    files["apps/fulfillment/overlays/dev/pull-patch.yaml"] = (
        head.format(name="fulfillment") + _PULL + "      terminationGracePeriodSeconds: 5\n"
    )
    files["apps/fulfillment/overlays/dev/kustomization.yaml"] += "patches:\n  - path: pull-patch.yaml\n"
    # Nothing but the list: without it, `spec:` would be null and delete the Pod's whole specification.
    files["apps/frontend/overlays/dev/pull-patch.yaml"] = head.format(name="frontend") + _PULL
    files["apps/frontend/overlays/dev/kustomization.yaml"] += "patches:\n  - path: pull-patch.yaml\n"
    files["apps/warehouse/overlays/production/kustomization.yaml"] += (
        "patches:\n  - target: {kind: Deployment, name: warehouse}\n    patch: |-\n"
        "      - op: add\n        path: /spec/template/spec/imagePullSecrets/-\n"
        "        value: {name: legacy-registry}\n"
    )
    files["apps/analytics/overlays/dev/replicas.yaml"] = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: analytics}\nspec: {replicas: 2}\n"
    )
    files["apps/analytics/overlays/dev/kustomization.yaml"] += "patchesStrategicMerge:\n- replicas.yaml\n"


def _kustomizations(files: _Files) -> None:
    files[_base("notification", "kustomization.yaml")] += (
        "\n# Labels of the team.\ncomponents:\n  - ../../../components/common-labels # all of commerce\n\n# end\n"
    )
    files[_base("return", "kustomization.yaml")] += "components: []   # none yet\n# the last word\n"
    files[_base("checkout", "kustomization.yaml")] += "components: [../../../components/common-labels]\n"
    name = _base("loyalty-rewards", "kustomization.yaml")
    files[_base("loyalty-rewards", "kustomization.yml")] = files.pop(name)
    files[_base("unnamed-24", "kustomization.yaml")] = "{resources: [deployment.yaml, service.yaml]}\n"


def _unbound_workers(files: _Files) -> None:
    """Put the workers beside the services' deployments, in files that are there already."""
    for service in UNBOUND:
        name = f"{service}-indexer"
        worker = _deployment(name, 9100, image=service)
        account = f"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n"
        pod = f"      serviceAccountName: {name}\n"
        files[_base(service)] += f"---\n{account}---\n{worker.replace(_PULL, pod)}"


def _chart(files: _Files) -> None:
    files["apps/location/chart/Chart.yaml"] = "apiVersion: v2\nname: location-tiles\nversion: 0.1.0\n"
    files["apps/location/chart/values.yaml"] = f"image: {REGISTRY}/location-tiles\nimagePullSecrets: []\n"
    files["apps/location/chart/templates/deployment.yaml"] = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n"
        "{{- if .Values.imagePullSecrets }}\n  template: {}\n{{- end }}\n"
    )


_IRREGULARITIES: tuple[Callable[[_Files], None], ...] = (
    _comments,
    _init_container,
    _indentation,
    _two_entries,
    _inline_lists,
    _line_ends,
    _several_documents,
    _anchors,
    _other_secret,
    _cron_job,
    _patches,
    _kustomizations,
    _chart,
)


def main() -> None:
    """Write the sample as a committed git work tree into the folder that the command line names."""
    folder = Path(sys.argv[1])
    build(folder)
    commit(folder)


if __name__ == "__main__":
    main()
