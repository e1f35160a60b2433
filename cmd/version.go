package cmd

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release; otherwise the build's own
// record tells.
var version = ""

// versionResult is the JSON of version: schema tbcert.version/v1.
type versionResult struct {
	Schema   string `json:"schema"`
	OK       bool   `json:"ok"`
	ExitCode int    `json:"exit_code"`
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Tell the version of tbcert",
		Example: "  tbcert version -o json",
		Args:    cobra.NoArgs,
		RunE: a.run(func(command *cobra.Command, _ []string) error {
			result := buildVersion(schema(command))
			if a.ui.JSON() {
				return a.ui.ResultJSON(result)
			}
			return a.ui.Result("tbcert %s (%s, %s)", result.Version, result.Go, result.Platform)
		}),
	}
}

// buildVersion reads what the Go toolchain recorded in the binary.
func buildVersion(schema string) versionResult {
	result := versionResult{
		Schema: schema, OK: true, Version: version,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return result
	}
	if result.Version == "" {
		result.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			result.Commit = setting.Value
		case "vcs.modified":
			result.Modified = setting.Value == "true"
		}
	}
	return result
}
