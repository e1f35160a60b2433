// Tbcert gives a self-hosted ThingsBoard its MQTTS and its devices their access.
package main

import (
	"os"

	"github.com/tbcert/tbcert/cmd"
)

func main() { os.Exit(cmd.Main()) }
