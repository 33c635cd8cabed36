"""Writes docs/policies.md from the policies' own metadata.

Run as `python -m pullsecrets.packs.document` to write it, with `--check` to fail when it is not what would be written.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, cast

from pulumi_policy import Policy, StackValidationPolicy

from pullsecrets import guard
from pullsecrets.files import keep_page
from pullsecrets.guard.kinds import SECRET_WRITERS
from pullsecrets.packs.catalog import PACKS
from pullsecrets.packs.crossguard import Pack
from pullsecrets.policy.complete_delivery import COMPLETE
from pullsecrets.policy.lint.judging import RULES, UNREAD

TARGET = Path(__file__).resolve().parents[2] / "docs" / "policies.md"

_INTRODUCTION = """\
<!-- Written by `make docs` from the policies' own metadata; change those, not this file. -->
# Policies

CrossGuard packs check what Pulumi declares, `pull-secrets lint` checks manifests in a repository by the same
rules, and admission policies check what reaches the API server. All three share one definition of what is guarded:
`pullsecrets/guard/`.

    pulumi preview --policy-pack pullsecrets/packs/pull_secrets                         # every policy
    pulumi policy analyze --stack prod --policy-pack pullsecrets/packs/cluster_pull_secret      # the state as it is
    pull-secrets lint clusters/ --stack prod                                           # files

Packs without settings know no registry and name no host: what they say of labels, hosts and pull Secrets comes from the
settings. `pull-secrets packs --stack NAME --out FOLDER` writes pack and settings and prints the options for a run:

    mapfile -t packs < <(pull-secrets packs --stack prod --out build)                   # GitHub and GitLab alike
    pulumi preview --stack prod "${packs[@]}"
    (cd build/pull-secrets && pulumi policy publish acme)                               # Pulumi Cloud: once a version,
    pulumi policy enable acme/pull-secrets latest --config build/pull-secrets.json      # then enforced there

The pack `pull-secrets` holds every policy. The packs below hold those of one subject each, for who wants no more
(`--pack NAME`). Each pack is a process that is asked twice about every resource, so one of all costs less than several
([figures](performance.md#policy-packs)). It reads a resource once, and only where its type concerns a policy.

Settings are `--policy-pack-config FILE`, one JSON object of policy names and their settings. `make pack-policies`
builds each pack without settings, with an environment of its own, for other repositories.

Levels: **mandatory** stops the preview or update; **remediate** corrects the resource and stops what it cannot
correct; **advisory** reports. A decisive value that is unknown in a preview counts as a violation. No message shows
a value: only kinds, names, namespaces and paths.

## The line

The packs and the lint read objects, not programs. They give one of three answers:

| answer | when | what it does |
|---|---|---|
| **certain** | the object, an object that it carries, or what a controller known here makes of it, is the guarded \
one; so is a value that decides and is unknown in a preview | mandatory \
(`disallow-cluster-pull-secret-writes`) |
| **mentioned** | name and namespace of a guarded object, or the path of the kubelet's file, appear anywhere in the \
resource, or in texts inside it: YAML, JSON, base64, a data URL, a script; or something outside it \
decides, such as a label, a parameter, or the namespace that it is put into | advisory \
(`disallow-cluster-pull-secret-mentions`) |
| **opaque** | a Helm release, a command, a dynamic resource, a kind whose effect is not visible in the object | \
advisory (`disallow-unjudged-writers`) |

A resource that reads the guarded Secret mentions it, and is not stopped. To refuse mentions or what is opaque, set
another level of the policy in `--policy-pack-config`, of `pulumi` or of `pull-secrets lint`:

    {"disallow-cluster-pull-secret-mentions": "mandatory", "disallow-unjudged-writers": "mandatory"}

Neither is the final control: the in-cluster guard is, which sees each write whatever caused it.
"""

_LIMITS = """\
## What packs cannot stop

A pack judges what a Pulumi program registers, as far as the engine shows it. It does not see, and so cannot stop:

| not seen | what takes over |
|---|---|
| `pulumi destroy`, `pulumi refresh`, `pulumi import` and `pulumi state`: local packs run on preview and update only | \
`protect`; admission, which judges update, patch and delete; RBAC |
| a program that is run without `--policy-pack`, or with a `--policy-pack-config` that sets a policy to `disabled` or \
`advisory` | pipelines that name the packs and are the only ones with credentials; packs enforced by the backend; \
admission |
| what a provider reads from its environment, such as `PULUMI_K8S_UPSERT_EXISTING_OBJECTS` | admission |
| the objects of a `Release`, what a command or a dynamic resource really does, code that writes to a cluster while \
the program runs | admission, and RBAC of the identity that Pulumi uses |
| a text that puts a name together, such as a script with variables | admission |
| objects whose inputs are only known during the update: they are judged then, before they are made, and a stack \
policy when all else is done | `pulumi policy analyze` on the state, on a schedule |
| the content of Secrets that a guarded object refers to, such as the one a HostedCluster names | admission on that \
namespace |
| anything that other tools apply: kubectl, Helm, Argo CD | `pull-secrets lint` in their repository; admission |
| who may read the cluster pull-secret | RBAC |

Admission (`ClusterPullSecretGuard`) refuses writes to the guarded objects by anybody but the cluster's own controllers
and a named break-glass group, whichever tool sends them. RBAC decides who can ask at all: the identity that Pulumi
runs as needs no write access to `openshift-config` or `kube-system`. Whoever can change admission policies or RBAC can
get around both, so those belong to fewer people than stacks do.
"""


def document() -> str:
    """Return the whole page."""
    parts = [_INTRODUCTION, _guarded(), *map(_pack, PACKS), _lint(), _LIMITS]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _guarded() -> str:
    rows = [f"| `{item}` | {item.purpose} |" for item in guard.GUARDED_OBJECTS]
    rows += [
        f"| `{'.'.join(map(str, field.path))}` of a {field.kind} | {field.purpose} |" for field in guard.GUARDED_FIELDS
    ]
    rows.append(f"| `{guard.KUBELET_AUTH_FILE}` in a MachineConfig | the kubelet's registry logins on each node |")
    kinds = ", ".join(sorted({f"`{writer.kind}.{writer.group}`" for writer in SECRET_WRITERS}))
    return dedent("""\
        ## What is guarded

        | object | what it is |
        |---|---|
        {rows}

        A write is found whatever causes it:

        - the object itself, alone or in a List, and the `...Patch` kinds of Pulumi;
        - what a controller makes of another object: {kinds};
        - a ClusterExternalSecret whose selectors or names could reach the namespace, a PushSecret or
          ClusterPushSecret by its remote key, a ClusterSecret or Bundle;
        - copies by annotation (Reflector, kubernetes-replicator, kubed);
        - kustomizations that generate or patch it;
        - objects inside other objects, such as templates, policies and works, and custom resources of other kinds that
          name it;
        - commands of workloads that name it and can write.
        """).format(rows="\n".join(rows), kinds=kinds)


def _pack(pack: Pack) -> str:
    policies = sorted(pack.policies, key=lambda policy: policy.name)
    rows = [f"| [{item.name}](#{item.name}) | {_level(item)} | {_severity(item)} |" for item in policies]
    table = "\n".join(["| policy | level | severity |", "|---|---|---|", *rows])
    return f"## Pack `{pack.name}`\n\n{pack.description}\n\n{table}\n\n" + "\n".join(map(_policy, policies))


def _policy(policy: Policy) -> str:
    scope = "the stack as a whole" if isinstance(policy, StackValidationPolicy) else "each resource"
    facts = [
        f"- level **{_level(policy)}**, severity {_severity(policy)}, judges {scope}",
        f"- tags: {', '.join(policy.tags or ())}",
        f"- fix: {policy.remediation_steps}",
        f"- more: <{policy.url}>",
    ]
    return "\n".join([f"### {policy.name}", "", policy.description, "", *facts, *_settings(policy), ""])


def _settings(policy: Policy) -> Iterator[str]:
    properties = policy.config_schema.properties if policy.config_schema else {}
    for name, schema in properties.items():
        yield f"- setting `{name}` ({schema['type']}): {schema['description']} Default: {_default(schema)}."


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if not default:
        return "none"
    if isinstance(default, list):
        return ", ".join(f"`{_entry(item)}`" for item in cast("list[Any]", default))
    return ", ".join(f"{key} `{value}`" for key, value in default.items())


def _entry(item: str | dict[str, str]) -> str:
    if isinstance(item, str):
        return item
    return item.get("name") or "/".join(item.values())


def _level(policy: Policy) -> str:
    return policy.enforcement_level.value if policy.enforcement_level else "advisory"


def _severity(policy: Policy) -> str:
    return policy.severity.value if policy.severity else "low"


def _lint() -> str:
    rows = [f"| [{rule.policy.name}](#{rule.policy.name}) | {rule.level} |" for rule in RULES]
    rows.append(f"| [{COMPLETE.name}](#{COMPLETE.name}), of egress beside a store | advisory |")
    rows.append(f"| {UNREAD.name}: {UNREAD.description} | {UNREAD.level} |")
    return dedent("""\
        ## In the repository

        `pull-secrets lint PATH...` checks plain YAML, kustomize output and rendered folders: each document as kubectl
        1.37 reads it (tags, merge keys, equal keys, concatenated JSON, UTF-16), and each object of a List. It prints
        file, line and fix, and exits with 1 when a mandatory rule is broken. A file that cannot be read is such a
        violation; `--lenient` only reports it. Nesting, aliases and size are bounded, and what was not checked is
        listed: links, other extensions, what a kustomization generates. `--format` is text, json, sarif or junit. It
        checks the files as they are: lint the output of `kustomize build` or `helm template` where those change
        what is applied.

        To introduce it in an existing repository:

        - `--baseline FILE` writes the violations of the first run, and from then on only others count; stale
          entries of the file are reported, so that it shrinks;
        - `# pull-secrets: allow RULE REASON` on an object accepts what it breaks; without a reason it does not;
        - `--rule RULE` applies some rules only, and `--policy-config` takes levels (`advisory`, `disabled`).

        | rule | level in a lint |
        |---|---|
        {rows}
        """).format(rows="\n".join(rows))


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    return keep_page(TARGET, document(), "the policies' metadata", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
