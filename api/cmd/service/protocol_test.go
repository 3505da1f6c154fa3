package service_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/api/config"
	"github.com/hyperiondb/hyperion-vault/api/httpapi"
)

// TestMountIsNoPathOfOurs: a mount with the name of a route would keep the process from starting, with a panic.
func TestMountIsNoPathOfOurs(t *testing.T) {
	refused := func(mount string) bool {
		_, _, err := config.Load(func() []string { return []string{"VAULT_KMS_KEY_ID=k", "VAULT_KV_MOUNT=" + mount} })
		return err != nil
	}
	e, ok := httpapi.New(httpapi.Config{Metrics: http.NotFoundHandler()}).(*gin.Engine)
	if !ok {
		t.Fatal("the handler is not gin's")
	}
	routes := 0
	for _, r := range e.Routes() {
		below, ok := strings.CutPrefix(r.Path, "/v1/")
		if !ok {
			continue
		}
		routes++
		first, _, _ := strings.Cut(below, "/")
		if !refused(first) {
			t.Errorf("VAULT_KV_MOUNT=%s is accepted, and is a path of our own", first)
		}
	}
	if routes < 20 {
		t.Errorf("only %d routes were checked", routes)
	}
	for _, mount := range []string{"sys", "auth", "Secret", "a/b", "-a", strings.Repeat("a", 65)} {
		if !refused(mount) {
			t.Errorf("VAULT_KV_MOUNT=%s is accepted", mount)
		}
	}
	for _, mount := range []string{"secret", "kv", "kv-v2", "off"} {
		if refused(mount) {
			t.Errorf("VAULT_KV_MOUNT=%s is refused", mount)
		}
	}
}
