package cmd

import "context"

func (v *verification) watch(ctx context.Context) error { return v.once(ctx) }
