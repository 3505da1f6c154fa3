package migration

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// recorder is a server that has nothing, and keeps the headers of what it was asked.
type recorder struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string // with the namespaces
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tokens = append(r.tokens, req.Header.Get("X-Vault-Token")+"|"+req.Header.Get("X-Vault-Namespace"))
		if strings.Contains(req.URL.Path, "/metadata/") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(`{"data":{}}`))
	}))
	t.Cleanup(r.Close)
	return r
}

func tokenFile(t *testing.T, token string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(name, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

var errFailed = errors.New("failed")

// imports calls the command in a program whose vault is own, if that is not nil.
func imports(env []string, own func() (Vault, error), args ...string) error {
	h := Host{
		Environ: func() []string { return env }, Out: &bytes.Buffer{}, ErrOut: &bytes.Buffer{}, FileFlag: "file", Own: own,
		Failed: func(err error) error {
			if err == nil {
				return nil
			}
			return errors.Join(errFailed, err)
		},
	}
	c := h.Import()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(args)
	return c.Execute()
}

// TestForeignServerGetsItsOwnToken: a server that a flag names gets nothing of what the variables say.
func TestForeignServerGetsItsOwnToken(t *testing.T) {
	own, foreign := newRecorder(t), newRecorder(t)
	env := []string{"VAULT_ADDR=" + own.URL, "VAULT_TOKEN=hvt_of_the_variable", "VAULT_NAMESPACE=variable", "VAULT_CACERT=/none"}
	vault := func() (Vault, error) { return Vault{Address: own.URL, Token: "hvt_own"}, nil }
	flags := []string{"--from", "vault", "--source-address", foreign.URL}
	api := append(flags, "--address", own.URL, "--token-file", tokenFile(t, "hvt_own"))
	for _, test := range []struct {
		own  func() (Vault, error)
		args []string
	}{{nil, api}, {vault, flags}} {
		own.tokens, foreign.tokens = nil, nil
		if err := imports(env, test.own, test.args...); err == nil || errors.Is(err, errFailed) || !strings.Contains(err.Error(), "--source-token-file") {
			t.Errorf("without a token: %v", err)
		}
		if len(own.tokens)+len(foreign.tokens) > 0 {
			t.Errorf("a wrong call sends %v %v", own.tokens, foreign.tokens)
		}
		args := append(test.args, "--source-token-file", tokenFile(t, "s.foreign"), "--source-namespace", "flag")
		if err := imports(env, test.own, args...); !errors.Is(err, errFailed) || !strings.Contains(err.Error(), "has nothing at this mount") {
			t.Errorf("%v", err)
		}
		if strings.Join(foreign.tokens, " ") != "s.foreign|flag" || strings.Join(own.tokens, " ") != "hvt_own|" {
			t.Errorf("the source got %v, and the vault %v", foreign.tokens, own.tokens)
		}
	}
	// Without the flag the source is that of the variables, in a program whose vault is named by flags.
	own.tokens, foreign.tokens = nil, nil
	env = []string{"VAULT_ADDR=" + foreign.URL, "VAULT_TOKEN=hvt_of_the_variable", "VAULT_NAMESPACE=variable"}
	err := imports(env, nil, "--from", "vault", "--address", own.URL, "--token-file", tokenFile(t, "hvt_own"))
	if !errors.Is(err, errFailed) || strings.Join(foreign.tokens, " ") != "hvt_of_the_variable|variable" {
		t.Errorf("%v, the source got %v", err, foreign.tokens)
	}
	// In the other program it never is.
	if err := imports(env, vault, "--from", "vault"); err == nil || errors.Is(err, errFailed) {
		t.Errorf("%v", err)
	}
}
