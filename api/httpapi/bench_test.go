package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/kms"
	"github.com/hyperiondb/hyperion-vault/api/metric"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaultapi"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// oneSecret is a store of one sealed value, and a recorder that forgets.
type oneSecret struct {
	vault.Store
	rows []vault.StoredValue
}

func (s *oneSecret) ReadSealed(context.Context, vault.Credential, core.Name, uint64, vault.Freshness) ([]vault.StoredValue, vault.Identity, error) {
	return s.rows, vault.Identity{Actor: "anonymous"}, nil
}

func (s *oneSecret) Record(context.Context, ...vault.Entry) error { return nil }

func newOneSecret(b *testing.B, keeper vault.Keeper) *oneSecret {
	b.Helper()
	row := vault.StoredValue{
		SecretID: core.SecretID{1}, Name: "bench/one", ContentType: core.Text, Kind: core.Manual, CurrentVersion: 1, Version: 1,
		CreatedAt: time.Now(),
	}
	binding := envelope.Binding{ID: row.SecretID, Name: row.Name, Version: row.Version, ContentType: row.ContentType}
	key, err := keeper.Generate(b.Context(), binding.KMSContext())
	mustBench(b, err)
	sealed, err := envelope.Seal(key.Plain, binding, []byte(strings.Repeat("s", 32)))
	mustBench(b, err)
	row.Sealed = vault.SealedValue{
		EnvelopeVersion: sealed.EnvelopeVersion, Key: key.WrappedKey, Nonce: sealed.Nonce, Ciphertext: sealed.Ciphertext,
	}
	return &oneSecret{rows: []vault.StoredValue{row}}
}

func mustBench(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// discard is an answer that is thrown away.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header              { return d.header }
func (d *discard) WriteHeader(status int)           { d.status = status }
func (d *discard) Write(b []byte) (int, error)      { return len(b), nil }
func (d *discard) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkRead is what a read takes from the header of its request to its answer, without the network, the database and
// the journal.
func BenchmarkRead(b *testing.B) {
	local, err := kms.NewLocal(bytes.Repeat([]byte{1}, envelope.KeySize))
	mustBench(b, err)
	keeper, err := kms.NewCache(local, kms.CacheConfig{TTL: time.Hour})
	mustBench(b, err)
	b.Cleanup(func() { _ = keeper.Close() })
	s := newOneSecret(b, keeper)
	allow, err := allowlist.Parse("127.0.0.1")
	mustBench(b, err)
	v, err := vault.New(vault.Config{Store: s, Keeper: keeper, Recorder: s, Allow: allow, Node: "n", Database: "app"})
	mustBench(b, err)
	h := httpapi.NewServer(httpapi.ServerConfig{Handler: httpapi.New(httpapi.Config{
		Vault: v, Protocol: vaultapi.New(vaultapi.Config{Vault: v}), Log: slog.New(slog.DiscardHandler), Meter: metric.NewRequests(),
	})}).Handler
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /v1/secrets/bench/one HTTP/1.1\r\nHost: 127.0.0.1:8443\r\n\r\n")))
	mustBench(b, err)
	r.RemoteAddr = "127.0.0.1:4711"
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background()) // as net/http has one for each request
		w := &discard{header: http.Header{}}
		h.ServeHTTP(w, r.WithContext(ctx))
		cancel()
		if w.status != http.StatusOK {
			b.Fatal("status", w.status)
		}
	}
}
