"""The rendered tree is what the first source's GitOps repository holds, and only rendered files are ever removed."""

import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.config import StackConfig, load_stack
from pullsecrets.errors import BadInputError
from pullsecrets.manifests.render import apply, compare, render
from tests.components.program import REPOSITORY

SEED_MANIFEST = """
apiVersion: external-secrets.io/v1
kind: ClusterExternalSecret
metadata:
  name: app-registry-pull
  annotations:
    argocd.argoproj.io/sync-wave: "45"
spec:
  externalSecretName: app-registry-pull
  refreshTime: 1h
  namespaceSelectors:
    - matchLabels:
        apps.platform/tenant: "true"
  externalSecretSpec:
    refreshInterval: 1h
    secretStoreRef:
      kind: ClusterSecretStore
      name: vault-platform
    target:
      name: app-registry-pull
      creationPolicy: Owner
      template:
        type: kubernetes.io/dockerconfigjson
        data:
          .dockerconfigjson: "{{ .dockerconfigjson }}"
    data:
      - secretKey: dockerconfigjson
        remoteRef:
          key: ocp/spoke-dc-v6/registries/app-registry-pull
          property: dockerconfigjson
"""

ADDED = {
    "metadata.labels.app.kubernetes.io/part-of": "pull-secrets",
    "spec.externalSecretSpec.target.deletionPolicy": "Retain",
    "spec.externalSecretSpec.target.template.metadata.annotations.apps.platform/content-digest": (
        "{{ .dockerconfigjson | sha256sum | trunc 16 }}"
    ),
    "spec.externalSecretSpec.data[0].remoteRef.conversionStrategy": "Default",
    "spec.externalSecretSpec.data[0].remoteRef.decodingStrategy": "None",
    "spec.externalSecretSpec.data[0].remoteRef.metadataPolicy": "None",
    "spec.externalSecretSpec.refreshInterval": "1h0m0s",
    "spec.refreshTime": "1h0m0s",
}
"""What the project adds to the source's manifest: a label, the policy that ESO defaults to, proof of delivery, the
defaults that the CRD adds inside lists, and `1h` as ESO writes it back."""

FOLDER = PurePosixPath("clusters/spoke-dc-v6/secrets/app-registry-pull")


@pytest.fixture(scope="module")
def config() -> StackConfig:
    return load_stack("prod", REPOSITORY)


@pytest.fixture(scope="module")
def files(config: StackConfig) -> dict[PurePosixPath, str]:
    return render(config, "prod")


def leaves(item: Any, path: str = "") -> dict[str, Any]:
    """Every scalar of a document by its path."""
    if isinstance(item, dict):
        children = {f"{path}.{key}": value for key, value in item.items()}
    elif isinstance(item, list):
        children = {f"{path}[{index}]": value for index, value in enumerate(item)}
    else:
        return {path.removeprefix("."): item}
    return {key: value for name, child in children.items() for key, value in leaves(child, name).items()}


def test_the_cluster_external_secret_is_the_sources_field_by_field(files: dict[PurePosixPath, str]) -> None:
    yaml = YAML(typ="safe")
    rendered = leaves(yaml.load(files[FOLDER / "clusterexternalsecret.yaml"]))
    assert rendered == {**leaves(yaml.load(SEED_MANIFEST)), **ADDED}


def test_every_folder_has_one_object_and_a_kustomization(files: dict[PurePosixPath, str]) -> None:
    folders = {path.parent for path in files} - {PurePosixPath("clusters/spoke-dc-v6")}
    for folder in folders:
        names = sorted(path.name for path in files if path.parent == folder)
        assert len(names) == 2
        assert "kustomization.yaml" in names


def test_no_rendered_file_is_a_secret(files: dict[PurePosixPath, str]) -> None:
    kinds = {YAML(typ="safe").load(text)["kind"] for text in files.values()}
    assert kinds == {
        "ClusterExternalSecret",
        "ClusterRoleBinding",
        "ClusterSecretStore",
        "Kustomization",
        "Namespace",
        "NetworkPolicy",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }


def test_kustomize_builds_the_tree(tmp_path: Path, files: dict[PurePosixPath, str]) -> None:
    apply(files, compare(files, tmp_path), tmp_path)
    built = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path / "clusters/spoke-dc-v6")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    objects = list(YAML(typ="safe").load_all(built.stdout))
    assert sum(item["kind"] == "Namespace" for item in objects) == 25
    assert sum(item["kind"] == "ClusterExternalSecret" for item in objects) == 2


@pytest.mark.parametrize("options", [(), ("--check",)])
@pytest.mark.parametrize("below", ["", "folder"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, below: str, options: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / below
    done = CliRunner().invoke(
        app, ["render", "--stack", "prod", "--directory", str(REPOSITORY), "--out", str(out), *options]
    )
    assert isinstance(done.exception, BadInputError)
    assert f"--out {out}: " in str(done.exception)
    assert "Not a directory; name a folder that can be written" in str(done.exception)


def test_rendering_again_changes_nothing(tmp_path: Path, files: dict[PurePosixPath, str]) -> None:
    apply(files, compare(files, tmp_path), tmp_path)
    again = compare(files, tmp_path)
    assert (again.written, again.removed, len(again.unchanged)) == ((), (), len(files))


def test_files_of_a_tenant_that_left_go_and_hand_made_ones_stay(
    tmp_path: Path, files: dict[PurePosixPath, str]
) -> None:
    apply(files, compare(files, tmp_path), tmp_path)
    by_hand = tmp_path / "clusters/spoke-dc-v6/secrets/by-hand.yaml"
    by_hand.write_text("kind: ConfigMap\n")
    gone = PurePosixPath("clusters/spoke-dc-v6/namespaces/auth-production")
    fewer = {path: text for path, text in files.items() if path.parent != gone}
    changes = compare(fewer, tmp_path)
    assert set(changes.removed) == {gone / "namespace.yaml", gone / "kustomization.yaml"}
    apply(fewer, changes, tmp_path)
    assert not (tmp_path / gone).exists()
    assert by_hand.exists()
