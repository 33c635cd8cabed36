"""Bad configuration gets one error that names the key, what was found and what is allowed."""

import copy
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pullsecrets.config import ConfigError, load_stack, parse
from pullsecrets.errors import BadInputError, ExitCode
from tests.components.program import REPOSITORY

GOOD: dict[str, Any] = {
    "cluster": {"name": "dev"},
    "vault": {"address": "https://vault.example.com:8200", "egress": {"cidrs": ["10.0.0.0/8"]}},
    "registries": [
        {
            "name": "app",
            "hosts": ["registry.example.com"],
            "rejectedHosts": ["old.example.com"],
            "path": "registries/app",
            "selector": {"apps.example/app": "true"},
            "namespaces": ["apps-*"],
        },
        {
            "name": "web",
            "hosts": ["web.example.com:5000"],
            "path": "registries/web",
            "selector": {"apps.example/web": "true"},
            "namespaces": ["apps-*", "web-*"],
        },
    ],
    "tenants": {"namespaces": [{"name": "apps-one", "registries": ["app"]}]},
}


RELAYED = {"delivery": "fanout"}
SEALED = {"source": "sealedSecret", **RELAYED}
SAME_LABEL = {"selector": {"apps.example/app": "true"}}
CANARY = "canary-of-the-url-77e1"


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good configuration with one place set; a value of `...` removes the key."""
    config = copy.deepcopy(GOOD)
    parts: list[Any] = [int(part) if part.isdigit() else part for part in path.split(".")]
    *parents, last = parts
    place: Any = config
    for part in parents:
        place = place[part] if isinstance(part, int) else place.setdefault(part, {})
    if value is ...:
        del place[last]
    elif isinstance(place, list) and last == len(place):
        place.append(value)
    else:
        place[last] = value
    return config


def problem(config: dict[str, Any]) -> str:
    """The only problem of a configuration."""
    with pytest.raises(ConfigError) as raised:
        parse(config, "Pulumi.test.yaml")
    assert raised.value.exit_code == ExitCode.BAD_INPUT
    (found,) = raised.value.problems
    return str(found)


@pytest.mark.parametrize(
    ("platform", "path"), [("kubernetes", "one/registries/app"), ("openshift", "ocp/one/registries/app")]
)
def test_a_path_that_is_left_out_is_named_after_the_cluster(platform: str, path: str) -> None:
    config: dict[str, Any] = copy.deepcopy(GOOD) | {"cluster": {"name": "one", "platform": platform}}
    del config["registries"][0]["path"]
    assert parse(config, "test").registries[0].path == path


def test_nothing_is_bound_where_admission_gives_pods_their_entries() -> None:
    monitoring = {"enabled": True, "image": "a/b:1", "bindWatch": True}
    assert "monitoring.bindWatch: found true" in problem({**GOOD, "binding": "admission", "monitoring": monitoring})


def test_the_good_configuration_is_good() -> None:
    assert [tenant.name for tenant in parse(GOOD, "test").resolve_tenants()] == ["apps-one"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("vualt", {}, "vualt: found an unknown key; allowed: binding, cluster, eso, fleet, gate, gitops, guard,"),
        ("vault.adress", "x", "(did you mean 'address'?)"),
        ("registries.0.host", [], "registries[0].host: found an unknown key; allowed: delivery, hosts,"),
        ("vault.auth.rol", "x", "vault.auth.rol: found an unknown key"),
        ("cluster", "dev", "cluster: found 'dev'; allowed:"),
        ("cluster.name", 7, "cluster.name: found 7; allowed: a string"),
        ("cluster.name", ..., "cluster.name: missing; expected a value, as this key is required"),
        ("cluster.platform", "nomad", "cluster.platform: found 'nomad'; allowed: 'kubernetes' or 'openshift'"),
        ("binding", "pods", "binding: found 'pods'; allowed: 'serviceAccounts' or 'admission'"),
        ("guard.mode", "strict", "guard.mode: found 'strict'; allowed: 'deny', 'warn' or 'off'"),
        ("guard.mode", "deny", "guard.labelers: found nobody; allowed: at least the user or group that runs"),
        (
            "guard.writer",
            {},
            "guard.writer: found an unknown key; allowed: breakGlassGroup, changes, labelers, mode, platform,",
        ),
        ("guard.writers.users", ["*"], "guard.writers.users[0]: found '*'; allowed: the name of a user or group"),
        ("guard.labelers.groups", ["system:authenticated"], "allowed: a user or group that does not include everyone"),
        ("guard.breakGlassGroup", "", "guard.breakGlassGroup: found ''; allowed: the name of a user or group"),
        ("monitoring.enable", True, "(did you mean 'enabled'?)"),
        ("monitoring", {"enabled": True}, "monitoring.image: missing; expected the pinned image of this command"),
        ("monitoring.image", "registry.example.com:5000/a/b", "allowed: an image pinned by a tag other than 'latest'"),
        ("monitoring.image", "a/b:latest", "monitoring.image: found 'a/b:latest'; allowed: an image pinned by a tag"),
        ("monitoring.image", "a/b@sha256:12", "monitoring.image: found 'a/b@sha256:12'; allowed: an image pinned"),
        ("monitoring.schedule", "0 6 * * 1", "monitoring.schedule: found '0 6 * * 1'; allowed: a cron schedule in UTC"),
        ("monitoring.schedule", "@daily", "a cron schedule in UTC of once a day or more often, such as '0 6 * * *'"),
        ("monitoring.schedule", "61 6 * * *", "allowed: a cron schedule in UTC"),
        ("monitoring.pushgateway", "pushgateway:9091", "allowed: an http or https URL without credentials"),
        ("monitoring.coverageTarget", 1.5, "monitoring.coverageTarget: found 1.5; allowed: less than or equal to 1"),
        ("monitoring.coverageTarget", 0, "monitoring.coverageTarget: found 0; allowed: greater than 0"),
        ("monitoring.expiryNotice", "0h", "monitoring.expiryNotice: found '0h'; allowed: a duration above 0"),
        ("monitoring.dashboardLabels", {}, "monitoring.dashboardLabels: found {}"),
        (
            "monitoring",
            {"enabled": True, "image": "a/b:1", "namespace": "web-tools"},
            "monitoring.namespace: found 'web-tools'; allowed: a namespace that no registry may be delivered to",
        ),
        (
            "monitoring",
            {"enabled": True, "image": "a/b:1", "vaultRole": "external-secrets-registries"},
            "monitoring.vaultRole: found 'external-secrets-registries'; allowed: a role other than ESO's",
        ),
        (
            "registries.1.store",
            "vault-platform",
            "selector and delivery as 'app' has them: who is granted 'app' could read registries/web through it, and",
        ),
        ("gate", "maybe", "gate: found 'maybe'; allowed: 'warn', 'fail' or 'off'"),
        ("vault.address", "http://vault", "vault.address: found 'http://vault'; allowed: an https URL"),
        ("vault.address", ..., "vault.address: missing; expected the https URL at which the cluster reaches"),
        ("vault.address", "https://v.example.com:abc", "vault.address: found 'https://v.example.com:abc'; allowed: an"),
        ("vault.address", "https://v.example.com:99999", "allowed: an https URL without path or credentials"),
        ("vault.address", "https://v.example.com:0", "allowed: an https URL without path or credentials"),
        ("vault.address", "https://[::1", "vault.address: found 'https://[::1'; allowed: an https URL"),
        ("vault.address", "https://v.example.com#x", "allowed: an https URL without path or credentials"),
        ("monitoring.pushgateway", "http://gateway:abc", "allowed: an http or https URL without credentials"),
        ("vault.kvVersion", 1, "vault.kvVersion: found 1; allowed: a KV v2 mount and not this key"),
        ("vault.egress", {}, "vault.egress: found {}; allowed: either cidrs or namespaceSelector"),
        ("vault.egress.cidrs", ["10.0.0.1/8"], "vault.egress.cidrs[0]: found '10.0.0.1/8'; allowed: a CIDR block"),
        ("vault.egress.port", 70000, "vault.egress.port: found 70000; allowed: less than or equal to 65535"),
        ("vault.auth.tokenTtl", "24h", "vault.auth.tokenTtl: found '24h'; allowed: a duration between 1m and 1h"),
        ("registries", [], "registries: found []"),
        ("registries.1.name", "app", "registries: found 'app' 2 times; allowed: one registry per name"),
        ("registries.1.path", "registries/app", "registries: found 'registries/app' 2 times; allowed: one registry"),
        ("registries.0.hosts.0", "https://registry.example.com", "registries[0].hosts[0]: found 'https://registry"),
        ("registries.0.hosts.0", "registry.example.com/team", "without scheme or path"),
        ("registries.0.hosts.0", "registry.example.com:0", "allowed: a port between 1 and 65535"),
        ("registries.0.hosts.0", "Registry.example.com", "in lower case"),
        ("registries.0.hosts.0", "index.docker.io", "found 'index.docker.io'; allowed: 'docker.io', which the"),
        ("registries.0.hosts.0", "registry-1.docker.io", "allowed: 'docker.io', which the kubelet reads as Docker Hub"),
        (
            "registries.0.hosts.0",
            "old.example.com",
            "registries[0].hosts: found 'old.example.com'; allowed: hosts that",
        ),
        ("registries.0.path", "/registries/app", "without leading '/'"),
        ("registries.0.path", "data/registries/app", "the API adds 'data/' or 'metadata/' itself"),
        ("registries.0.path", "registries/*", "without leading '/', empty segments or wildcards"),
        ("registries.0.selector", {}, "registries[0].selector: found {}; allowed: at least one label and value"),
        ("registries.0.selector", {"kubernetes.io/metadata.name": "a"}, "it could match every namespace"),
        ("registries.0.selector", {"team": True}, "registries[0].selector.team: found True; allowed: a string"),
        (
            "registries.0.selector",
            {"team": "yes please"},
            "registries[0].selector.team: found 'yes please'; allowed: the value of a label: letters",
        ),
        ("registries.0.selector", {"team": "a" * 64}, "allowed: the value of a label"),
        ("registries.0.selector", {"team": "-a"}, "allowed: the value of a label"),
        ("registries.0.selector", {"a b/t/x": "a"}, "registries[0].selector: found 'a b/t/x'; allowed: the key of a"),
        ("registries.0.selector", {"Apps/team": "a"}, "allowed: the key of a label"),
        ("registries.0.selector", {"/team": "a"}, "allowed: the key of a label"),
        ("registries.0.selector", {"a" * 64: "a"}, "allowed: the key of a label"),
        ("registries.0.selector", {f"{'a' * 254}/team": "a"}, "allowed: the key of a label"),
        ("eso.podLabels", {"app": "a/b"}, "eso.podLabels.app: found 'a/b'; allowed: the value of a label"),
        ("monitoring.ruleLabels", {"": "a"}, "monitoring.ruleLabels: found ''; allowed: the key of a label"),
        ("vault.egress", {"namespaceSelector": {"a/b/c": "d"}}, "vault.egress.namespaceSelector: found 'a/b/c'"),
        ("registries.0.namespaces", ["*"], "matches default, kube-node-lease"),
        ("registries.0.namespaces", ["openshift-*"], "matches openshift-config, openshift-monitoring"),
        (
            "registries.0.refresh",
            "0s",
            "registries[0].refresh: found '0s'; allowed: a duration above 0 and at most 24h",
        ),
        ("registries.0.refresh", "25h", "allowed: a duration above 0 and at most 24h"),
        ("registries.0.refresh", f"{'9' * 30}h", "allowed: a duration such as 1h"),
        ("registries.0.refresh", "soon", "registries[0].refresh: found 'soon'; allowed: a duration such as 1h"),
        ("registries.0.maxVersions", 1, "registries[0].maxVersions: found 1; allowed: greater than or equal to 2"),
        ("tenants.namespaces.0.name", "Apps_One", "tenants.namespaces[0].name: found 'Apps_One'; allowed: a DNS label"),
        ("tenants.namespaces.0.name", "a" * 64, "at most 63"),
        ("tenants.namespaces.0.name", "kube-system", "found 'kube-system'; allowed: a namespace that does not belong"),
        ("tenants.namespaces.0.name", "openshift-config", "tenants.namespaces[0]: found 'openshift-config'"),
        ("tenants.namespaces.0.name", "external-secrets", "a namespace that does not belong to the cluster or to ESO"),
        ("tenants.namespaces.0.name", "web-one", "namespaces that registry 'app' permits: apps-*"),
        (
            "tenants.namespaces.0.registries",
            ["nope"],
            "registries: found 'nope'; allowed: registries of this stack: app",
        ),
        ("tenants.namespaces.0.registries", ["app", "app"], "found 'app' 2 times; allowed: each registry once"),
        ("tenants.namespaces.1", {"name": "apps-one", "registries": ["web"]}, "found 'apps-one' 2 times"),
    ],
)
def test_bad_input_is_named_with_what_is_allowed(path: str, value: Any, expected: str) -> None:
    assert expected in problem(changed(path, value))


@pytest.mark.parametrize(
    "labels",
    [{"a": ""}, {"Team_1.x": "Yes.Please-1"}, {f"{'a' * 253}/{'B' * 63}": "c" * 63}, {"apps.example/app": "1"}],
)
def test_labels_are_what_kubernetes_takes(labels: dict[str, str]) -> None:
    assert parse(changed("registries.1.selector", labels), "test").registry("web").selector == labels


@pytest.mark.parametrize("path", ["vault.address", "monitoring.pushgateway", "vault.auth.kubernetesHost"])
@pytest.mark.parametrize(
    "url",
    [
        f"https://bot:{CANARY}@host.example.com",
        f"https://bot:{CANARY}@x@host.example.com",
        f"https://bot:{CANARY}/x@host.example.com",
        f"https://{CANARY}@host.example.com",
        f"https://:{CANARY}@host.example.com",
        f"bot:{CANARY}@host.example.com",
    ],
)
def test_a_login_in_a_url_is_refused_and_not_shown(path: str, url: str) -> None:
    found = problem(changed(path, url))
    assert f"{path}: found '" in found
    assert "host.example.com'; allowed: an http" in found
    assert CANARY not in found


def test_a_login_is_not_shown_with_what_stands_around_it() -> None:
    found = problem(changed("vault", [{"address": f"https://bot:{CANARY}@host.example.com"}]))
    assert "vault: found [" in found
    assert CANARY not in found


def test_labels_must_grant_exactly_the_declared_registries() -> None:
    config = changed("registries.1.selector", {"apps.example/app": "true"})
    assert "whose labels on 'apps-one' also grant 'web'" in problem(config)


def test_selectors_that_contradict_each_other_cannot_be_combined() -> None:
    config = changed("registries.1.selector", {"apps.example/app": "other"})
    config["tenants"]["namespaces"][0]["registries"] = ["app", "web"]
    assert "registries whose selectors a namespace can carry together" in problem(config)


def test_a_matrix_is_multiplied_out_by_its_pattern() -> None:
    config = changed(
        "tenants.matrices",
        [
            {
                "services": ["b", "a"],
                "environments": ["x", "y"],
                "pattern": "web-{service}-{environment}",
                "registries": ["web"],
            }
        ],
    )
    names = [tenant.name for tenant in parse(config, "test").resolve_tenants()]
    assert names == ["apps-one", "web-a-x", "web-a-y", "web-b-x", "web-b-y"]


def test_a_matrix_whose_product_is_no_dns_label_is_refused() -> None:
    matrix = {"services": ["a" * 60], "environments": ["production"], "registries": ["web"]}
    assert "tenants.matrices[0].pattern: found" in problem(changed("tenants.matrices", [matrix]))


def test_a_pattern_needs_both_placeholders() -> None:
    matrix = {"services": ["a"], "environments": ["x"], "pattern": "web-{service}", "registries": ["web"]}
    assert "a pattern with {service} and {environment} once each" in problem(changed("tenants.matrices", [matrix]))


def with_waves(*waves: list[str]) -> dict[str, Any]:
    """The good configuration with a matrix of four services and a wave per list."""
    matrix = {"services": ["a", "b", "c", "d"], "environments": ["x", "y"], "pattern": "web-{service}-{environment}"}
    config = changed("tenants.matrices", [{**matrix, "registries": ["web"]}])
    config["rollout"] = {"waves": [{"name": f"w{index}", "services": wave} for index, wave in enumerate(waves)]}
    return config


def test_services_in_no_wave_are_told_in_the_order_of_the_matrix() -> None:
    config = parse(with_waves(["b"], ["c"]), "test")
    assert config.services == ("a", "b", "c", "d")
    assert config.unplaced_services == ("a", "d")
    assert [config.rollout.wave_of(name) for name in config.services] == [None, 0, 1, None]


def test_without_waves_no_service_is_placed() -> None:
    assert parse(with_waves(), "test").unplaced_services == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("waves", "expected"),
    [
        ([["a"], ["b", "a"]], "rollout.waves: found 'a' 2 times; allowed: each service in one wave"),
        ([["a"], ["nope"]], "rollout.waves[1].services: found 'nope'; allowed: services of tenants.matrices"),
        ([[]], "rollout.waves[0].services: found []"),
    ],
)
def test_a_wave_names_services_of_the_stack_once(waves: list[list[str]], expected: str) -> None:
    assert expected in problem(with_waves(*waves))


def test_two_waves_of_one_name_are_refused() -> None:
    config = with_waves(["a"], ["b"])
    config["rollout"]["waves"][1]["name"] = "w0"
    assert "rollout.waves: found 'w0' 2 times; allowed: one wave per name" in problem(config)


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_committed_stacks_roll_22_services_out_in_6_waves_and_name_the_2_others(stack: str) -> None:
    config = load_stack(stack, REPOSITORY)
    assert [len(wave.services) for wave in config.rollout.waves] == [1, 3, 4, 5, 5, 4]
    assert config.rollout.waves[0].services == ("auth",)
    assert config.unplaced_services == ("unnamed-23", "unnamed-24")


def test_all_problems_are_listed_at_once() -> None:
    config = changed("cluster.nmae", "x")
    config["registries"][0]["refresh"] = "0s"
    with pytest.raises(ConfigError, match="2 problems") as raised:
        parse(config, "Pulumi.test.yaml")
    assert [item.key for item in raised.value.problems] == ["cluster.nmae", "registries[0].refresh"]


def test_the_only_registry_with_a_bad_key_is_not_called_missing_too() -> None:
    config = changed("registries.0.selector", {"team": "yes please"})
    del config["registries"][1]
    assert "registries[0].selector.team: found 'yes please'" in problem(config)


def test_nothing_that_is_declared_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = parse(GOOD, "test")
    monkeypatch.setenv("VAULT_ADDR", "https://127.0.0.1:18200")
    monkeypatch.setenv("VAULT_CACERT", "/absent.pem")
    assert parse(GOOD, "test") == declared
    assert "vault.address: missing; expected the https URL at which the cluster reaches" in problem(
        changed("vault.address", ...)
    )


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_committed_stack_files_are_good(stack: str) -> None:
    config = load_stack(stack, REPOSITORY)
    assert len(config.resolve_tenants()) == 25


def test_a_stack_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(BadInputError, match=r"Pulumi\.nope\.yaml: no such file; stacks here: dev, prod"):
        load_stack("nope", REPOSITORY)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"config: [", "not YAML: "),
        (b"- a\n- b\n", "found a list; allowed: a mapping"),
        (b"config:\n- a\n", "config: found a list; allowed: a mapping"),
        (b"config: \xff\n", "found bytes that are not UTF-8; allowed: YAML in UTF-8"),
        (b"config: \x1b\n", "not YAML: special characters are not allowed"),
        (b"config: 2026-99-99\n", "not YAML: a value that cannot be read"),
        (b"config: " + b"9" * 5000, "not YAML: a value that cannot be read"),
        (b"[" * 5000, "not YAML: a value that cannot be read"),
    ],
)
@pytest.mark.parametrize("name", ["Pulumi.bad.yaml", "Pulumi.yaml"])
def test_a_stack_file_that_is_no_mapping_is_named(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    for file in ("Pulumi.yaml", "Pulumi.bad.yaml"):
        (tmp_path / file).write_text("name: pull-secrets\nruntime: python\n")
    (tmp_path / name).write_bytes(b"name: x\n" + content if content.startswith(b"config") else content)
    with pytest.raises(BadInputError) as raised:
        load_stack("bad", tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / name}: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a: https://bot:{CANARY}@h: [", "mapping values are not allowed here, line 1, column 40"),
        (f"a: https://bot:{CANARY}@h\na: b", "found duplicate key"),
        (f"b: c\na: https://bot:{CANARY}@h\na: b", "line 3, column 1"),
    ],
)
def test_what_stands_around_an_error_of_yaml_is_not_shown(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "Pulumi.yaml").write_text(text)
    with pytest.raises(BadInputError) as raised:
        load_stack("dev", tmp_path)
    assert expected in str(raised.value)
    assert CANARY not in str(raised.value)


def test_a_stack_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    project = tmp_path / "Pulumi.yaml"
    project.write_text("name: pull-secrets\nruntime: python\n")
    (tmp_path / "Pulumi.folder.yaml").mkdir()
    with pytest.raises(BadInputError, match=r"Pulumi\.folder\.yaml: Is a directory; stacks here: "):
        load_stack("folder", tmp_path)
    with pytest.raises(BadInputError, match=r"Pulumi\.yaml/Pulumi\.yaml: Not a directory; .*--directory"):
        load_stack("folder", project)


def test_a_project_without_a_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("runtime: python\n")
    with pytest.raises(BadInputError, match=r"Pulumi\.yaml: name: missing; expected the project's name"):
        load_stack("dev", tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [("source", ["sealedSecret"], "registries[1].source: found ['sealedSecret']"), ("vault", 7, "vault: found 7")],
)
def test_a_vault_that_may_be_left_out_is_still_checked(path: str, value: Any, expected: str) -> None:
    config = changed("registries.1.source", "sealedSecret")
    config["registries"][0]["source"] = "sealedSecret"
    place = config["registries"][1] if path == "source" else config
    place[path] = value
    assert expected in problem(config)


def test_monitoring_is_off_unless_it_is_asked_for() -> None:
    assert parse(GOOD, "test").monitoring.enabled is False


@pytest.mark.parametrize(
    "image", ["a/b:1", "registry.example.com:5000/a/b:v1.2.3-rc_1", f"a/b@sha256:{'0' * 64}", f"b:2@sha256:{'a' * 64}"]
)
def test_an_image_is_pinned_by_tag_or_digest(image: str) -> None:
    config = parse(changed("monitoring", {"enabled": True, "image": image}), "test")
    assert config.monitoring.image == image


@pytest.mark.parametrize("schedule", ["0 6 * * *", "0,30 * * * *", "15 */6 * * *", "5 0,8,16 * * *", "59 23 * * *"])
def test_a_schedule_comes_round_each_day(schedule: str) -> None:
    assert parse(changed("monitoring.schedule", schedule), "test").monitoring.schedule == schedule


def test_a_cronjobs_name_has_room_for_the_clusters() -> None:
    config = changed("monitoring", {"enabled": True, "image": "a/b:1"})
    config["cluster"]["name"] = "c" * 34
    assert "cluster.name: found" in problem(config)
    config["cluster"]["name"] = "c" * 33
    assert len(f"pull-secrets-{parse(config, 'test').cluster.name}-audit") == 52


# Stores: one label opens one registry.


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([{}, {}], {"vault-platform": "registries", "vault-platform-web": "registries-web"}),
        ([{"store": "a"}, {"store": "b"}], {"a": "registries", "b": "registries-web"}),
        ([SEALED, {}], {"vault-platform": "registries"}),
        ([RELAYED, {}], {"vault-platform": "registries", "vault-platform-web": "registries-web"}),
        # The relay of `web` has the name with '-'.
        ([{}, RELAYED], {"vault-platform": "registries", "vault-platform.web": "registries-web"}),
        ([{}, {**SAME_LABEL, "store": "vault-platform"}], {"vault-platform": "registries"}),
    ],
)
def test_each_registry_has_a_store_and_a_role_of_its_own(
    changes: list[dict[str, Any]], expected: dict[str, str]
) -> None:
    config = copy.deepcopy(GOOD)
    config["registries"] = [{**item, **change} for item, change in zip(config["registries"], changes, strict=True)]
    config["tenants"] = {}
    stores = parse(config, "test").vault_stores
    assert {store.name: store.role for store in stores} == {
        name: f"external-secrets-{role}" for name, role in expected.items()
    }


@pytest.mark.parametrize("change", [RELAYED, {"selector": {"apps.example/x": "true"}}])
def test_a_store_is_shared_by_registries_that_the_same_label_opens_in_the_same_way(change: dict[str, Any]) -> None:
    config = copy.deepcopy(GOOD)
    config["registries"][1] |= {**change, "store": "vault-platform"}
    assert "the store of registry 'app'; allowed: a store of its own" in problem(config)


def test_a_store_never_has_the_name_of_a_relays() -> None:
    config = copy.deepcopy(GOOD)
    config["registries"][1] |= RELAYED
    config["registries"][0]["store"] = "vault-platform-web"
    assert "a name other than that of the relay of registry 'web'" in problem(config)


@pytest.mark.parametrize("store", ["v", "v.w", "v-web"])
@pytest.mark.parametrize("changes", list(product([{}, RELAYED, SEALED], repeat=2)))
def test_no_two_stores_of_a_stack_have_one_name(changes: tuple[dict[str, Any], ...], store: str) -> None:
    config = copy.deepcopy(GOOD)
    config["registries"] = [{**item, **change} for item, change in zip(config["registries"], changes, strict=True)]
    config |= {"eso": {"store": store}, "tenants": {}}
    found = parse(config, "test")
    relays = [found.relay_store(registry) for registry in found.registries if registry.relayed]
    names = [*(item.name for item in found.vault_stores), *relays]
    assert len(names) == len(set(names)) == len(found.vault_registries) + len(relays)
