package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/client/clienttest"
)

// process is a call of the command, on a terminal or not.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan error

	mu   sync.Mutex
	text bytes.Buffer // what it printed, both outputs
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// command is this test program as the command.
func command(t *testing.T, s *clienttest.Server, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), "hyperion-vault", args...)
	home := t.TempDir()
	c.Env = append(os.Environ(), "VAULT_ADDR="+s.URL, "VAULT_TOKEN="+s.Token, "HOME="+home, "TERM=xterm", "NO_COLOR=", "VAULT_MAX_RETRIES=0")
	c.Dir = home
	return c
}

// onTerminal starts the command with a terminal as its input and outputs.
func onTerminal(t *testing.T, s *clienttest.Server, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: command(t, s, args...), done: make(chan error, 1)}
	terminal, err := pty.Start(p.cmd)
	if err != nil {
		t.Fatal(err)
	}
	p.in = terminal
	go func() {
		_, _ = io.Copy(p, terminal) // until the last process has closed it
		p.done <- p.cmd.Wait()
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = terminal.Close() })
	return p
}

// piped starts the command without a terminal.
func piped(t *testing.T, s *clienttest.Server, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: command(t, s, args...), done: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

func (p *process) await(want string) {
	p.t.Helper()
	p.awaitCount(want, 1)
}

func (p *process) awaitCount(want string, n int) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); strings.Count(p.output(), want) < n; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("no %q %d times in:\n%s", want, n, p.output())
		}
	}
}

func (p *process) enter(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end and wants an exit code.
func (p *process) exit(code int) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("it does not end:\n%s", p.output())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("exit code %d, want %d:\n%s", got, code, p.output())
	}
}

func TestPromptHidesTheValue(t *testing.T) {
	s := clienttest.NewServer(t)
	p := onTerminal(t, s, "put", "db/password")
	p.await("Value of db/password: ")
	p.enter("correct-horse")
	p.await("again: ")
	p.enter("correct-horse")
	p.exit(0)
	if v, _ := s.Value("db/password"); v != "correct-horse" || strings.Contains(p.output(), "horse") {
		t.Errorf("%q was stored; the terminal shows:\n%s", v, p.output())
	}
	p = onTerminal(t, s, "put", "db/password")
	p.await("Value of db/password: ")
	p.enter("one")
	p.await("again: ")
	p.enter("two")
	p.exit(exitUsage)
	p.await("differ")
	p = onTerminal(t, s, "verify", "db/password")
	p.await("Candidate for db/password: ")
	p.enter("correct-horse")
	p.exit(0)
}

func TestDeletionAsks(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Put("a", "value")
	p := onTerminal(t, s, "rm", "a")
	p.await("Type yes to go on: ")
	p.enter("y")
	p.exit(exitUsage)
	if _, ok := s.Value("a"); !ok {
		t.Fatal("it was deleted")
	}
	p = onTerminal(t, s, "rm", "a")
	p.await("Type yes to go on: ")
	p.enter("yes")
	p.exit(0)
	if _, ok := s.Value("a"); ok {
		t.Error("it was not deleted")
	}
}

// Heads, colours and line breaks behind a value are for terminals.
func TestTerminalOutput(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Put("a/b", "value")
	p := onTerminal(t, s, "ls", "-l")
	p.exit(0)
	if out := p.output(); !strings.Contains(out, "\x1b[1mVERSION  KIND") || !strings.Contains(out, "a/b\r\n") {
		t.Errorf("%q", out)
	}
	p = onTerminal(t, s, "get", "a/b")
	p.exit(0)
	if out := p.output(); out != "value\r\n" {
		t.Errorf("%q", out)
	}
	p = piped(t, s, "ls", "-l")
	p.exit(0)
	if out := p.output(); strings.Contains(out, "\x1b") || strings.Contains(out, "VERSION") || !strings.Contains(out, "1\tmanual\t") {
		t.Errorf("%q", out)
	}
	p = piped(t, s, "get", "a/b")
	p.exit(0)
	if out := p.output(); out != "value" {
		t.Errorf("%q", out)
	}
}

func TestInterruptEndsAPrompt(t *testing.T) {
	s := clienttest.NewServer(t)
	p := onTerminal(t, s, "exec", "-e", "A=a", "--", "sh", "-c", "echo ready; read x; echo got $x")
	p.exit(exitFailed) // there is no such secret
	s.Put("a", "value")
	p = onTerminal(t, s, "exec", "--mask", "-e", "A=a", "--", "sh", "-c", "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done")
	p.await("ready")
	p.enter("\x03")
	p.exit(9)
	if n := strings.Count(p.output(), "interrupted"); n != 1 {
		t.Errorf("%d interrupts:\n%s", n, p.output())
	}
}

const child = `trap 'echo "stopped $DB"; exit 0' TERM; trap 'echo "reloaded $(cat $KEY)"' HUP; echo "started $DB $(cat $KEY)"; while :; do sleep 0.02; done`

func TestWatchStartsAgain(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Put("db/password", "first")
	s.Put("db/key", "key1")
	s.Put("other", "x")
	p := piped(t, s, "exec", "--watch", "-e", "DB=db/password", "--file", "KEY=db/key", "--", "sh", "-c", child)
	p.await("started first key1")
	s.Put("db/password", "second")
	p.await("started second key1") // long before a stream that is silent would be opened again
	p.await("stopped first")
	s.Put("other", "y")
	s.Put("db/key", "key2")
	p.await("started second key2")
	// An outage changes nothing, and what changed during it is found afterwards.
	s.SetDown(true)
	s.Put("db/password", "third")
	s.SetDown(false)
	p.await("started third key2")
	s.Remove("db/key")
	p.await("cannot be read")
	if n := strings.Count(p.output(), "started"); n != 4 {
		t.Errorf("started %d times:\n%s", n, p.output())
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil { // no trap: the shell ends by it
		t.Fatal(err)
	}
	p.exit(130)
}

func TestWatchSignals(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Put("db/key", "key1")
	p := piped(t, s, "exec", "--watch", "--signal", "hup", "--file", "KEY=db/key", "--", "sh", "-c", child)
	p.await("started  key1")
	s.Put("db/key", "key2")
	p.await("reloaded key2")
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		if left, _ := filepath.Glob(filepath.Join(dir, "hyperion-vault-*", "*.new")); dir != "" && len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.await("stopped")
	p.exit(0)
}

// A token that ends does not end the program, and is reported.
func TestWatchReportsWhatItLost(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Put("a", "x")
	p := piped(t, s, "exec", "--watch", "-e", "A=a", "--", "sh", "-c", "echo started; while :; do sleep 0.05; done")
	p.await("started")
	s.ChangeToken("hvt_other")
	s.SetDown(true)
	s.SetDown(false)
	p.await("can no longer be followed")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.exit(143)
}

// A refused stream of events stops the program from being started.
func TestWatchRefused(t *testing.T) {
	s := clienttest.NewServer(t)
	s.Put("a", "x")
	c := command(t, s, "exec", "--watch", "-e", "A=a", "--", "echo", "ran")
	c.Env = append(c.Env, "VAULT_TOKEN=hvt_other")
	out, err := c.CombinedOutput()
	if err == nil || strings.Contains(string(out), "ran") || c.ProcessState.ExitCode() != exitFailed {
		t.Errorf("%v %s", err, out)
	}
}

func TestMasker(t *testing.T) {
	for _, test := range []struct {
		secrets, writes string // separated by |
		want            string
	}{
		{"correct-horse", "a correct-horse b", "a *** b"},
		{"correct-horse", "a correct|-horse b", "a *** b"},
		{"correct-horse", "c|o|r|r|e|c|t|-|h|o|r|s|e", "***"},
		{"correct-horse", "a correct", "a ***"},
		{"correct-horse", "a cor", "a cor"},
		{"correct-horse", "correct-mule", "correct-mule"},
		{"secret|secret-longer", "secret-longer secret", "*** ***"},
		{"secret|secret-longer", "secret-long", "***"},
		{"aaab", "aaaab", "a***"},
		{"abc", "abc", "abc"},
		{"correct-horse", "Y29ycmVjdC1ob3JzZQ==", "***"},
		{"line number one\nline number two\n", "x line number two y", "x *** y"},
	} {
		var out bytes.Buffer
		var secrets [][]byte
		for s := range strings.SplitSeq(test.secrets, "|") {
			secrets = append(secrets, []byte(s))
		}
		m := newMasker(&out, secrets)
		for w := range strings.SplitSeq(test.writes, "|") {
			if n, err := m.Write([]byte(w)); err != nil || n != len(w) {
				t.Fatal(n, err)
			}
		}
		if err := m.flush(); err != nil || out.String() != test.want {
			t.Errorf("%q of %q: %q, want %q", test.writes, test.secrets, out.String(), test.want)
		}
	}
}

func TestYAML(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1,"no":"yes","b":{"c":[1,{"d":"e:f"}],"g":[]},"h":null}`: "a: 1\n\"no\": \"yes\"\nb:\n  c:\n    - 1\n    - d: \"e:f\"\n  g: []\nh: null\n",
		`{"tags":{"team":"a"},"s":"x\ny"}`:                             "tags:\n  team: \"a\"\ns: \"x\\ny\"\n",
		`[{"a":1,"b":2},[]]`:                                           "- a: 1\n  b: 2\n- []\n",
	} {
		var out bytes.Buffer
		writeYAML(&out, []byte(in), 0)
		if out.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", in, out.String(), want)
		}
	}
}

func TestSegmentsJumpOverWhatIsBelow(t *testing.T) {
	s := clienttest.NewServer(t)
	for _, name := range []string{"app/a/1", "app/a/2", "app/a/3", "app/b", "app.x", "b/c/d", "zz"} {
		s.Put(name, "x")
	}
	c := s.Client(t)
	for typed, want := range map[string]string{
		"": "app.x app/ b/ zz", "a": "app.x app/", "app/": "app/a/ app/b", "app/a": "app/a/", "app/a/": "app/a/1 app/a/2 app/a/3", "b/c/d": "b/c/d", "c": "", "zzz": "",
	} {
		if got := strings.Join(segments(context.Background(), c, typed), " "); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
	before := s.Requests("GET /v1/secrets")
	segments(context.Background(), c, "")
	if n := s.Requests("GET /v1/secrets") - before; n > 6 {
		t.Errorf("%d requests", n)
	}
}

// A terminal gets a bar with the number of names in place of a line for each.
func TestExportShowsABar(t *testing.T) {
	s := vaulttest.NewServer(t, vaulttest.NewDB(t))
	for _, name := range []string{"a", "b", "c"} {
		s.MustCreate(t, name, "canary")
	}
	p := onTerminal(t, &clienttest.Server{URL: s.URL, Token: s.AdminToken}, "export", "--to", "json", "--plaintext", "--file", "all.json")
	p.exit(0)
	out := p.output()
	for _, want := range []string{"exporting", "3/3", "exported: 3 (versions: 3)\r\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if strings.Contains(out, "a: exported") || strings.Contains(out, "canary") {
		t.Errorf("%q", out)
	}
}
