package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tbcert/tbcert/certs/secret"
)

// Rerender writes the bundles again that are not as the Site would have them now,
// after its roots, its host or its ports have changed. They keep the credentials
// that they have: nothing is registered, and nothing is recorded. It reports each
// bundle, and whether it was written; one without a credential is left alone. Only
// Site, Exporter and Shelf are needed. Once ctx ends no further bundle is begun. Run again, it goes on.
func (o *Onboarder) Rerender(ctx context.Context, directories []string, report func(directory string, written bool)) error {
	renderer, err := newRenderer(o.Site, o.Exporter)
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
			bundle, differs, err := o.again(ctx, renderer, directory)
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
func (o *Onboarder) again(ctx context.Context, renderer *renderer, directory string) (bundle Bundle, differs bool, err error) {
	files, err := o.Shelf.ReadBundle(ctx, directory)
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
	formats := formatsOf(Record{}, files, nil, false)
	if bundle, err = renderer.bundle(rendering{name, directory, credential, formats, files, secret.Text{}, o.Random}); err != nil {
		return Bundle{}, false, err
	}
	return bundle, !sameFiles(bundle, files), nil
}
