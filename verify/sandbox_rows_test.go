package verify_test

// sandboxRows run against tbcert's own ThingsBoard-compatible endpoint.
func sandboxRows() []row { return nil }
