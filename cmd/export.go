package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/export"
)

type exportOptions struct {
	as             []string
	out            string
	path           string
	passwordFile   string
	force          bool
	inventory      string
	passphraseFile string

	formats []export.Format
}

func (o *exportOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.as, "as", nil, "format, repeatable: "+formatNames())
	flags.StringVar(&o.out, "out", "", "file of the format, or directory (one that is there, or a name with / at its end);\n- is stdout (default: the device's bundle, which keeps it true)")
	flags.StringVar(&o.path, "path", "", "directory that the files will lie in where they are used, for formats that name it\n(mosquitto; default /etc/mosquitto/certs)")
	flags.StringVar(&o.passwordFile, "password-file", "", "file with the password of keystores (default: one is made, and written to "+provision.StorePasswordFile+")")
	flags.BoolVar(&o.force, "force", false, "replace files that are there and hold something else")
	flags.StringVar(&o.inventory, "inventory", "", "PostgreSQL URL of an inventory that several machines share (default: inventory.db in the workspace)")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "file with the passphrase of the inventory (or TBCERT_PASSPHRASE)")
}

// formatNames lists the formats for a flag.
func formatNames() string {
	names := make([]string, 0, len(export.Formats()))
	for _, format := range export.Formats() {
		names = append(names, string(format))
	}
	return strings.Join(names, ", ")
}

func exportLong() string {
	var text strings.Builder
	text.WriteString(`Write what a device needs in the form that its software takes.

Without --out the files are put into the device's bundle, and from then on every change of the
credential or of the root writes them again (as with tbcert provision --format, for many devices). With --out
they go elsewhere, once; a file that is there and holds something else is replaced with --force only.
Files with a secret are 0600. A format that cannot carry the device's credential is an error.

`)
	for _, format := range export.Formats() {
		fmt.Fprintf(&text, "  %-12s %s\n", format, format.About())
	}
	text.WriteString(`
A template of your own in the workspace, such as templates/device/esp32.h.tmpl, takes the place of tbcert's.`)
	return text.String()
}

func newExport(a *app) *cobra.Command {
	options := &exportOptions{}
	command := &cobra.Command{
		Use:   "export DEVICE",
		Short: "Write a device's credential as its software takes it",
		Long:  exportLong(),
		Example: `  tbcert export meter-1 --as esp32 --out firmware/main/tbcert_esp32.h
  tbcert export meter-1 --as gateway --out gateway/config/
  tbcert export meter-1 --as p12,truststore
  tbcert export meter-1 --as zip --out - > meter-1.zip`,
		Args:              takes(cobra.ExactArgs(1), "name one device, and the format with --as"),
		ValidArgsFunction: a.completeDevices,
	}
	options.addFlags(command.Flags())
	_ = command.RegisterFlagCompletionFunc("as", completeFormats) // the flag is there
	command.RunE = a.run(func(command *cobra.Command, args []string) error { return runExport(command, a, options, args[0]) })
	return command
}

// completeFormats completes the names of formats.
func completeFormats(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, format := range export.Formats() {
		if strings.HasPrefix(string(format), begun) {
			names = append(names, string(format)+"\t"+format.About())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// exportResult is the JSON of export: schema tbcert.export/v1.
type exportResult struct {
	Schema   string         `json:"schema"`
	OK       bool           `json:"ok"`
	ExitCode int            `json:"exit_code"`
	Device   string         `json:"device"`
	Formats  []string       `json:"formats"`
	Kept     bool           `json:"kept"` // in the bundle, and written again with every change
	Files    []exportedFile `json:"files"`
}

// An exportedFile is one file of an export.
type exportedFile struct {
	Path   string `json:"path"`
	Secret bool   `json:"secret"`
}

func runExport(command *cobra.Command, a *app, options *exportOptions, name string) error {
	if err := options.check(name, a.ui.JSON()); err != nil {
		return invalid(err)
	}
	result := exportResult{Schema: schema(command), OK: true, Device: name}
	for _, format := range options.formats {
		result.Formats = append(result.Formats, string(format))
	}
	var err error
	switch options.out {
	case "":
		result.Kept = true
		result.Files, err = options.keep(command, a, name)
	case "-":
		return options.print(command.Context(), a, name)
	default:
		result.Files, err = options.write(command.Context(), a, name)
	}
	if err != nil {
		return err
	}
	if a.ui.JSON() {
		return a.ui.ResultJSON(result)
	}
	return a.ui.Result("%s", exportText(result))
}

func exportText(result exportResult) string {
	var text strings.Builder
	for _, file := range result.Files {
		text.WriteString(file.Path)
		if file.Secret {
			text.WriteString("   (secret, 0600)")
		}
		text.WriteString("\n")
	}
	return text.String()
}

// check refuses flags that make no sense.
func (o *exportOptions) check(name string, isJSON bool) error {
	if _, err := provision.EncodeName(name); err != nil {
		return err
	}
	if len(o.as) == 0 {
		return fmt.Errorf("say which format with --as: %s", formatNames())
	}
	for _, text := range o.as {
		format, err := export.Parse(text)
		if err != nil {
			return fmt.Errorf("--as: %w", err)
		}
		if !slices.Contains(o.formats, format) {
			o.formats = append(o.formats, format)
		}
	}
	slices.SortStableFunc(o.formats, func(a, b export.Format) int { return order(a) - order(b) })
	return o.checkOut(isJSON)
}

// checkOut refuses places that make no sense.
func (o *exportOptions) checkOut(isJSON bool) error {
	switch {
	case o.out == "-" && isJSON:
		return errors.New("--out - writes the file to stdout, where -o json would write its result: choose one")
	case o.out == "-" && len(o.formats) > 1:
		return errors.New("--out - takes one format")
	case o.out == "" && o.path != "":
		return errors.New("--path needs --out: what is in the bundle has the usual paths")
	case strings.ContainsAny(o.path, "\x00\r\n"):
		return errors.New("--path holds a line break")
	default:
		return nil
	}
}

// order puts archives last.
func order(format export.Format) int {
	if format.IsArchive() {
		return 1
	}
	return 0
}

// password is that of the keystores, from the file that was named; zero is none.
func (o *exportOptions) password() (secret.Text, error) {
	if o.passwordFile == "" {
		return secret.Text{}, nil
	}
	password, err := readSecretFile("--password-file", o.passwordFile)
	if err != nil {
		return password, err
	}
	if err := certs.CheckKeyStorePassword(password); err != nil {
		return secret.Text{}, fmt.Errorf("--password-file: %w", err)
	}
	return password, nil
}

// keep puts the formats into the device's bundle and on record.
func (o *exportOptions) keep(command *cobra.Command, a *app, name string) (files []exportedFile, err error) {
	ctx := command.Context()
	password, err := o.password()
	if err != nil {
		return nil, invalid(err)
	}
	fleetOptions := &fleetOptions{inventory: o.inventory, passphraseFile: o.passphraseFile, jobs: 1, deviceDays: provision.DefaultDays}
	f, err := a.fleet(command, fleetOptions, func(*fleet) error { return nil })
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.hasDevice(ctx, name); err != nil {
		return nil, err
	}
	f.formats = o.as
	batch := &provision.Batch{Onboarder: f.onboarder(provision.Offline{}, nil), Jobs: 1, Formats: o.as, StorePassword: password}
	list, err := provision.NewList([]provision.Device{{Name: name}})
	if err != nil {
		return nil, invalid(err)
	}
	var result provision.Result
	_, err = batch.Run(ctx, list, func(r provision.Result) { result = r })
	if err := errors.Join(err, result.Err); err != nil {
		return nil, unfitExport(err)
	}
	return o.kept(ctx, f, result.Directory)
}

// hasDevice refuses a device that has no credential on record: nothing is to be
// registered.
func (f *fleet) hasDevice(ctx context.Context, name string) error {
	there := f.shared()
	if !there {
		var err error
		if there, err = f.ws.Exists(workspace.InventoryFile); err != nil {
			return err
		}
	}
	records := map[string]provision.Record{}
	if there {
		if err := f.open(ctx); err != nil {
			return err
		}
		var err error
		if records, err = f.store.Records(ctx, []string{name}); err != nil {
			return err
		}
	}
	record, known := records[name]
	switch {
	case !known:
		return invalid(fmt.Errorf("device %q is not on record: tbcert provision makes it known (--out writes a bundle's formats elsewhere, without the record)", name))
	case record.State != provision.StateRegistered:
		return invalid(&provision.StateError{Device: name, State: record.State, Since: record.Updated})
	default:
		return nil
	}
}

// kept lists what is in the bundle for the formats.
func (o *exportOptions) kept(ctx context.Context, f *fleet, directory string) ([]exportedFile, error) {
	shelf := newShelf(f.ws)
	defer func() { _ = shelf.close() }() // it was read only
	held, err := shelf.ReadBundle(ctx, directory)
	if err != nil {
		return nil, err
	}
	var files []exportedFile
	for _, file := range held {
		if file.Name != provision.InfoFile {
			continue
		}
		for _, exported := range provision.ExportsOf(file.Data) {
			if exported.Format == "" && o.usesPassword() || slices.Contains(o.as, exported.Format) {
				files = append(files, exportedFile{f.ws.Path(path.Join(workspace.DevicesDir, directory, exported.File)), exported.Secret})
			}
		}
	}
	return files, nil
}

func (o *exportOptions) usesPassword() bool {
	return slices.ContainsFunc(o.formats, export.Format.UsesPassword)
}

// unfitExport marks what is wrong with what was asked for.
func unfitExport(err error) error {
	var unfit *export.UnfitError
	var inTheWay *provision.InTheWayError
	if errors.As(err, &unfit) || errors.As(err, &inTheWay) || errors.Is(err, provision.ErrElsewhere) {
		return invalid(err)
	}
	return unfitInventory(err)
}

// write writes the formats to where --out says.
func (o *exportOptions) write(ctx context.Context, a *app, name string) ([]exportedFile, error) {
	dir, main := o.place()
	password, made, err := o.storePassword(dir)
	if err != nil {
		return nil, invalid(err)
	}
	files, err := o.render(ctx, a, name, password)
	if err != nil {
		return nil, err
	}
	if main != "" {
		if files[0].Name != provision.StorePasswordFile && slices.ContainsFunc(files[1:], func(f provision.File) bool { return f.Name == main }) {
			return nil, invalid(fmt.Errorf("--out: %s is the name of another of the files", main))
		}
		files[0].Name = main
	}
	if made {
		files = append(files, provision.File{Name: provision.StorePasswordFile, Data: []byte(password.Reveal() + "\n"), Secret: true})
	}
	if err := workspace.MakeOutputDir(dir); err != nil {
		return nil, err
	}
	outputs := make([]workspace.File, len(files))
	exported := make([]exportedFile, len(files))
	for i, file := range files {
		where := filepath.Join(dir, file.Name)
		outputs[i] = workspace.File{Name: where, Data: file.Data, Secret: file.Secret, Executable: file.Executable}
		exported[i] = exportedFile{where, file.Secret}
	}
	_, err = workspace.WriteOutputs(outputs, o.force)
	var taken *workspace.TakenError
	if errors.As(err, &taken) {
		return nil, invalid(fmt.Errorf("%w; nothing was written: --force replaces it", err))
	}
	return exported, err
}

// place takes --out apart: the directory, and the name of the main file; "" is
// the format's own.
func (o *exportOptions) place() (dir, main string) {
	if strings.HasSuffix(o.out, "/") || strings.HasSuffix(o.out, string(os.PathSeparator)) || workspace.IsDir(o.out) {
		return o.out, ""
	}
	return filepath.Dir(o.out), filepath.Base(o.out)
}

// storePassword is the password of the keystores in a directory: the one that
// was given, else the one that stands there already, else a new one, which is to
// be written there.
func (o *exportOptions) storePassword(dir string) (password secret.Text, made bool, err error) {
	if !o.usesPassword() {
		return secret.Text{}, false, nil
	}
	if password, err = o.password(); err != nil || !password.IsZero() {
		return password, false, err
	}
	there := filepath.Join(dir, provision.StorePasswordFile)
	password, err = readSecretFile("the keystores' password", there)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		password, err = provision.NewToken(nil)
		return password, true, err
	case err != nil:
		return secret.Text{}, false, err
	}
	return password, true, certs.CheckKeyStorePassword(password)
}

// print writes the one file of a format to stdout.
func (o *exportOptions) print(ctx context.Context, a *app, name string) error {
	password, err := o.password()
	if err != nil {
		return invalid(err)
	}
	if o.usesPassword() && password.IsZero() {
		return invalid(errors.New("a keystore on stdout needs --password-file: a password that is made would have nowhere to stand"))
	}
	files, err := o.render(ctx, a, name, password)
	if err != nil {
		return err
	}
	if len(files) > 1 {
		return invalid(fmt.Errorf("the format %s has %d files for this device, with those that it needs beside it: name a directory with --out", o.formats[0], len(files)))
	}
	return a.ui.ResultData(files[0].Data)
}

// render renders the formats of a bundle, with the files that they need beside
// them.
func (o *exportOptions) render(ctx context.Context, a *app, name string, password secret.Text) ([]provision.File, error) {
	source, err := readExport(ctx, a.workspace(), name)
	if err != nil {
		return nil, invalid(err)
	}
	options := export.Options{Templates: site.Templates(a.workspace()), Password: password, Path: o.path}
	var files []provision.File
	for _, format := range o.formats { // archives last: they hold the others
		if format.IsArchive() {
			options.Bundle = source.with(files)
		}
		rendered, err := export.Render(format, source.device, options)
		if err != nil {
			return nil, unfitExport(fmt.Errorf("device %q: %w", name, err))
		}
		files = append(files, rendered...)
		files = append(files, source.beside(format, files)...)
	}
	return files, nil
}

// An exportSource is a bundle that formats are rendered from.
type exportSource struct {
	device export.Device
	bundle []provision.File // its files
}

func readExport(ctx context.Context, ws *workspace.Workspace, name string) (exportSource, error) {
	var source exportSource
	reader := newBundleReader(ws)
	defer func() { _ = reader.close() }() // it was read only
	dir, found, info, err := reader.read(name)
	if err != nil {
		return source, err
	}
	credential, err := reader.credential(dir, found, info.Files)
	if err != nil {
		return source, err
	}
	root := found[info.Files.Root]
	if root == nil {
		return source, fmt.Errorf("%s is not there; tbcert provision --repair writes the bundle again", ws.Path(path.Join(dir, info.Files.Root)))
	}
	source.device = export.Device{Info: info, Directory: path.Base(dir), Credential: credential, Roots: root.Data}
	shelf := newShelf(ws)
	defer func() { _ = shelf.close() }() // it was read only
	held, err := shelf.ReadBundle(ctx, path.Base(dir))
	source.bundle = held
	return source, err
}

// with is what an archive holds: the bundle, without archives, and further files
// in the place of those of the same names.
func (s exportSource) with(files []provision.File) []provision.File {
	isArchive := func(name string) bool {
		return slices.Contains(export.Zip.Names(), name) || slices.Contains(export.TarGz.Names(), name)
	}
	var all []provision.File
	for _, file := range slices.Concat(files, s.bundle) {
		if !isArchive(file.Name) && !slices.ContainsFunc(all, func(f provision.File) bool { return f.Name == file.Name }) {
			all = append(all, file)
		}
	}
	return all
}

// beside are the bundle's files that scripts and settings need, without those
// that are there already.
func (s exportSource) beside(format export.Format, there []provision.File) []provision.File {
	var files []provision.File
	for _, name := range format.Beside(s.device.Info.Files) {
		has := func(f provision.File) bool { return f.Name == name }
		if i := slices.IndexFunc(s.bundle, has); i >= 0 && !slices.ContainsFunc(there, has) {
			file := s.bundle[i]
			file.Secret = name != s.device.Info.Files.Root && name != s.device.Info.Files.Certificate
			files = append(files, file)
		}
	}
	return files
}
