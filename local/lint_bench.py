"""`make bench`: files a second that `pull-secrets lint` judges, whole process; it reports and asserts nothing."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from rich.console import Console
from rich.table import Table

from local import toolchain
from pullsecrets.text import counted

PLAIN_FILES = 3000
RUNS = 3

_MANIFESTS = dedent("""\
    apiVersion: apps/v1
    kind: Deployment
    metadata: {{name: app-{number}, namespace: team-{team}, labels: {{app.kubernetes.io/part-of: shop}}}}
    spec:
      replicas: 2
      selector: {{matchLabels: {{app: app-{number}}}}}
      template:
        metadata:
          labels: {{app: app-{number}}}
        spec:
          serviceAccountName: app-{number}
          containers:
            - name: app
              image: registry.example.com/team/app-{number}:1.{team}.0
              ports: [{{name: http, containerPort: 8080}}]
              env:
                - name: LOG_LEVEL
                  value: info
                - name: DATABASE
                  valueFrom: {{secretKeyRef: {{name: db, key: url}}}}
              resources: {{requests: {{cpu: 100m, memory: 128Mi}}, limits: {{memory: 256Mi}}}}
    ---
    apiVersion: v1
    kind: Service
    metadata: {{name: app-{number}, namespace: team-{team}}}
    spec:
      selector: {{app: app-{number}}}
      ports:
        - {{name: http, port: 80, targetPort: http}}
    """)
_TEAMS = 40


class LintBenchmark:
    """Two folders: plain manifests, and the same number of large CRDs and manifests."""

    def __init__(self, folder: Path, console: Console) -> None:
        """Write the files below a folder and print to this console."""
        self._folder = folder
        self._console = console

    def run(self) -> None:
        """Lint each folder several times in turn, and print the best of each."""
        files = sorted((toolchain.eso_module() / "config" / "crds" / "bases").glob("*.yaml"))
        definitions = {file.name: file.read_text(encoding="utf-8") for file in files}
        beside = _plain(len(definitions))
        folders = {
            "plain YAML": self._write("plain", _plain(PLAIN_FILES)),
            "large CRDs among it": self._write("crds", {**definitions, **beside}),
        }
        seconds: dict[str, list[float]] = {what: [] for what in folders}
        for _ in range(RUNS):
            for what, folder in folders.items():
                seconds[what].append(_seconds(folder))
        table = Table("files", "count", "seconds", "files/s", title="pull-secrets lint, whole process, best of runs")
        for what, folder in folders.items():
            count, best = len(list(folder.iterdir())), min(seconds[what])
            table.add_row(what, counted(count, "file"), f"{best:.2f}", f"{count / best:.0f}")
        self._console.print(table)

    def _write(self, name: str, files: Mapping[str, str]) -> Path:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        return folder


def _plain(count: int) -> dict[str, str]:
    return {f"app-{number}.yaml": _MANIFESTS.format(number=number, team=number % _TEAMS) for number in range(count)}


def _seconds(folder: Path) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "pullsecrets", "lint", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began
