package exttest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/cmd/service"
	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/pgtest"
)

// apiEnv makes this test binary the API, which a test can then kill.
const apiEnv = "HV_TEST_API"

// serveAPI is the API until its standard input ends, which it does with the test. It prints its address.
func serveAPI() int {
	cfg, _, err := config.Load(os.Environ)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	svc, err := service.Open(context.Background(), cfg, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("http://" + svc.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, svc.Run(context.Background()))
	return 1
}

// apiProcess is an API in a process of its own.
type apiProcess struct {
	cmd *exec.Cmd
	log bytes.Buffer
	url string
}

// startAPI returns when the API listens. It need not be ready.
func startAPI(t testing.TB, env []string) *apiProcess {
	t.Helper()
	p := &apiProcess{cmd: exec.Command("/proc/self/exe")}
	// Of two entries of one name the first counts, as everywhere in the harness; in Cmd.Env the last one does.
	p.cmd.Env = append(slices.Clone(env), apiEnv+"=1")
	slices.Reverse(p.cmd.Env)
	p.cmd.Stderr = &p.log
	out, err := p.cmd.StdoutPipe()
	pgtest.Must(t, err)
	_, err = p.cmd.StdinPipe()
	pgtest.Must(t, err)
	pgtest.Must(t, p.cmd.Start())
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of the API:\n%s", tail(p.log.String(), 40))
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the API does not start: %v: %s", err, p.log.String())
	}
	p.url = strings.TrimSpace(line)
	return p
}

// kill ends the API by SIGKILL. It may be called twice.
func (p *apiProcess) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// ready returns when the API answers that it is.
func (p *apiProcess) ready(t testing.TB) {
	t.Helper()
	pgtest.Eventually(t, "the API is ready", func() bool {
		resp, err := http.Get(p.url + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// errUnacknowledged is a change of which the client was not told that it was made.
var errUnacknowledged = errors.New("not acknowledged")

// attempt sends a change. Its error is one of the connection, or an answer that acknowledges nothing.
func (p *apiProcess) attempt(ctx context.Context, token, method, path, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("If-Match", "*")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		answer, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%w: %d %s", errUnacknowledged, resp.StatusCode, answer)
	}
	return nil
}
