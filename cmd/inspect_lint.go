package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/verify"
)

// lintThingsBoard is what --lint takes.
const lintThingsBoard = "thingsboard"

// lintResult is the JSON of inspect --lint: schema tbcert.inspect.lint/v1.
type lintResult struct {
	Schema   string              `json:"schema"`
	OK       bool                `json:"ok"` // no finding is an error
	ExitCode int                 `json:"exit_code"`
	Sources  []string            `json:"sources"`
	Errors   int                 `json:"errors"`
	Warnings int                 `json:"warnings"`
	Findings []certs.LintFinding `json:"findings"`
}

// runLint looks at a server's files, or at what it presents, with ThingsBoard's
// eyes.
func runLint(command *cobra.Command, a *app, sources []string, options *inspectOptions) error {
	if options.lint != lintThingsBoard {
		return invalid(fmt.Errorf("--lint: %q is not known; say --lint %s", options.lint, lintThingsBoard))
	}
	s, err := site.Load(a.workspace())
	if err != nil && !errors.Is(err, site.ErrNoSite) {
		return invalid(err)
	}
	lint := certs.LintOptions{Now: a.process.Now()}
	if err == nil {
		lint.Roots = s.Anchors()
	}
	if options.caFile != "" {
		data, err := workspace.ReadInput(options.caFile, false)
		if err != nil {
			return invalid(fmt.Errorf("--cafile: %w", err))
		}
		if lint.Roots, err = certs.ReadCertificates(data); err != nil {
			return invalid(fmt.Errorf("--cafile: %s: %w", options.caFile, err))
		}
	}
	findings, err := a.lint(command, sources, options, lint)
	if err != nil {
		return err
	}
	return a.tellLint(sources, findings)
}

// lint finds out whether the sources are files or a host.
func (a *app) lint(command *cobra.Command, sources []string, options *inspectOptions, lint certs.LintOptions) ([]certs.LintFinding, error) {
	if host, port, isHost := hostPort(sources[0]); isHost && len(sources) == 1 {
		verifier := &verify.Verifier{Now: a.process.Now, Timeout: options.timeout}
		presented, report := verifier.Inspect(command.Context(), verify.Target{Host: host, Port: port, TLS: true, Roots: lint.Roots, RootsName: workspace.RootFile})
		if len(presented.Chain) == 0 {
			return nil, fmt.Errorf("%s shows no certificate: %s", sources[0], report.Problem())
		}
		return certs.LintChain(presented.Chain, lint), nil
	}
	var files []certs.LintFile
	for _, name := range sources {
		data, err := workspace.ReadInput(name, false)
		if err != nil {
			return nil, invalid(err)
		}
		files = append(files, certs.LintFile{Name: name, Data: data})
	}
	findings, err := certs.Lint(files, lint)
	if err != nil {
		return nil, invalid(err)
	}
	access, err := lintAccess(files, options.serviceUser)
	return append(findings, access...), err
}

// lintAccess looks who can read the files.
func lintAccess(files []certs.LintFile, user string) (findings []certs.LintFinding, err error) {
	for _, file := range files {
		if user != "" {
			reason, path, err := workspace.Unreadable(file.Name, user)
			if err != nil {
				return nil, invalid(fmt.Errorf("--service-user: %w", err))
			}
			if reason != "" {
				findings = append(findings, certs.Finding("unreadable", file.Name, accessFix(path, file.Name, user), reason))
			}
		}
		open, err := workspace.OpenToOthers(file.Name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, invalid(err)
		}
		if open && certs.HoldsKey(file.Data) {
			findings = append(findings, certs.Finding("open-to-others", file.Name, "chmod 600 "+certs.ShellWord(file.Name), "others can read this private key"))
		}
	}
	return findings, nil
}

// accessFix is for a directory that a user may not enter, or a file that he may not
// read.
func accessFix(path, file, user string) string {
	if !strings.HasSuffix(path, file) {
		return fmt.Sprintf("put the file where %s gets to: sudo install -o %[1]s -g %[1]s -m 0600 %s /etc/thingsboard/conf/", user, certs.ShellWord(file))
	}
	return fmt.Sprintf("sudo chown %s %s && sudo chmod 600 %[2]s", user, certs.ShellWord(file))
}

// tellLint gives the findings; an error among them is exit code 1.
func (a *app) tellLint(sources []string, findings []certs.LintFinding) error {
	result := lintResult{Schema: "tbcert.inspect.lint/v1", Sources: sources, Findings: findings}
	if findings == nil {
		result.Findings = []certs.LintFinding{}
	}
	slices.SortStableFunc(findings, func(x, y certs.LintFinding) int { return strings.Compare(string(x.Severity), string(y.Severity)) })
	for _, finding := range findings {
		if finding.Severity == certs.Error {
			result.Errors++
		} else {
			result.Warnings++
		}
	}
	if result.OK = result.Errors == 0; !result.OK {
		result.ExitCode = exitFailed
	}
	var err error
	if a.ui.JSON() {
		err = a.ui.ResultJSON(result)
	} else {
		err = a.ui.Result("%s", a.lintText(result))
	}
	if err != nil || result.OK {
		return err
	}
	return told(result.ExitCode)
}

func (a *app) lintText(result lintResult) string {
	if len(result.Findings) == 0 {
		return a.ui.Good("Nothing to find fault with: "+strings.Join(result.Sources, ", ")) + "\n"
	}
	var text strings.Builder
	for _, finding := range result.Findings {
		severity := string(finding.Severity)
		if finding.Severity == certs.Error {
			severity = a.ui.Bad(severity)
		}
		where := finding.File
		if finding.Line > 0 {
			where = fmt.Sprintf("%s:%d", where, finding.Line)
		}
		if where == "" {
			where = result.Sources[0]
		}
		fmt.Fprintf(&text, "%s: %s: %s [%s]\n  why: %s\n  fix: %s\n", where, severity, printable(finding.What), finding.ID, finding.Why, printable(finding.Fix))
	}
	fmt.Fprintf(&text, "\n%d errors, %d warnings\n", result.Errors, result.Warnings)
	return text.String()
}
