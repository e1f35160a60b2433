package cmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/provision"
)

const renewDevicesLong = `Renew the certificates of devices that are due: a new key and certificate from the device CA, registered
in ThingsBoard and written to the bundle, in the order in which tbcert rotate does it. A device is out from the
change until it gets its new bundle, so renew early, and in waves.

A device whose key never left it (--csr) is left alone: it makes a new request, and tbcert rotate NAME --csr
signs it. tbcert status lists which certificates end soon.`

func newRenewDevices(a *app) *cobra.Command {
	options := &rotateOptions{announceTimeout: provision.DefaultAnnounceTimeout, expiring: &site.Due{}}
	var before string
	command := &cobra.Command{
		Use:   "devices",
		Short: "Renew the certificates of devices that are due",
		Long:  renewDevicesLong,
		Example: `  tbcert renew devices --dry-run
  tbcert renew devices --before 60d --wave 50 --verify`,
		Args: cobra.NoArgs,
	}
	flags := command.Flags()
	flags.StringVar(&before, "before", "", "renew when less than this is left: 30d, 36h, or a share of its life such as 25%\n(default: 30 days, or a third of its life when that is less)")
	options.addChangeFlags(flags)
	command.RunE = a.run(func(command *cobra.Command, _ []string) error {
		if before != "" {
			due, err := site.ParseDue(before)
			if err != nil {
				return invalid(fmt.Errorf("--before: %w", err))
			}
			*options.expiring = due
		}
		return runRotate(command, a, options, nil)
	})
	return command
}
