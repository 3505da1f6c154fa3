package kms

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// recoveryVectorsJSON is frozen: what was wrapped twice must always open with the recovery key, for that is when there
// is nothing else.
//
//go:embed testdata/recovery_v1.json
var recoveryVectorsJSON []byte

type recoveryVectors struct {
	Note     string            `json:"note"`
	Identity string            `json:"identity"`
	Master   string            `json:"master"` // of the first wrapping
	KeyID    string            `json:"key_id"`
	DEK      string            `json:"dek"`
	Context  map[string]string `json:"context"`
	Vectors  []recoveryVector  `json:"vectors"`
}

type recoveryVector struct {
	Name     string `json:"name"`
	Expect   string `json:"expect"`    // "ok" or the error's code, with the recovery key
	ByMaster string `json:"by_master"` // the same, of an ordinary read
	Wrapped  string `json:"wrapped"`
}

func TestRecoveryVectors(t *testing.T) {
	var all recoveryVectors
	if err := json.Unmarshal(recoveryVectorsJSON, &all); err != nil || len(all.Vectors) < 8 {
		t.Fatalf("%d vectors, %v", len(all.Vectors), err)
	}
	r, err := NewRecoverer([]byte(all.Identity + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	ordinary := mustRecovery(t, mustLocal(t, unhex(t, all.Master)), "")
	for _, v := range all.Vectors {
		for expect, k := range map[*string]vault.Keeper{&v.Expect: r, &v.ByMaster: ordinary} {
			t.Run(v.Name, func(t *testing.T) {
				got, err := k.Unwrap(t.Context(), vault.WrappedKey{KeyID: all.KeyID, Wrapped: unhex(t, v.Wrapped)}, all.Context)
				switch {
				case *expect == "ok" && (err != nil || !bytes.Equal(got, unhex(t, all.DEK))):
					t.Errorf("%T: %d bytes, %v", k, len(got), err)
				case *expect != "ok" && (core.CodeOf(err) != core.Code(*expect) || got != nil):
					t.Errorf("%T: %d bytes, %v, want %s", k, len(got), err, *expect)
				}
			})
		}
	}
}
