package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// Rerender writes the bundles again that are not as the Site would have them now,
// after its roots, its host or its ports have changed. They keep the credentials
// that they have: nothing is registered, and nothing is recorded. It reports each
// bundle, and whether it was written; one without a credential is left alone. Only
// Site and Shelf are needed. Once ctx ends no further bundle is begun. Run again, it goes on.
func (o *Onboarder) Rerender(ctx context.Context, directories []string, report func(directory string, written bool)) error {
	renderer, err := newRenderer(o.Site)
	if err != nil {
		return err
	}
	for len(directories) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		part := directories[:min(DefaultSize, len(directories))]
		directories = directories[len(part):]
		var bundles []Bundle
		for _, directory := range part {
			bundle, differs, err := renderer.again(ctx, o.Shelf, directory)
			if err != nil {
				return err
			}
			if differs {
				bundles = append(bundles, bundle)
			}
			report(directory, differs)
		}
		if len(bundles) == 0 {
			continue
		}
		if err := o.Shelf.WriteBundles(context.WithoutCancel(ctx), bundles); err != nil {
			return fmt.Errorf("write the bundles: %w", err)
		}
	}
	return nil
}

// again renders what a bundle should be, and reports whether it is not.
func (r *renderer) again(ctx context.Context, shelf Shelf, directory string) (bundle Bundle, differs bool, err error) {
	files, err := shelf.ReadBundle(ctx, directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Bundle{}, false, err
	}
	credential := CredentialOf(files)
	if !credential.Made() {
		return Bundle{}, false, nil
	}
	name := deviceOf(files)
	if name == "" {
		if name, err = DecodeName(directory); err != nil {
			return Bundle{}, false, err
		}
	}
	if bundle, err = r.bundle(name, directory, credential); err != nil {
		return Bundle{}, false, err
	}
	return bundle, !sameFiles(bundle, files), nil
}
