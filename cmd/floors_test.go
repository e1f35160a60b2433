package cmd_test

import (
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const module = "github.com/tbcert/tbcert"

// floors is the whole import graph of the product: which package of this
// module each package imports. An arrow that is not here, a package that is
// not here, and a line here that is no longer true all fail the build, so that
// the picture in ARCHITECTURE.md stays the real one.
func floors() map[string][]string {
	return map[string][]string{
		"certs/secret":                     {},
		"certs":                            {"certs/secret"},
		"certs/acme":                       {"certs/secret"},
		"certs/hsm":                        {"certs", "certs/secret"},
		"certs/acme/acmetest":              {"certs"}, // for tests: it starts Pebble, step-ca and Knot
		"certs/remote":                     {},
		"templates":                        {},
		"thingsboard/device":               {"certs/secret"},
		"thingsboard/rest":                 {"certs/secret"},
		"verify":                           {"certs", "certs/secret", "thingsboard/device"},
		"verify/monitor":                   {},
		"verify/report":                    {},
		"provision/export":                 {"certs", "certs/secret", "provision", "templates"},
		"provision":                        {"certs", "certs/secret", "templates", "thingsboard/device", "thingsboard/rest"},
		"provision/inventory":              {"certs", "certs/secret", "provision"},
		"provision/inventory/postgrestest": {}, // for tests: it starts PostgreSQL
		"sandbox":                          {"certs", "certs/secret", "thingsboard/device"},
		"cmd/internal/ui":                  {"certs/secret"},
		"cmd/internal/settings":            {"certs", "certs/secret"},
		"cmd/internal/workspace":           {},
		"cmd/internal/hook":                {},
		"cmd/internal/site":                {"certs", "certs/hsm", "certs/secret", "cmd/internal/settings", "cmd/internal/workspace", "templates"},
		"cmd": {
			"certs", "certs/acme", "certs/hsm", "certs/remote", "certs/secret", "cmd/internal/hook", "cmd/internal/settings", "cmd/internal/site", "cmd/internal/ui", "cmd/internal/workspace",
			"provision", "provision/export", "provision/inventory", "sandbox", "templates", "thingsboard/device", "thingsboard/rest", "verify", "verify/monitor", "verify/report",
		},
		"cmd/tbcert": {"cmd"},
	}
}

// A rule bans a package or one of its names outside the places that are there
// for it.
type rule struct {
	path    string   // import path
	name    string   // of the function, type or variable; "" is the whole package
	allowed []string // packages of this module
	why     string
}

func rules() []rule {
	disk := []string{"cmd/internal/workspace", "provision/inventory"}
	net := []string{"certs/acme", "certs/remote", "verify", "verify/monitor", "sandbox", "thingsboard/device", "thingsboard/rest"}
	return []rule{
		{"os/exec", "", []string{"cmd/internal/hook"}, "no child process: a secret could reach its arguments"},
		{"log", "", nil, "only ui writes"},
		{"math/rand", "", nil, "crypto/rand"}, {"math/rand/v2", "", nil, "crypto/rand"},
		{"os", "Exit", []string{"cmd/tbcert"}, "skips what is deferred"},
		{"os", "Getenv", nil, "settings reads the environment"}, {"os", "LookupEnv", nil, "settings reads the environment"},
		{"os", "Environ", []string{"cmd"}, "settings gets it from cmd.Main"},
		{"os", "Stdout", []string{"cmd"}, "only ui writes"}, {"os", "Stderr", []string{"cmd"}, "only ui writes"},
		{"os", "WriteFile", nil, "workspace writes, atomically"}, {"os", "Create", nil, "workspace writes, atomically"},
		{"os", "Open", disk, "only workspace and inventory touch the disk"}, {"os", "OpenFile", disk, "only workspace and inventory touch the disk"},
		{"os", "ReadFile", disk, "only workspace and inventory touch the disk"}, {"os", "MkdirAll", disk, "only workspace and inventory touch the disk"},
		{"os", "Remove", disk, "only workspace and inventory touch the disk"}, {"os", "RemoveAll", disk, "only workspace and inventory touch the disk"},
		{"os", "Rename", disk, "only workspace and inventory touch the disk"}, {"os", "MkdirTemp", disk, "only workspace and inventory touch the disk"},
		{"fmt", "Print", nil, "only ui writes"}, {"fmt", "Println", nil, "only ui writes"}, {"fmt", "Printf", nil, "only ui writes"},
		{"net", "Dial", nil, "a context is needed"}, {"net", "DialTimeout", nil, "a context is needed"},
		{"net", "Dialer", net, "only these open sockets"}, {"net", "Listen", nil, "a context is needed"}, {"net", "ListenConfig", net, "only these open sockets"},
		{"time", "Sleep", nil, "wait for what is waited for"},
		{"context", "Background", []string{"cmd"}, "contexts begin in cmd.Main"}, {"context", "TODO", nil, "contexts begin in cmd.Main"},
	}
}

func load(t *testing.T) map[string]*packages.Package {
	t.Helper()
	mode := packages.NeedName | packages.NeedImports | packages.NeedFiles | packages.NeedSyntax
	list, err := packages.Load(&packages.Config{Mode: mode}, module+"/...")
	if err != nil {
		t.Fatal(err)
	}
	loaded := map[string]*packages.Package{}
	for _, p := range list {
		for _, fault := range p.Errors {
			t.Error(fault)
		}
		loaded[strings.TrimPrefix(p.PkgPath, module+"/")] = p
	}
	if len(loaded) < 10 {
		t.Fatalf("only %d packages were found", len(loaded))
	}
	return loaded
}

// TestFloors holds the import graph against the table.
func TestFloors(t *testing.T) {
	t.Parallel()
	loaded, table := load(t), floors()
	for _, name := range slices.Sorted(maps.Keys(loaded)) {
		allowed, known := table[name]
		if !known {
			t.Errorf("package %s is not in the table of floors: say where it stands", name)
			continue
		}
		var imported []string
		for path := range loaded[name].Imports {
			if own, ok := strings.CutPrefix(path, module+"/"); ok {
				imported = append(imported, own)
			}
		}
		slices.Sort(imported)
		for _, other := range imported {
			if !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s: an arrow that is not in the table", name, other)
			}
		}
		for _, other := range allowed {
			if !slices.Contains(imported, other) {
				t.Errorf("%s no longer imports %s: take the arrow out of the table", name, other)
			}
		}
	}
	for name := range table {
		if loaded[name] == nil {
			t.Errorf("package %s is in the table of floors and not in the module", name)
		}
	}
}

// TestFloorsHaveNoCycleAndFewLevels keeps the house low.
func TestFloorsHaveNoCycleAndFewLevels(t *testing.T) {
	t.Parallel()
	table := floors()
	var level func(name string, path []string) int
	level = func(name string, path []string) int {
		if slices.Contains(path, name) {
			t.Fatalf("a cycle: %v", append(path, name))
		}
		deepest := 0
		for _, below := range table[name] {
			deepest = max(deepest, level(below, append(path, name)))
		}
		return deepest + 1
	}
	for name := range table {
		if got := level(name, nil); got > 6 {
			t.Errorf("%s stands on floor %d, the highest is 6", name, got)
		}
	}
	if slices.Contains(table["verify"], "provision") || slices.Contains(table["provision"], "verify") {
		t.Error("verify and provision must not know each other")
	}
}

// TestNobodyDoesWhatIsAnothersWork holds the code against the rules.
func TestNobodyDoesWhatIsAnothersWork(t *testing.T) {
	t.Parallel()
	for name, p := range load(t) {
		if strings.HasSuffix(name, "test") { // it is for tests, and no product imports it (see floors)
			continue
		}
		for _, file := range p.Syntax {
			used := imports(file)
			ast.Inspect(file, func(node ast.Node) bool {
				check(t, place{p, name, used}, node)
				return true
			})
		}
	}
}

// imports gives the local name of each imported package.
func imports(file *ast.File) map[string]string {
	used := map[string]string{}
	for _, spec := range file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		local := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		used[local] = path
	}
	return used
}

// place is where a node of the code stands.
type place struct {
	*packages.Package
	name string            // of the package, in this module
	used map[string]string // the imports of its file
}

func check(t *testing.T, p place, node ast.Node) {
	t.Helper()
	var path, selected string
	switch n := node.(type) {
	case *ast.ImportSpec:
		path = strings.Trim(n.Path.Value, `"`)
	case *ast.SelectorExpr:
		if local, ok := n.X.(*ast.Ident); ok && local.Obj == nil {
			path, selected = p.used[local.Name], n.Sel.Name
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "InsecureSkipVerify" {
			t.Errorf("%s: InsecureSkipVerify: no connection goes unverified", p.Fset.Position(n.Pos()))
		}
	case *ast.FuncDecl:
		if n.Recv == nil && n.Name.Name == "init" {
			t.Errorf("%s: func init: nothing happens before main", p.Fset.Position(n.Pos()))
		}
	case *ast.CallExpr:
		if callee, ok := n.Fun.(*ast.Ident); ok && callee.Name == "panic" {
			t.Errorf("%s: panic: give an error", p.Fset.Position(n.Pos()))
		}
	}
	for _, r := range rules() {
		if path != "" && r.path == path && r.name == selected && !slices.Contains(r.allowed, p.name) {
			t.Errorf("%s: %s must not use %s %s: %s", p.Fset.Position(node.Pos()), p.name, r.path, r.name, r.why)
		}
	}
}
