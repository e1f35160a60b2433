package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "man [COMMAND]",
		Short:   "Write the manual page of a command to stdout",
		Example: "  tbcert man verify | man -l -",
		Args:    cobra.MaximumNArgs(1),
		RunE: a.run(func(command *cobra.Command, args []string) error {
			target, rest, err := command.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return invalid(fmt.Errorf("there is no command %q", strings.Join(args, " ")))
			}
			var page strings.Builder
			now := a.process.Now()
			header := &doc.GenManHeader{Section: "1", Source: "tbcert", Manual: "tbcert", Date: &now}
			target.DisableAutoGenTag = true
			if err := doc.GenMan(target, header, &page); err != nil {
				return fmt.Errorf("write the manual page: %w", err)
			}
			return a.ui.Result("%s", page.String())
		}),
	}
}
