package store

import (
	"crypto/rand"
	"net/netip"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func origin(id string) vault.Author {
	return vault.Author{By: vault.Itself(), Origin: vault.Origin{
		Node: "node1", Actor: "token:ops", ClientIP: netip.MustParseAddr("10.0.0.7"), RequestID: id,
	}}
}

func sealedValue() vault.SealedValue {
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		return b
	}
	return vault.SealedValue{
		EnvelopeVersion: 1, Key: vault.WrappedKey{KeyID: "local", Wrapped: random(60)}, Nonce: random(24), Ciphertext: random(40),
	}
}

func newSecret(name string) vault.NewSecret {
	id, _ := core.NewSecretID(rand.Reader)
	return vault.NewSecret{
		ID: id, Name: core.Name(name), Version: 1, Sealed: sealedValue(), Kind: core.Manual, ContentType: core.Text,
		Description: "what", Tags: map[string]string{"team": "core"}, GracePeriodSecs: 60,
	}
}

func code(t *testing.T, err error, want core.Code) {
	t.Helper()
	if got := core.CodeOf(err); got != want {
		t.Fatalf("code %q, want %q: %v", got, want, err)
	}
}

// only drops what a call returns beside its error.
func only[T any](_ T, err error) error { return err }

// audited counts the records of a request.
func (s *server) audited(id string) int {
	s.t.Helper()
	return int(value[int64](s, "SELECT count(*) FROM vault.audit_log WHERE request_id = $1", id))
}

func letters(r rune) rune {
	if r == ' ' || r == ',' {
		return '-'
	}
	return r
}
