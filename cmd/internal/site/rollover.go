package site

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// A Stage is how far the change from one root CA to another has come.
type Stage string

// The stages. Between them every device that has its bundle gets in.
const (
	StageNone    Stage = ""        // one root, and no other
	StageStarted Stage = "started" // bundles have both roots; the server is the old root's
	StageMoved   Stage = "moved"   // bundles have both roots; the server is the new root's
)

// Where the CA lies that comes, and the one that was.
const (
	nextDir     = "ca/next"
	previousDir = "ca/previous"
)

// caNames are the files of a CA.
func caNames() []string {
	return []string{
		workspace.RootCert, workspace.RootKey, workspace.ServerCACert, workspace.ServerCAKey, workspace.DeviceCACert, workspace.DeviceCAKey,
	}
}

// in is the place of a CA's file in another directory.
func in(dir, name string) string { return path.Join(dir, path.Base(name)) }

// A generation is a CA that is not the one in use.
type generation struct {
	rootCA             []*x509.Certificate
	serverCA, deviceCA *x509.Certificate
}

func (g generation) root() *x509.Certificate { return g.rootCA[len(g.rootCA)-1] }

// loadGeneration reads a CA; without one it gives fs.ErrNotExist.
func loadGeneration(ws *workspace.Workspace, dir string) (g generation, err error) {
	if g.rootCA, err = readCertificates(ws, in(dir, workspace.RootCert)); err != nil {
		return g, err
	}
	if len(g.rootCA) == 0 {
		return g, fs.ErrNotExist
	}
	if g.serverCA, err = readOne(ws, in(dir, workspace.ServerCACert)); err != nil {
		return g, err
	}
	g.deviceCA, err = readOne(ws, in(dir, workspace.DeviceCACert))
	return g, err
}

// StageOf tells how far a rollover has come.
func StageOf(ws *workspace.Workspace, s *Site) (Stage, error) {
	started, err := ws.Exists(in(nextDir, workspace.RootCert))
	if err != nil || started {
		return StageStarted, err
	}
	previous, err := loadGeneration(ws, previousDir)
	if errors.Is(err, fs.ErrNotExist) {
		return StageNone, nil
	}
	if err == nil && slices.ContainsFunc(s.TrustRoots, previous.root().Equal) {
		return StageMoved, nil
	}
	return StageNone, err
}

// HadRollover reports whether there was a CA before this one.
func HadRollover(ws *workspace.Workspace) (bool, error) {
	return ws.Exists(in(previousDir, workspace.RootCert))
}

// stageError says that a step of a rollover cannot be taken now.
func stageError(stage Stage, wanted string) error {
	switch stage {
	case StageStarted:
		return &ConflictError{Problem: "the rollover has begun, and the server is still the old root's: it cannot be " + wanted, Fix: "the next step is `tbcert renew root move`"}
	case StageMoved:
		return &ConflictError{Problem: "the server is the new root's already: it cannot be " + wanted, Fix: "the next step is `tbcert renew root finish`"}
	default:
		return &ConflictError{Problem: "no rollover has begun: it cannot be " + wanted, Fix: "the first step is `tbcert renew root start`"}
	}
}

func beginRollover(ws *workspace.Workspace, request Request, wanted Stage, step string) (*initializer, error) {
	old, err := Load(ws)
	if err != nil {
		return nil, err
	}
	if len(old.RootCA) == 0 {
		return nil, &ConflictError{Problem: "the site has no CA of its own", Fix: "its root is another's to change: `tbcert fetch` finds the new one"}
	}
	stage, err := StageOf(ws, old)
	if err != nil {
		return nil, err
	}
	if stage != wanted {
		return nil, stageError(stage, step)
	}
	site := *old
	site.Settings = old.Settings.WithDefaults()
	return &initializer{ws: ws, request: request, old: old, now: now(request.Maker), renew: true, result: &Result{Site: &site}}, nil
}

// StartRollover computes a second CA, which waits in ca/next, and a ca-root.pem
// with both roots. It writes nothing. The server stays as it is.
func StartRollover(ws *workspace.Workspace, request Request) (*Result, error) {
	i, err := beginRollover(ws, request, StageNone, "started")
	if err != nil {
		return nil, err
	}
	i.generation = nextGeneration(i.old.signer().Subject.CommonName) // a brought root may have any name
	if brought := request.Import; brought != nil && slices.ContainsFunc(i.old.Anchors(), brought.Certificates[len(brought.Certificates)-1].Equal) {
		return nil, &ConflictError{Problem: brought.CertFile + " has the root that the site has", Fix: "bring another one"}
	}
	if err := i.passphraseOfOldKeys(); err != nil {
		return nil, err
	}
	if err := i.newCA(); err != nil {
		return nil, err
	}
	both := append(slices.Clone(i.old.Anchors()), i.result.Site.TrustRoots...)
	for n, file := range i.result.Files {
		if file.Name == workspace.RootFile {
			i.result.Files[n].Data = certs.EncodeCertificates(both...)
			continue
		}
		i.result.Files[n].Name = in(nextDir, file.Name)
	}
	site := *i.old
	site.Settings, site.TrustRoots = i.old.Settings.WithDefaults(), both
	i.result.Site = &site
	return i.result, i.deployments()
}

// passphraseOfOldKeys has the passphrase checked before new keys get it.
func (i *initializer) passphraseOfOldKeys() error {
	for _, name := range []string{workspace.DeviceCAKey, workspace.ServerCAKey, workspace.RootKey} {
		there, err := i.ws.Exists(name)
		if err != nil {
			return err
		}
		if there {
			_, err := i.readKey(name)
			return err
		}
	}
	return nil
}

// generationMark ends the name of a CA that is not a site's first.
var generationMark = regexp.MustCompile(` G(\d+)$`)

// nextGeneration is what the names of a CA get that follows another: two roots of
// one name could be taken for each other.
func nextGeneration(commonName string) string {
	match := generationMark.FindStringSubmatch(commonName)
	if match == nil {
		return " G2"
	}
	n, _ := strconv.Atoi(match[1]) // digits; a number that is too long begins again
	return fmt.Sprintf(" G%d", n+1)
}

// MoveRollover computes the second CA in the place of the first, which is kept in
// ca/previous, and a server certificate of it. It writes nothing. Where a bundle
// lacks the new root, it is an *UnprovedError.
func MoveRollover(ws *workspace.Workspace, request Request) (*Result, error) {
	i, err := beginRollover(ws, request, StageStarted, "moved to the new root")
	if err != nil {
		return nil, err
	}
	next, err := loadGeneration(ws, nextDir)
	if err != nil {
		return nil, err
	}
	site := i.result.Site
	site.RootCA, site.ServerCA, site.DeviceCA = next.rootCA, next.serverCA, next.deviceCA
	site.TrustRoots = append([]*x509.Certificate{next.root()}, slices.DeleteFunc(slices.Clone(i.old.TrustRoots), next.root().Equal)...)
	i.keyDir = nextDir
	for _, step := range []func() error{i.server, i.proved, i.previous, i.forThingsBoard, i.swapCA} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	i.add(workspace.File{Name: workspace.RootFile, Data: certs.EncodeCertificates(site.TrustRoots...)})
	return i.result, nil
}

// swapCA puts the files of the next CA in the place of those of the first, whose
// go to ca/previous. A key that is not here, as it is kept elsewhere, leaves none.
func (i *initializer) swapCA() error {
	for _, name := range caNames() {
		isKey, read := strings.HasSuffix(name, ".key"), i.ws.Read
		if isKey {
			read = i.ws.ReadSecret
		}
		old, err := optional(read(name))
		if err != nil {
			return err
		}
		// That of a rollover before must not stay beside what comes from now.
		i.add(workspace.File{Name: in(previousDir, name), Data: old, Secret: isKey, Remove: old == nil})
		next, err := optional(read(in(nextDir, name)))
		if err != nil {
			return err
		}
		if next == nil {
			i.add(workspace.File{Name: name, Remove: true})
			continue
		}
		i.add(workspace.File{Name: name, Data: next, Secret: isKey})
		i.add(workspace.File{Name: in(nextDir, name), Remove: true})
	}
	return nil
}

// FinishRollover computes a ca-root.pem without the old root. It writes nothing.
func FinishRollover(ws *workspace.Workspace) (*Result, error) {
	i, err := beginRollover(ws, Request{}, StageMoved, "finished")
	if err != nil {
		return nil, err
	}
	previous, err := loadGeneration(ws, previousDir)
	if err != nil {
		return nil, err
	}
	site := i.result.Site
	site.TrustRoots = slices.DeleteFunc(slices.Clone(site.TrustRoots), previous.root().Equal)
	i.add(workspace.File{Name: workspace.RootFile, Data: certs.EncodeCertificates(site.TrustRoots...)})
	i.add(workspace.File{Name: workspace.Delivered, Remove: true})
	return i.result, i.deployments()
}

// PreviousDeviceCA is the CA whose certificates devices may still have because a
// rollover is not finished, its chain up to the old root, and the file of its key.
// There is none when there is no such rollover.
func PreviousDeviceCA(ws *workspace.Workspace, s *Site) (chain []*x509.Certificate, keyFile string, err error) {
	stage, err := StageOf(ws, s)
	if err != nil || stage != StageMoved {
		return nil, "", err
	}
	previous, err := loadGeneration(ws, previousDir)
	if err != nil {
		return nil, "", err
	}
	if previous.deviceCA == nil {
		return previous.rootCA, in(previousDir, workspace.RootKey), nil
	}
	return append([]*x509.Certificate{previous.deviceCA}, previous.rootCA...), in(previousDir, workspace.DeviceCAKey), nil
}

// A Rollover is how far the devices have come with a change of the root.
type Rollover struct {
	Stage     Stage           `json:"stage"`
	NewRoot   string          `json:"new_root"` // its fingerprint
	Devices   int             `json:"devices"`
	Delivered int             `json:"delivered"`        // they have the new root
	OldCerts  int             `json:"old_certificates"` // of devices, from the old CA
	States    []RolloverState `json:"states"`
}

// A RolloverState is how far one device has come.
type RolloverState struct {
	Directory string `json:"directory"`
	Bundle    bool   `json:"bundle"`          // its bundle has the new root
	Delivered bool   `json:"delivered"`       // somebody said that the device has it
	OldCert   bool   `json:"old_certificate"` // its certificate is of the old CA
}

// RolloverOf tells how far the devices of a rollover have come; nil when there is
// none.
func RolloverOf(ws *workspace.Workspace, s *Site) (*Rollover, error) {
	stage, err := StageOf(ws, s)
	if err != nil || stage == StageNone {
		return nil, err
	}
	newDir, oldDir := nextDir, "ca"
	if stage == StageMoved {
		newDir, oldDir = "ca", previousDir
	}
	next, err := loadGeneration(ws, newDir)
	if err != nil {
		return nil, err
	}
	old, err := loadGeneration(ws, oldDir)
	if err != nil {
		return nil, err
	}
	delivered, err := Delivered(ws)
	if err != nil {
		return nil, err
	}
	r := &Rollover{Stage: stage, NewRoot: certs.Fingerprint(next.root())}
	return r, r.look(ws, next.root(), old, delivered)
}

// look goes through the bundles.
func (r *Rollover) look(ws *workspace.Workspace, root *x509.Certificate, old generation, delivered map[string]bool) error {
	issuer := old.deviceCA
	if issuer == nil {
		issuer = old.rootCA[0]
	}
	directories, err := ws.List(workspace.DevicesDir)
	if err != nil {
		return err
	}
	devices := ws.Directory(workspace.DevicesDir)
	defer func() { _ = devices.Close() }() // it was read only
	for _, directory := range directories {
		files, err := devices.ReadFiles(directory, []string{workspace.RootFile, certFile})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(files) == 0 {
			continue // a revoked device's
		}
		state := RolloverState{Directory: directory, Delivered: delivered[directory]}
		for _, file := range files {
			held, err := certs.ParseCertificates(file.Data)
			switch {
			case err != nil: // status says so
			case path.Base(file.Name) == workspace.RootFile:
				state.Bundle = slices.ContainsFunc(held, root.Equal)
			default:
				state.OldCert = issuedBy(held[0], issuer)
			}
		}
		r.count(state)
	}
	return nil
}

// certFile is a device's certificate in its bundle.
const certFile = "cert.pem"

func issuedBy(cert, issuer *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, issuer.RawSubject) && bytes.Equal(cert.AuthorityKeyId, issuer.SubjectKeyId)
}

func (r *Rollover) count(state RolloverState) {
	r.Devices++
	if state.Delivered {
		r.Delivered++
	}
	if state.OldCert {
		r.OldCerts++
	}
	r.States = append(r.States, state)
}

// Delivered gives the directories of the devices that have the new root.
func Delivered(ws *workspace.Workspace) (map[string]bool, error) {
	data, err := optional(ws.Read(workspace.Delivered))
	if err != nil {
		return nil, err
	}
	delivered := make(map[string]bool)
	for _, directory := range strings.Fields(string(data)) {
		delivered[directory] = true
	}
	return delivered, nil
}

// DeliveredFile is the record of those devices.
func DeliveredFile(delivered map[string]bool) workspace.File {
	var lines []string
	for directory := range delivered {
		lines = append(lines, directory+"\n")
	}
	slices.Sort(lines)
	return workspace.File{Name: workspace.Delivered, Data: []byte(strings.Join(lines, ""))}
}
