package core_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/hyperiondb/hyperion-vault"

// source is what the import rules need to know of one Go file.
type source struct {
	path    string   // from the module's root, with slashes
	imports []string // import paths
	uses    []string // "path.Name" of every name used from an import
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// in reports whether the file lies in one of the directories or below.
func (s source) in(directories ...string) bool {
	return slices.ContainsFunc(directories, func(f string) bool { return under(s.path, f) })
}

// under reports whether the slash-separated path p is base or below it.
func under(p, base string) bool { return p == base || strings.HasPrefix(p, base+"/") }

func underAny(p string, bases ...string) bool {
	return slices.ContainsFunc(bases, func(b string) bool { return under(p, b) })
}

func isStd(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

// environmentReaders are the ways to read the environment.
var environmentReaders = []string{
	"os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "syscall.Getenv", "syscall.Environ",
}

// apiPeers meet in api/vault and never import each other.
var apiPeers = []string{"api/httpapi", "api/store", "api/kms", "api/rotator", "api/rewrap", "api/agent", "api/audit", "api/certificate", "api/login", "api/vaultapi", "api/console"}

// testDirectories hold what only tests, and bench, use.
var testDirectories = []string{module + "/api/pgtest", module + "/api/vaulttest", module + "/api/vault/doortest", module + "/api/kms/kmstest", module + "/bench"}

// violations returns what in files breaks the import rules.
func violations(files []source) []string {
	var found []string
	for _, f := range files {
		if f.test() {
			continue // rules are about the product; tests may use anything
		}
		for _, imp := range f.imports {
			if why := importProblem(f, imp); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", f.path, imp, why))
			}
		}
		for _, use := range f.uses {
			if why := useProblem(f, use); why != "" {
				found = append(found, fmt.Sprintf("%s uses %s: %s", f.path, use, why))
			}
		}
	}
	return found
}

// importProblem returns why f may not import imp, or "". bench is no part of
// the product: it measures gin and pgx bare, beside the product, so it may import
// both.
func importProblem(f source, imp string) string {
	switch {
	case f.in("core"):
		if why := coreProblem(f, imp); why != "" {
			return why
		}
	case f.in("extension/golib"):
		if why := golibProblem(imp); why != "" {
			return why
		}
	case imp == "C":
		return "cgo only in extension/golib"
	}
	if why := peerProblem(f, imp); why != "" {
		return why
	}
	if why := clientProblem(f, imp); why != "" {
		return why
	}
	switch {
	case underAny(imp, testDirectories...) && !f.in("api/vaulttest", "bench"):
		return "the product uses no part of its tests"
	case f.in("api/pgtest") && under(imp, module):
		return "api/pgtest imports nothing of the module, so that every test can use it"
	case imp == "testing" && !f.in("api/pgtest", "api/vaulttest", "client/clienttest"):
		return "testing only in api/pgtest, api/vaulttest, client/clienttest and tests"
	case underAny(imp, "github.com/gin-gonic", "github.com/gin-contrib") && !f.in("api/httpapi", "bench"):
		return "gin only in api/httpapi"
	case underAny(imp, "github.com/jackc") && !f.in("api/store", "api/pgcluster", "api/migrate/supabase", "api/pgtest", "api/vaulttest", "bench"):
		return "pgx only in api/store, api/pgcluster, api/migrate/supabase and the harness of tests"
	case f.in("api/exchange", "api/jsonscan") && under(imp, module+"/api") && imp != module+"/api/vault":
		return "transports share it, so it knows none of them"
	case f.in("api/pgcluster", "api/backoff") && under(imp, module+"/api") && !under(imp, module+"/api/backoff"):
		return "it knows nothing of secrets"
	case underAny(imp, "github.com/coreos/go-oidc", "github.com/go-jose") && !f.in("api/login"):
		return "OpenID only in api/login"
	case underAny(imp, "filippo.io/age") && !f.in("api/kms", "api/migrate"):
		return "age only in api/kms and api/migrate"
	case underAny(imp, "github.com/aws") && !f.in("api/kms"):
		return "aws only in api/kms"
	case underAny(imp, "github.com/prometheus") && !f.in("api/metric"):
		return "prometheus only in api/metric"
	case underAny(imp, "github.com/coreos/go-systemd") && !f.in("api/cmd"):
		return "systemd only in api/cmd"
	case underAny(imp, "github.com/caarlos0/env") && !f.in("api/config"):
		return "only api/config and cmd read the environment"
	}
	return ""
}

func coreProblem(f source, imp string) string {
	directory := path.Dir(f.path)
	switch {
	case underAny(imp, "os", "net/http", "database/sql", "log/syslog", "syscall", "testing"), imp == "log", imp == "net", imp == "C", imp == "unsafe":
		return "core computes only"
	case imp == "log/slog" && directory != "core/token":
		return "core logs nothing; only core/token needs slog.LogValuer"
	case under(imp, "crypto/rand") && directory != "core/envelope":
		return "crypto/rand only in core/envelope"
	case directory == "core" && under(imp, module):
		return "the root of core imports none of its directories"
	case under(imp, module) && !under(imp, module+"/core"):
		return "core imports nothing else of the module"
	case !isStd(imp) && !underAny(imp, module, "golang.org/x/crypto"):
		return "core uses the standard library and x/crypto only"
	}
	return ""
}

func golibProblem(imp string) string {
	switch {
	case underAny(imp, "os", "net/http", "database/sql", "log", "syscall"), imp == "net":
		return "golib computes only"
	case imp == "C" || isStd(imp) || under(imp, module+"/core"):
		return ""
	}
	return "golib imports core, C and the standard library only"
}

// clientProblem keeps the client small for the programs that import it, and both it and its command outside the server.
func clientProblem(f source, imp string) string {
	switch {
	case under(imp, module+"/client/clienttest"):
		return "the product uses no part of its tests"
	case f.in("client/cmd"):
		if under(imp, module) && !underAny(imp, module+"/client", module+"/api/cmd/migration") {
			return "the command uses the client, and the commands that it shares, and nothing else of the module"
		}
	case f.in("api/cmd/migration") && under(imp, module) && !underAny(imp, module+"/core", module+"/api/migrate", module+"/api/progress"),
		f.in("api/cmd/migration") && under(imp, module+"/api/migrate/supabase"):
		return "the command line has it too, which knows no server and no database"
	case f.in("client") && !isStd(imp) && imp != module+"/client":
		return "the client uses the standard library only"
	case f.in("hvsql") && !isStd(imp) && imp != module+"/client":
		return "hvsql imports no driver: it uses the standard library and the client"
	}
	return ""
}

func peerProblem(f source, imp string) string {
	for _, p := range apiPeers {
		if under(imp, module+"/"+p) && !f.in(p) && f.in(apiPeers...) {
			return "the directories of api meet in api/vault"
		}
	}
	return ""
}

func useProblem(f source, use string) string {
	switch {
	case f.in("core") && slices.Contains([]string{"time.Now", "time.Since", "time.Until"}, use):
		return "core has no clock"
	case slices.Contains(environmentReaders, use) && !f.in("api/config", "api/cmd", "api/pgtest", "client/cmd"):
		return "only api/config and cmd read the environment"
	}
	return ""
}

func TestImportRules(t *testing.T) {
	files := readSources(t, moduleRoot(t))
	product := 0
	for _, f := range files {
		if f.in("core") && !f.test() {
			product++
		}
	}
	if product < 10 {
		t.Fatalf("saw %d files of core, want at least 10: the walk is broken", product)
	}
	for _, v := range violations(files) {
		t.Error(v)
	}
}

// What a package imports may import something else: no module but x/crypto and
// what it needs may get into a backend that way.
func TestImportRulesOfDependencies(t *testing.T) {
	root := moduleRoot(t)
	for _, directory := range []string{"core", "extension/golib"} {
		t.Run(directory, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(root, directory)); err != nil {
				t.Skipf("no directory %s yet", directory)
			}
			deps := listDeps(t, root, "./"+directory+"/...")
			if len(deps) == 0 {
				t.Fatal("go list found no dependency")
			}
			for _, v := range depViolations(deps) {
				t.Error(v)
			}
		})
	}
}

// What the command shares with the program of the server must not bring the server along.
func TestImportRulesOfTheCommand(t *testing.T) {
	deps := listDeps(t, moduleRoot(t), "./client/cmd/hyperion-vault")
	if !slices.Contains(deps, module+"/api/migrate") {
		t.Fatalf("%d dependencies, and the shared commands are not among them", len(deps))
	}
	for _, d := range deps {
		if underAny(d, "github.com/jackc", "github.com/gin-gonic", "github.com/aws", "github.com/prometheus", "github.com/coreos", module+"/api/vault", module+"/api/config") {
			t.Errorf("depends on %s", d)
		}
	}
}

func depViolations(deps []string) []string {
	var found []string
	for _, d := range deps {
		if !isStd(d) && !underAny(d, module+"/core", module+"/extension/golib", "golang.org/x/crypto", "golang.org/x/sys/cpu") {
			found = append(found, "depends on "+d)
		}
	}
	return found
}

// The checker is only worth something if it finds what it is there to find.
func TestImportRulesFind(t *testing.T) {
	file := func(p string, imports ...string) source { return source{path: p, imports: imports} }
	use := func(p string, uses ...string) source { return source{path: p, uses: uses} }
	broken := []source{
		file("core/name.go", "os"),
		file("core/name.go", "os/exec"),
		file("core/name.go", "net/http"),
		file("core/name.go", "net"),
		file("core/name.go", "database/sql"),
		file("core/name.go", "log"),
		file("core/name.go", "log/slog"),
		file("core/name.go", "C"),
		file("core/name.go", "unsafe"),
		file("core/name.go", "testing"),
		file("core/name.go", "github.com/jackc/pgx/v5"),
		file("core/name.go", "github.com/gin-gonic/gin"),
		file("core/name.go", "github.com/aws/aws-sdk-go-v2/service/kms"),
		file("core/name.go", "golang.org/x/sys/unix"),
		file("core/name.go", module+"/core/envelope"),
		file("core/frame/frame.go", module+"/api/vault"),
		file("core/generate/generate.go", "crypto/rand"),
		file("core/generate/generate.go", "log/slog"),
		use("core/rotation/rotation.go", "time.Now"),
		use("core/rotation/rotation.go", "time.Since"),
		file("extension/golib/main.go", "os"),
		file("extension/golib/main.go", "net"),
		file("extension/golib/main.go", "github.com/google/go-cmp/cmp"),
		file("extension/golib/main.go", module+"/api/agent"),
		file("api/store/store.go", module+"/api/kms"),
		file("api/kms/local/local.go", module+"/api/audit"),
		file("api/httpapi/server.go", module+"/api/store"),
		file("api/httpapi/server.go", module+"/api/vaultapi"),
		file("api/vaultapi/api.go", module+"/api/httpapi"),
		file("api/vaultapi/api.go", "github.com/gin-gonic/gin"),
		file("api/exchange/exchange.go", module+"/api/httpapi"),
		file("api/agent/agent.go", module+"/api/audit"),
		file("api/vault/vault.go", "github.com/gin-gonic/gin"),
		file("api/httpapi/server.go", "github.com/jackc/pgx/v5/pgconn"),
		file("api/cmd/hyperion-vault-api/main.go", "github.com/jackc/pgx/v5/pgxpool"),
		file("api/store/store.go", "github.com/aws/aws-sdk-go-v2/aws"),
		file("api/httpapi/server.go", "github.com/go-jose/go-jose/v4"),
		file("api/vault/login.go", "github.com/coreos/go-oidc/v3/oidc"),
		file("api/login/jwt.go", module+"/api/store"),
		file("api/store/store.go", "testing"),
		file("api/store/store.go", module+"/api/vaulttest"),
		file("api/store/store.go", module+"/api/pgtest"),
		file("api/pgtest/db.go", module+"/api/config"),
		file("api/cmd/hyperion-vault-api/main.go", module+"/bench"),
		file("api/agent/agent.go", module+"/api/vault/doortest"),
		file("bench/main.go", "github.com/aws/aws-sdk-go-v2/aws"),
		file("api/pgcluster/pool.go", module+"/api/vault"),
		file("api/pgcluster/pool.go", module+"/api/store"),
		file("client/client.go", module+"/core"),
		file("client/client.go", "golang.org/x/sys/unix"),
		file("client/client.go", "testing"),
		file("client/cmd/hyperion-vault/main.go", module+"/api/vault"),
		file("client/cmd/hyperion-vault/main.go", module+"/client/clienttest"),
		file("client/cmd/hyperion-vault/main.go", module+"/api/migrate"),
		file("api/cmd/migration/import.go", module+"/api/migrate/supabase"),
		file("api/cmd/migration/import.go", module+"/api/config"),
		use("client/config.go", "os.Getenv"),
		file("hvsql/lease.go", "github.com/jackc/pgx/v5"),
		file("hvsql/lease.go", module+"/client/clienttest"),
		file("hvsql/lease.go", module+"/core"),
		use("hvsql/follower.go", "os.Getenv"),
		file("api/store/store.go", "C"),
		file("api/store/store.go", "github.com/caarlos0/env/v11"),
		use("api/store/store.go", "os.Getenv"),
		use("extension/golib/main.go", "os.LookupEnv"),
		use("core/name.go", "syscall.Getenv"),
	}
	for _, f := range broken {
		if n := len(violations([]source{f})); n != 1 {
			t.Errorf("%s with %v%v: %d violations, want 1", f.path, f.imports, f.uses, n)
		}
	}
	fine := []source{
		file("core/name.go", "strings", "context", "net/netip", "mime", "encoding/json"),
		file("core/envelope/envelope.go", "crypto/rand", "golang.org/x/crypto/chacha20poly1305", module+"/core"),
		file("core/token/token.go", "log/slog"),
		file("core/name_test.go", "os", "testing", "math/rand/v2"),
		file("extension/golib/main.go", "C", "unsafe", "runtime/debug", module+"/core/frame"),
		file("api/store/store.go", "github.com/jackc/pgx/v5", module+"/api/vault", module+"/core"),
		file("api/pgtest/db.go", "testing", "os", "github.com/jackc/pgx/v5"),
		use("api/pgtest/env.go", "os.Getenv"),
		file("api/vaulttest/db.go", module+"/api/pgtest"),
		file("api/store/config.go", module+"/api/pgcluster"),
		file("api/vaultapi/api.go", "net/http", module+"/api/exchange", module+"/api/vault"),
		file("api/pgcluster/pool.go", "github.com/jackc/pgx/v5", module+"/api/backoff", module+"/core"),
		file("api/vaulttest/db.go", "testing", "os", "github.com/jackc/pgx/v5", module+"/api/store"),
		file("api/cmd/hyperion-vault-api/main.go", "os", module+"/api/store", module+"/api/httpapi"),
		use("api/cmd/hyperion-vault-api/main.go", "os.Environ"),
		use("api/config/config.go", "os.LookupEnv"),
		file("bench/gin.go", "github.com/gin-gonic/gin", "github.com/jackc/pgx/v5", module+"/api/vaulttest"),
		use("api/audit/journal.go", "time.Now"),
		file("client/client.go", "net/http", "crypto/tls"),
		file("client/clienttest/server.go", "testing", module+"/client"),
		file("client/cmd/hyperion-vault/main.go", "os", "github.com/spf13/cobra", module+"/client"),
		use("client/cmd/hyperion-vault/main.go", "os.Environ"),
		file("client/cmd/hyperion-vault/move.go", module+"/api/cmd/migration"),
		file("api/cmd/migration/import.go", "os", module+"/api/migrate", module+"/api/progress", module+"/core/envelope"),
		file("hvsql/lease.go", "database/sql/driver", module+"/client"),
		file("hvsql/example_test.go", "testing", "github.com/jackc/pgx/v5"),
	}
	for _, v := range violations(fine) {
		t.Errorf("false alarm: %s", v)
	}
	if got := depViolations([]string{"fmt", "github.com/jackc/pgx/v5", module + "/api/vault", "golang.org/x/crypto/chacha20"}); len(got) != 2 {
		t.Errorf("dependencies: %d violations %v, want 2", len(got), got)
	}
}

// A name is found whatever the import is called in the file.
func TestImportRulesSeeRenamedImports(t *testing.T) {
	src := "package x\nimport (\n clock \"time\"\n \"os\"\n)\nvar _ = clock.Now\nfunc f(os struct{}) { _ = os }\nvar _ = os.Getenv(\"A\")\n"
	f, err := parseSource("core/x.go", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"time.Now", "os.Getenv"} {
		if !slices.Contains(f.uses, want) {
			t.Errorf("uses %v lack %s", f.uses, want)
		}
	}
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no go.mod above the test")
	return ""
}

func readSources(t *testing.T, root string) []source {
	t.Helper()
	var files []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) || os.IsPermission(err) {
				return nil // another test's temporary directory
			}
			return err
		}
		name := d.Name()
		if d.IsDir() && p != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "vendor" || name == "node_modules") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f, err := parseSource(filepath.ToSlash(rel), text)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func parseSource(name string, text []byte) (source, error) {
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{path: name}
	paths := map[string]string{} // local name → import path
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, imp)
		local := path.Base(imp)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		paths[local] = imp
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && paths[x.Name] != "" {
				s.uses = append(s.uses, paths[x.Name]+"."+sel.Sel.Name)
			}
		}
		return true
	})
	return s, nil
}

func listDeps(t *testing.T, root, pattern string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath", pattern)
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pattern, err)
	}
	var deps []string
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var p struct{ ImportPath string }
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		deps = append(deps, p.ImportPath)
	}
	return deps
}
