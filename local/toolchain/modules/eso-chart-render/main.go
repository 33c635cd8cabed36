// Command eso-chart-render writes the objects of a Helm chart to standard output, as `helm template` does, in the
// order in which Helm would install them. It reads the chart from a folder and talks to no cluster.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
)

// request is what one rendering needs.
type request struct {
	chart       string
	release     string
	namespace   string
	values      string
	kubeVersion string
}

// parse reads the command line; every flag but --values and --kube-version is required.
func parse(arguments []string) (request, error) {
	var wanted request
	flags := flag.NewFlagSet("eso-chart-render", flag.ContinueOnError)
	flags.StringVar(&wanted.chart, "chart", "", "folder of the chart")
	flags.StringVar(&wanted.release, "release", "", "name of the release")
	flags.StringVar(&wanted.namespace, "namespace", "", "namespace of the release")
	flags.StringVar(&wanted.values, "values", "", "YAML file with values that override the chart's")
	flags.StringVar(&wanted.kubeVersion, "kube-version", "", "version of Kubernetes to render for, such as v1.36.3")
	if err := flags.Parse(arguments); err != nil {
		return wanted, err
	}
	for _, name := range []string{"chart", "release", "namespace"} {
		if flags.Lookup(name).Value.String() == "" {
			return wanted, fmt.Errorf("--%s is missing: give it, see --help", name)
		}
	}
	if flags.NArg() > 0 {
		return wanted, fmt.Errorf("unexpected argument %q: flags only, see --help", flags.Arg(0))
	}
	return wanted, nil
}

// capabilities are those of the wanted version of Kubernetes, or Helm's own where none is named.
func capabilities(version string) (*chartutil.Capabilities, error) {
	found := chartutil.DefaultCapabilities.Copy()
	if version == "" {
		return found, nil
	}
	parsed, err := chartutil.ParseKubeVersion(version)
	if err != nil {
		return nil, fmt.Errorf("--kube-version %q is no version: %w", version, err)
	}
	found.KubeVersion = *parsed
	return found, nil
}

// render returns the chart's objects, and after them its hooks. The values are held against the chart's schema.
func render(wanted request) ([]releaseutil.Manifest, error) {
	loaded, err := loader.LoadDir(wanted.chart)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", wanted.chart, err)
	}
	values := chartutil.Values{}
	if wanted.values != "" {
		if values, err = chartutil.ReadValuesFile(wanted.values); err != nil {
			return nil, fmt.Errorf("values %s: %w", wanted.values, err)
		}
	}
	supported, err := capabilities(wanted.kubeVersion)
	if err != nil {
		return nil, err
	}
	if err := chartutil.ProcessDependenciesWithMerge(loaded, values); err != nil {
		return nil, fmt.Errorf("chart %s: dependencies: %w", wanted.chart, err)
	}
	options := chartutil.ReleaseOptions{Name: wanted.release, Namespace: wanted.namespace, Revision: 1, IsInstall: true}
	merged, err := chartutil.ToRenderValues(loaded, values, options, supported)
	if err != nil {
		return nil, fmt.Errorf("values %s: %w", wanted.values, err)
	}
	files, err := engine.Render(loaded, merged)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", wanted.chart, err)
	}
	for path := range files {
		if strings.HasSuffix(path, "NOTES.txt") {
			delete(files, path)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, supported.APIVersions, releaseutil.InstallOrder)
	if err != nil {
		return nil, fmt.Errorf("chart %s: rendered YAML: %w", wanted.chart, err)
	}
	for _, hook := range hooks {
		manifests = append(manifests, releaseutil.Manifest{Name: hook.Path, Content: hook.Manifest})
	}
	return manifests, nil
}

// write puts each manifest out as one YAML document, under the template that it came from.
func write(to io.Writer, manifests []releaseutil.Manifest) error {
	out := bufio.NewWriter(to)
	for _, manifest := range manifests {
		fmt.Fprintf(out, "---\n# Source: %s\n%s\n", manifest.Name, strings.TrimSpace(manifest.Content))
	}
	return out.Flush()
}

func run() error {
	wanted, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	manifests, err := render(wanted)
	if err != nil {
		return err
	}
	return write(os.Stdout, manifests)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "eso-chart-render: %v\n", err)
		os.Exit(1)
	}
}
