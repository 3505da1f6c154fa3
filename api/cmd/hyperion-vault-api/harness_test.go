package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// roleEnv makes this test binary the program itself, with the race detector if the tests have it.
const roleEnv = "HV_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "main":
		main()
	case "harden":
		os.Exit(hardenAndTell())
	}
	goleak.VerifyTestMain(vaulttest.Main(m, vaulttest.Options{}))
}

// hardenAndTell prints what the kernel thinks of this process after harden.
func hardenAndTell() int {
	if err := harden(); err != nil {
		fmt.Println(err)
		return 1
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil {
		fmt.Println(err)
		return 1
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	fmt.Printf("core=%d/%d dumpable=%d,%v umask=%o\n", core.Cur, core.Max, dumpable, err, unix.Umask(0))
	return 0
}

// process is the program running as a child.
type process struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	exited chan struct{}

	mu    sync.Mutex
	lines []string
	grown chan struct{} // closed and replaced with every line
}

func command(role string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	// Here the first entry of a name counts, as everywhere in the harness; in Cmd.Env the last one does.
	cmd.Env = append(slices.Clone(env), roleEnv+"="+role, "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	slices.Reverse(cmd.Env)
	return cmd
}

// launch starts the program; it is killed with the test if it still runs.
func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: command("main", env, args...), exited: make(chan struct{}), grown: make(chan struct{})}
	p.cmd.Stdout = &p.stdout
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.collect(stderr)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%v wrote:\n%s", args, p.log())
		}
	})
	return p
}

func (p *process) collect(r io.Reader) {
	defer close(p.exited)
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, sc.Text())
		close(p.grown)
		p.grown = make(chan struct{})
		p.mu.Unlock()
	}
	_ = p.cmd.Wait()
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// record is a line of the log.
type record map[string]any

func (p *process) records(msg string) (found []record, grown <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		var r record
		if json.Unmarshal([]byte(l), &r) == nil && r["msg"] == msg {
			found = append(found, r)
		}
	}
	return found, p.grown
}

// wait returns the nth line with this message once it is there.
func (p *process) wait(t *testing.T, n int, msg string) record {
	t.Helper()
	timer := time.NewTimer(pgtest.Patience)
	defer timer.Stop()
	for {
		found, grown := p.records(msg)
		if len(found) >= n {
			return found[n-1]
		}
		select {
		case <-grown:
		case <-p.exited:
			if found, _ = p.records(msg); len(found) < n {
				t.Fatalf("exited without %q", msg)
			}
		case <-timer.C:
			t.Fatalf("no %q within %s", msg, pgtest.Patience)
		}
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code, or -1 for a signal.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(pgtest.Patience):
		t.Fatalf("still running after %s", pgtest.Patience)
		return 0
	}
}

// call runs the program to its end.
func call(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := launch(t, env, args...)
	code = p.exit(t)
	return code, p.stdout.String(), p.log()
}

// client keeps no connections, so that no test waits for another's.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: pgtest.Patience}

func do(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	status, answer, err := request(method, url, token, body)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

func request(method, url, token, body string) (int, string, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}
