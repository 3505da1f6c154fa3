package kms

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eachKeeper runs test on every keeper there is, alone and behind a cache: what the door relies on holds for all.
func eachKeeper(t *testing.T, test func(t *testing.T, k vault.Keeper)) {
	t.Helper()
	bare := map[string]func(t *testing.T) vault.Keeper{
		"local": func(t *testing.T) vault.Keeper { return mustLocal(t, testMaster(1)) },
		"aws":   func(t *testing.T) vault.Keeper { k, _ := startAWS(t, 0); return k },
	}
	bare["recovery"] = func(t *testing.T) vault.Keeper {
		return mustRecovery(t, mustLocal(t, testMaster(1)), mustIdentity(t).Recipient().String())
	}
	for name, make := range bare {
		t.Run(name, func(t *testing.T) { test(t, make(t)) })
		t.Run(name+"/cached", func(t *testing.T) { test(t, mustCache(t, make(t), CacheConfig{TTL: time.Hour})) })
		t.Run(name+"/uncached", func(t *testing.T) { test(t, mustCache(t, make(t), CacheConfig{})) })
	}
}

func mustGenerate(t testing.TB, k vault.Keeper, kmsContext map[string]string) vault.DataKey {
	t.Helper()
	key, err := k.Generate(context.Background(), kmsContext)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func mustUnwrap(t testing.TB, k vault.Keeper, key vault.DataKey, kmsContext map[string]string) {
	t.Helper()
	got, err := k.Unwrap(context.Background(), key.WrappedKey, kmsContext)
	if err != nil || !bytes.Equal(got, key.Plain) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	envelope.Wipe(got)
}

// wantErr requires the code, and that no spelling of the key or of the wrapped key is in the text.
func wantErr(t testing.TB, err error, code core.Code, key vault.DataKey) {
	t.Helper()
	if core.CodeOf(err) != code {
		t.Fatalf("got %v (%s), want %s", err, core.CodeOf(err), code)
	}
	for _, secret := range [][]byte{key.Plain, key.Wrapped, []byte(kmstest.SecretAccessKey), []byte(kmstest.SessionToken)} {
		if len(secret) == 0 {
			continue
		}
		for _, text := range []string{string(secret), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret)} {
			if strings.Contains(err.Error(), text) {
				t.Fatalf("the error holds a secret: %v", err)
			}
		}
	}
	for _, hidden := range []string{"arn:aws", "http://", "127.0.0.1"} {
		if strings.Contains(core.MessageOf(err), hidden) {
			t.Errorf("a client would see %q", core.MessageOf(err))
		}
	}
}

func TestKeeper(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k vault.Keeper) { contract(t, k, 0) })
}

// TestKeeperJudge tries the keeper on a KMS that is not of this project (kmstest has the same for its own server).
func TestKeeperJudge(t *testing.T) {
	endpoint := os.Getenv("HV_KMS_ENDPOINT")
	if endpoint == "" {
		t.Skip("HV_KMS_ENDPOINT is not set: no other KMS to try")
	}
	const head = 36 // moto denies access to the key that a changed head names
	startKMS(t)     // for the rest of its environment
	t.Setenv("AWS_ENDPOINT_URL_KMS", endpoint)
	t.Setenv("AWS_REGION", "eu-west-1")
	conf, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := awskms.NewFromConfig(conf).CreateKey(t.Context(), &awskms.CreateKeyInput{KeyUsage: types.KeyUsageTypeEncryptDecrypt})
	if err != nil {
		t.Fatal(err)
	}
	k := mustAWS(t, AWSConfig{KeyID: aws.ToString(out.KeyMetadata.Arn), MaxRetries: 2}) // moto resets a connection now and then
	contract(t, k, head)
	old := mustGenerate(t, k, ctxA)
	made, err := k.Rewrap(t.Context(), old.WrappedKey, k.keyID, ctxA)
	if err != nil || bytes.Equal(made.Wrapped, old.Wrapped) {
		t.Fatal(err)
	}
	mustUnwrap(t, k, vault.DataKey{Plain: old.Plain, WrappedKey: made}, ctxA)
}

// contract is what the door relies on. Bytes before head are not changed.
func contract(t *testing.T, k vault.Keeper, head int) {
	key := mustGenerate(t, k, ctxA)
	if len(key.Plain) != 32 || key.KeyID == "" || len(key.Wrapped) == 0 || bytes.Contains(key.Wrapped, key.Plain) {
		t.Fatalf("%d bytes of %q", len(key.Plain), key.KeyID)
	}
	other := mustGenerate(t, k, ctxA)
	if bytes.Equal(key.Plain, other.Plain) || bytes.Equal(key.Wrapped, other.Wrapped) {
		t.Fatal("the same key twice")
	}
	for range 3 {
		mustUnwrap(t, k, key, ctxA) // what it wipes is its own copy
	}
	if err := k.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	for name, wrong := range map[string]map[string]string{
		"none": nil, "less": {"hyperion-vault:version": "7"}, "other": other2(ctxA, "hyperion-vault:version", "8"), "more": other2(ctxA, "x", "y"),
	} {
		got, err := k.Unwrap(t.Context(), key.WrappedKey, wrong)
		if got != nil {
			t.Fatalf("context %s gives a key", name)
		}
		wantErr(t, err, core.Corrupt, key)
	}
	for at := head; at < len(key.Wrapped); at++ {
		changed := vault.WrappedKey{KeyID: key.KeyID, Wrapped: bytes.Clone(key.Wrapped)}
		changed.Wrapped[at] ^= 0x80
		got, err := k.Unwrap(t.Context(), changed, ctxA)
		if got != nil {
			t.Fatal("a changed byte gives a key")
		}
		wantErr(t, err, core.Corrupt, key)
	}
}

func other2(m map[string]string, k, v string) map[string]string {
	m = maps.Clone(m)
	m[k] = v
	return m
}

func TestKeeperCancelled(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k vault.Keeper) {
		key := mustGenerate(t, k, ctxA)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.Generate(ctx, ctxA); !errors.Is(err, context.Canceled) || core.CodeOf(err) != core.Unavailable {
			t.Errorf("Generate: %v", err)
		}
		if _, err := k.Unwrap(ctx, key.WrappedKey, ctxA); !errors.Is(err, context.Canceled) || core.CodeOf(err) != core.Unavailable {
			t.Errorf("Unwrap: %v", err)
		}
	})
}

func TestKeeperConcurrent(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k vault.Keeper) {
		keys := make([]vault.DataKey, 4)
		for i := range keys {
			keys[i] = mustGenerate(t, k, ctxA)
		}
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 20 {
					key := keys[(g+i)%len(keys)]
					got, err := k.Unwrap(t.Context(), key.WrappedKey, ctxA)
					if err != nil || !bytes.Equal(got, key.Plain) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
					envelope.Wipe(got)
				}
			})
		}
		wg.Wait()
	})
}
