package service

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestConsole: the process serves the console on its own listener, over TLS with the certificate of the API, and neither
// listener serves what the other does.
func TestConsole(t *testing.T) {
	s := serveTLS(t, "VAULT_CONSOLE_LISTEN=127.0.0.1:0,http://127.0.0.1:0")
	c := s.client(nil)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	fetch := func(url string) (*http.Response, string) {
		t.Helper()
		resp, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	url := s.ConsoleURL()
	resp, body := fetch(url + "/login")
	if !strings.HasPrefix(url, "https://") || resp.StatusCode != http.StatusOK || !strings.Contains(body, "<h1>Log in</h1>") || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s: %d %v %s", url, resp.StatusCode, resp.Header, body)
	}
	if resp, _ := fetch(url + "/"); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/login" {
		t.Errorf("without a session: %d", resp.StatusCode)
	}
	if resp, _ := fetch("http://" + s.consoleLns[1].Addr().String() + "/login"); resp.StatusCode != http.StatusOK || resp.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("on plain loopback: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := fetch(url + "/v1/secrets"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("REST at the console: %d", resp.StatusCode)
	}
	if resp, _ := fetch(s.Addrs()[0] + "/login"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the console at REST: %d", resp.StatusCode)
	}
}

func TestConsoleIsOff(t *testing.T) {
	if s := servePlain(t); s.console != nil || s.ConsoleURL() != "" {
		t.Error("the console is served without a setting")
	}
}
