package exttest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// pageOfChild is set in a process that has mounts and a network of its own; it names the document to run.
const pageOfChild = "HV_TEST_PAGE"

// TestDocumentedInstallation runs all blocks of each document that has blocks of shell that say that they are run, as
// they are printed and in their order. It does so in a process for which the machine's directories are copies and
// the network is empty, on a new server, with what the blocks themselves have built and installed.
func TestDocumentedInstallation(t *testing.T) {
	if page := os.Getenv(pageOfChild); page != "" {
		runPage(t, page)
		return
	}
	found := false
	for _, path := range documents(t) {
		if !hasShell(blocksOf(t, path)) {
			continue
		}
		found = true
		t.Run(filepath.Base(path), func(t *testing.T) { runInNamespaces(t, path) })
	}
	if !found {
		t.Error("no document has a block of shell that is run")
	}
}

func hasShell(blocks []block) bool {
	for _, b := range blocks {
		if b.mark == runShell || b.mark == runServer {
			return true
		}
	}
	return false
}

func runInNamespaces(t *testing.T, page string) {
	if os.Geteuid() != 0 {
		t.Skip("it installs into copies of the machine's directories, as root")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no Go to build with: ", err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDocumentedInstallation$", "-test.v")
	cmd.Env = append(os.Environ(), pageOfChild+"="+page)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM):
		t.Skip("no namespaces here: ", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
}

// page is a document that is being run.
type page struct {
	t       *testing.T
	tree    string // the tree of the project, a copy
	env     string // the file with the variables that the blocks have exported
	output  string // the file with what the blocks of shell have printed
	cluster *cluster
}

func runPage(t *testing.T, path string) {
	tree, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(tree, "extension/exttest", path)
	blocks := blocksOf(t, path)
	scratch := t.TempDir()
	copyMachine(t, tree, scratch)
	p := &page{t: t, tree: tree, env: filepath.Join(scratch, "env"), output: filepath.Join(scratch, "output")}
	served := false
	for _, b := range blocks {
		switch {
		case b.mark == runShell:
			p.shell(b.text)
		case b.mark == runServer:
			p.serve(b.text)
			served = true
		case b.mark == runSettings:
			c := p.server()
			check(t, appendTo(filepath.Join(c.Data(), "postgresql.conf"), b.text))
			c.MustStop(t, syscall.SIGINT)
			c.MustStart(t)
		case b.lang == "sql" && !b.skipped():
			runSQL(t, *p.server(), "postgres", b.text)
		}
	}
	if served {
		p.use()
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// server is started with the first block that needs it, after what installs the extension.
func (p *page) server() *cluster {
	if p.cluster == nil {
		c := startCluster(p.t, false, "listen_addresses = '127.0.0.1'")
		c.connect(p.t, "postgres", vaulttest.Superuser).exec("DROP ROLE " + vaulttest.ServiceRole)
		p.cluster = &c
	}
	return p.cluster
}

// bash returns a shell that has what earlier blocks exported, and keeps what this one exports.
func (p *page) bash(text string) *exec.Cmd {
	p.t.Helper()
	out, err := os.OpenFile(p.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	check(p.t, err)
	p.t.Cleanup(func() { _ = out.Close() })
	cmd := exec.CommandContext(p.t.Context(), "bash", "-c", "trap 'export -p >"+p.env+"' EXIT; set -e\n[ ! -e "+p.env+" ] || . "+p.env+"\n"+text)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.tree, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

func (p *page) shell(text string) {
	p.t.Helper()
	if err := p.bash(text).Run(); err != nil {
		p.t.Fatalf("%v of:\n%s\n%s", err, text, p.printed())
	}
}

func (p *page) printed() string {
	b, err := os.ReadFile(p.output)
	check(p.t, err)
	return string(b)
}

// serve starts a block that ends when it is stopped, and returns when the API is ready.
func (p *page) serve(text string) {
	p.t.Helper()
	p.server()
	cmd := p.bash(text)
	check(p.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(pgtest.Patience); time.Now().Before(limit); <-tick.C {
		if status, _ := p.do("GET", "/readyz", "", ""); status == http.StatusOK {
			return
		}
		select {
		case err := <-ended:
			p.t.Fatalf("the API ended with %v:\n%s", err, p.printed())
		default:
		}
	}
	p.t.Fatalf("the API is not ready:\n%s", p.printed())
}

func (p *page) do(method, path, token, body string) (status int, answer string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:8200"+path, strings.NewReader(body))
	check(p.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(p.t, err)
	return resp.StatusCode, string(b)
}

var printedToken = regexp.MustCompile(`hvt_[A-Za-z0-9_-]+`)

// use creates a secret with the token that was printed, and reads it by REST and by SQL.
func (p *page) use() {
	p.t.Helper()
	token := printedToken.FindString(p.printed())
	if status, answer := p.do("POST", "/v1/secrets", token, `{"name":"app/one","kind":"manual","value":"of one"}`); status != http.StatusCreated {
		p.t.Fatalf("create: %d %s", status, answer)
	}
	var read struct{ Value string }
	status, answer := p.do("GET", "/v1/secrets/app/one", "", "")
	if err := json.Unmarshal([]byte(answer), &read); err != nil || read.Value != "of one" {
		p.t.Errorf("REST reads %d %s", status, answer)
	}
	s := p.cluster.connect(p.t, "postgres", vaulttest.Superuser)
	if v := get[string](s, "SELECT vault.read_secret('app/one')"); v != "of one" {
		p.t.Errorf("SQL reads %q", v)
	}
}

// copyMachine puts a layer of this process's own over each directory that a block may write to, and gives it lo.
func copyMachine(t *testing.T, tree, scratch string) {
	t.Helper()
	check(t, syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	layers := filepath.Join(scratch, "layers")
	check(t, os.Mkdir(layers, 0o755))
	check(t, syscall.Mount("tmpfs", layers, "tmpfs", 0, "mode=0755"))
	t.Cleanup(func() { _ = syscall.Unmount(layers, syscall.MNT_DETACH) })
	for i, dir := range append(installDirs(t), "/etc", "/usr/local", "/var", tree) {
		cover(t, dir, filepath.Join(layers, string(rune('a'+i))))
	}
	check(t, syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"))
	check(t, os.Chdir(filepath.Join(tree, "extension/exttest"))) // the copy
	if _, err := exec.LookPath("sudo"); err != nil {
		check(t, os.WriteFile("/usr/local/bin/sudo", []byte(sudo), 0o755))
	}
	check(t, raiseLoopback())
}

// sudo stands in where the machine has none. Like it, it keeps the environment only when it is told to.
const sudo = `#!/bin/bash
user=root keep=
while :; do
	case $1 in
	-u) user=$2; shift 2 ;;
	-E) keep=1; shift ;;
	*) break ;;
	esac
done
[ -n "$keep" ] || exec env -i PATH="$PATH" HOME="$HOME" runuser -u "$user" -- "$@"
exec runuser -u "$user" -- "$@"
`

func installDirs(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command(pgtest.LoadEnv().PGConfig, "--pkglibdir", "--sharedir").Output()
	check(t, err)
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// cover lays a file system over dir that shows what is there and takes what is written.
func cover(t *testing.T, dir, layer string) {
	t.Helper()
	upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
	check(t, errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)))
	err := syscall.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+upper+",workdir="+work)
	if err != nil {
		t.Skipf("no overlay over %s: %v", dir, err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
