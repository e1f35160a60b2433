package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/cmd/internal/settings"
)

// newEnvironment is a help topic: the register of the environment variables.
func newEnvironment(*app) *cobra.Command {
	var text strings.Builder
	text.WriteString("The environment variables of tbcert. A flag comes before its variable, a variable before\n" +
		"tbcert.yaml. Secrets have no key in tbcert.yaml.\n\n")
	for _, key := range settings.Keys() {
		where := ""
		if key.InFile {
			where = "; " + key.Name + " in " + settings.SiteFile
		}
		if key.Sensitive {
			where = "; a secret"
		}
		fmt.Fprintf(&text, "  %-20s %s%s\n", key.Env(), key.Usage, where)
	}
	text.WriteString("  NO_COLOR             no colors, whatever its value (no-color.org)")
	return &cobra.Command{Use: "environment", Short: "The environment variables that tbcert reads", Long: text.String()}
}
