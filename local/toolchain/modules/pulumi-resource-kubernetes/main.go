// Command pulumi-resource-kubernetes serves Pulumi's own Kubernetes plugin, from its Go module.
//
// The module's main package embeds two files that its release makes; this one embeds the files that they are made from.
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

const (
	name = "kubernetes"
	// version is that of the module's source: the commit of the plugin's tag v4.25.0.
	version = "4.25.0"
)

//go:embed schema.json
var schema []byte

//go:embed terraform-mapping.json
var mapping []byte

func main() {
	provider.Serve(name, version, schema, mapping)
}
