"""The sample GitOps repository, built once, and small ones of a single service for what the sample does not hold."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from local import sample_gitops
from pullsecrets.config import Registry, StackConfig, load_stack
from pullsecrets.config.gitops import GitOps
from pullsecrets.gitops.repository import Repository, load
from pullsecrets.gitops.survey import Survey, survey
from tests.components.program import REPOSITORY

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      imagePullSecrets:
        - name: registry-api-tanhdev
      containers:
        - name: shop
          image: registry-api.tanhdev.com/shop:1
"""
BASE = "resources:\n  - deployment.yaml\n"
OVERLAY = "namespace: shop-dev\nresources:\n  - ../../base\n"
SHOP = {
    "apps/shop/base/deployment.yaml": DEPLOYMENT,
    "apps/shop/base/kustomization.yaml": BASE,
    "apps/shop/overlays/dev/kustomization.yaml": OVERLAY,
}
"""A repository of one service by path; tests change one file of it."""

Shop = Callable[[Mapping[str, str]], Repository]


@pytest.fixture(scope="session")
def config() -> StackConfig:
    return load_stack("dev", REPOSITORY)


@pytest.fixture(scope="session")
def registry(config: StackConfig) -> Registry:
    return config.registry(sample_gitops.SECRET)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The sample as it is before the migration, committed; nobody changes it."""
    folder = tmp_path_factory.mktemp("sample")
    sample_gitops.build(folder)
    sample_gitops.commit(folder)
    return load(folder, GitOps())


@pytest.fixture(scope="session")
def surveyed(sample: Repository) -> Survey:
    return survey(sample)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Write the repository of one service, with some files changed or added, commit it and read it."""

    def build(changes: Mapping[str, str]) -> Repository:
        for name, text in {**SHOP, **changes}.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        sample_gitops.commit(tmp_path)
        return load(tmp_path, GitOps())

    return build
