// Every component of the package once, in a program in TypeScript.
import { readFileSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import * as pullsecrets from "@pulumi/pullsecrets";

const config = new pulumi.Config();
const vaultAddress = config.require("vaultAddress");
const vaultCa = config.require("vaultCa");

const guard = new pullsecrets.ClusterPullSecretGuard("guard", {
    name: "pull-secrets-example",
    mode: "warn",
    breakGlassGroups: ["pull-secrets-break-glass"],
    writerUsers: ["system:kube-controller-manager"],
    writerGroups: ["system:serviceaccounts:openshift-config-operator"],
    labelerUsers: [],
    labelerGroups: ["pull-secrets-deployers"],
    grants: [{ registry: "team-pull", selector: { "example.com/team-pull": "true" }, namespaces: ["team-*"] }],
});

const egress = new pullsecrets.EsoEgress("egress", {
    name: "eso-allow-egress-to-example-vault",
    vaultCidrs: ["192.0.2.10/32"],
    vaultPort: 8200,
});

const entry = new pullsecrets.VaultRegistryEntry("team-pull", {
    address: vaultAddress,
    caBundle: vaultCa,
    path: "example/registries/team-pull",
    policy: "pull-secrets-example-team-pull",
    cluster: "example",
    hosts: ["registry.example.com"],
});

const access = new pullsecrets.VaultAccess("access", {
    mount: "kubernetes-example",
    kubernetesHost: config.require("apiServer"),
    kubernetesCaCert: config.require("apiServerCa"),
    role: "external-secrets-example",
    policies: [entry.policyName],
    reviewer: "vault-token-reviewer-example",
});

const store = new pullsecrets.VaultClusterSecretStore("store", {
    name: "vault-example",
    server: vaultAddress,
    caBundle: Buffer.from(vaultCa).toString("base64"),
    authMount: "kubernetes-example",
    role: access.roleNames[0],
    selector: { "example.com/team-pull": "true" },
}, { dependsOn: [egress] });

const delivery = new pullsecrets.RegistryPullSecret("delivery", {
    name: "team-pull",
    path: "example/registries/team-pull",
    selector: { "example.com/team-pull": "true" },
    store: store.storeName,
    syncWave: 10,
});

const tenant = new pullsecrets.TenantNamespace("tenant", {
    name: "team-shop",
    labels: { "example.com/team-pull": "true" },
    registries: { "team-pull": { "example.com/team-pull": "true" } },
    serviceAccounts: ["default", "builder"],
    deleteOnLeave: true,
    protect: false,
}, { dependsOn: [guard] });

const binding = new pullsecrets.ImagePullSecretBinding("binding", {
    namespace: tenant.namespaceName,
    secrets: [delivery.secretName],
    serviceAccounts: ["migrations"],
});

const admission = new pullsecrets.PodAdmission("admission", {
    name: "pull-secrets-example-team-pull",
    secret: delivery.secretName,
    selector: { "example.com/team-pull": "true" },
});

const monitoring = new pullsecrets.PullSecretMonitoring("monitoring", {
    name: "pull-secrets-example",
    namespace: "monitoring",
    cluster: "example",
    registries: [{ name: "team-pull", hosts: ["registry.example.com"], namespaces: ["team-*"], refresh: "1h" }],
    stores: [store.storeName],
    coverageTarget: 1,
    expiryNotice: "336h",
    ruleLabels: {},
    dashboardLabels: { grafana_dashboard: "1" },
    stack: "example",
    files: { "Pulumi.example.yaml": readFileSync("../../../Pulumi.prod.yaml", "utf8") },
    image: "registry.example.com/pull-secrets:0.1.0",
    schedule: "0 6 * * *",
});

export const secret = delivery.secretName;
