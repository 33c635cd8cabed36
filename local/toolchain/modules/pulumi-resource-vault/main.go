// Command pulumi-resource-vault serves the Vault resources of this project to the Pulumi engine. It bridges the
// Terraform provider under the tokens, the names and the defaults of the official plugin, whose version it carries,
// so that the pulumi-vault SDK cannot tell the two apart for the resources listed here.
package main

import (
	"encoding/json"
	"log"

	"github.com/hashicorp/terraform-provider-vault/schema"
	"github.com/hashicorp/terraform-provider-vault/vault"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

const (
	name = "vault"
	// version is that of the pulumi-vault SDK in pyproject.toml: the engine asks for the plugin by it.
	version = "7.14.0"
	// autonameLength is the longest name that the official plugin makes up.
	autonameLength = 255
)

// resources maps Terraform's names to the tokens that the pulumi-vault SDK registers.
var resources = map[string]tokens.Type{
	"vault_auth_backend":                   "vault:index/authBackend:AuthBackend",
	"vault_generic_endpoint":               "vault:generic/endpoint:Endpoint",
	"vault_kubernetes_auth_backend_config": "vault:kubernetes/authBackendConfig:AuthBackendConfig",
	"vault_kubernetes_auth_backend_role":   "vault:kubernetes/authBackendRole:AuthBackendRole",
	"vault_kv_secret_v2":                   "vault:kv/secretV2:SecretV2",
	"vault_mount":                          "vault:index/mount:Mount",
	"vault_policy":                         "vault:index/policy:Policy",
}

// provider describes the bridge. The defaults are those that the SDK documents for the provider's settings.
func provider() tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		P:         shimv2.NewProvider(schema.NewProvider(vault.Provider()).SchemaProvider()),
		Name:      name,
		Version:   version,
		GitHubOrg: "hashicorp",
		Config: map[string]*tfbridge.SchemaInfo{
			"skip_tls_verify": {
				Default: &tfbridge.DefaultInfo{EnvVars: []string{"VAULT_SKIP_VERIFY"}},
			},
			"max_lease_ttl_seconds": {
				Default: &tfbridge.DefaultInfo{EnvVars: []string{"TERRAFORM_VAULT_MAX_TTL"}, Value: 1200},
			},
			"max_retries": {
				Default: &tfbridge.DefaultInfo{EnvVars: []string{"VAULT_MAX_RETRIES"}, Value: 2},
			},
		},
		Resources: make(map[string]*tfbridge.ResourceInfo, len(resources)),
	}
	for terraform, token := range resources {
		info.Resources[terraform] = &tfbridge.ResourceInfo{Tok: token}
	}
	info.SetAutonaming(autonameLength, "-")
	return info
}

func main() {
	// The engine checks name and version; nothing here asks this plugin for types.
	packageSchema, err := json.Marshal(map[string]string{"name": name, "version": version})
	if err != nil {
		log.Fatalf("pulumi-resource-vault: package schema: %v", err)
	}
	tfbridge.Main(name, version, provider(), packageSchema)
}
