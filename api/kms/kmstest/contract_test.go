package kmstest_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
)

// party is a KMS that the contract is tried on.
type party struct {
	*kms.Client
	administrator
	name      string
	region    string
	deviation map[string]string // what is known to answer otherwise than AWS: name of the check → code; "" = success
}

// administrator makes keys and takes them away.
type administrator interface {
	CreateKey() string
	SetAlias(alias, arn string)
	SetState(arn string, state kmstest.State)
}

// TestContract holds this package's server to what AWS documents.
func TestContract(t *testing.T) {
	b := start(t)
	contract(t, &party{Client: b.Client, administrator: b.Server, name: "kmstest", region: kmstest.Region})
}

// TestJudge holds another implementation to the same: who of the two is wrong can then be read in AWS's documentation.
// HV_KMS_ENDPOINT is the URL of an emulator, in which keys may be made and deleted; docs/KMS.md shows how to run moto,
// whose deviations these are.
func TestJudge(t *testing.T) {
	endpoint := os.Getenv("HV_KMS_ENDPOINT")
	if endpoint == "" {
		t.Skip("HV_KMS_ENDPOINT is not set: no other KMS to compare with")
	}
	const region = "eu-west-1"
	c := kms.New(kms.Options{
		Region: region, BaseEndpoint: &endpoint, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "example", ""),
	})
	contract(t, &party{Client: c, administrator: &remote{t, c}, name: "the judge", region: region, deviation: moto})
}

// moto 5.1.1 finds the key by the ciphertext alone. It checks neither the key that the caller of Decrypt names nor the
// state of any key. That is why this package has a server of its own.
var moto = map[string]string{
	"changed head": "AccessDeniedException", "other key": "", "no key": "", "no alias": "", "region": "", "arn": "",
	"ReEncrypt/other key": "",
	"Decrypt/Disabled":    "", "GenerateDataKey/Disabled": "", "ReEncrypt from/Disabled": "", "ReEncrypt to/Disabled": "",
	"Decrypt/PendingDeletion": "", "GenerateDataKey/PendingDeletion": "", "ReEncrypt from/PendingDeletion": "", "ReEncrypt to/PendingDeletion": "",
}

// remote administers by the protocol itself.
type remote struct {
	t *testing.T
	c *kms.Client
}

func (r *remote) must(err error) {
	if err != nil {
		r.t.Error(err)
	}
}

func (r *remote) CreateKey() string {
	out, err := r.c.CreateKey(r.t.Context(), &kms.CreateKeyInput{KeyUsage: types.KeyUsageTypeEncryptDecrypt})
	if err != nil {
		r.t.Error(err)
		return ""
	}
	return aws.ToString(out.KeyMetadata.Arn)
}

func (r *remote) SetAlias(alias, arn string) {
	_, _ = r.c.DeleteAlias(r.t.Context(), &kms.DeleteAliasInput{AliasName: &alias}) // of an earlier run
	_, err := r.c.CreateAlias(r.t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &arn})
	r.must(err)
}

func (r *remote) SetState(arn string, state kmstest.State) {
	id := arn[strings.LastIndex(arn, "/")+1:] // moto takes no ARN here
	_, err := r.c.DisableKey(r.t.Context(), &kms.DisableKeyInput{KeyId: &id})
	r.must(err)
	if state == kmstest.PendingDeletion {
		_, err := r.c.ScheduleKeyDeletion(r.t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)})
		r.must(err)
	}
}

func contract(t *testing.T, p *party) {
	t.Run("Operations", p.operations)
	t.Run("Refusals", p.refusals)
	t.Run("States", p.states)
}

func (p *party) generate(t *testing.T, name, arn string, context map[string]string) *kms.GenerateDataKeyOutput {
	t.Helper()
	out, err := p.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &name, KeySpec: types.DataKeySpecAes256, EncryptionContext: context})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Plaintext) != 32 || aws.ToString(out.KeyId) != arn || bytes.Contains(out.CiphertextBlob, out.Plaintext) {
		t.Fatalf("%d bytes of %s", len(out.Plaintext), aws.ToString(out.KeyId))
	}
	return out
}

func (p *party) decrypt(t *testing.T, key string, blob []byte, context map[string]string) (*kms.DecryptOutput, error) {
	in := &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: context}
	if key != "" {
		in.KeyId = &key
	}
	return p.Decrypt(t.Context(), in)
}

// meets requires the code of AWS, or the known deviation: a deviation that has gone is an error too.
func (p *party) meets(t *testing.T, name, code string, err error) {
	t.Helper()
	want := code
	if d, ok := p.deviation[name]; ok {
		t.Logf("%s: %s answers %q where AWS answers %s", name, p.name, d, code)
		want = d
	}
	got := ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		got = api.ErrorCode()
	} else if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s: %s answers %q, want %q", name, p.name, got, want)
	}
}

func (p *party) operations(t *testing.T) {
	key := p.administrator.CreateKey()
	p.SetAlias("alias/hyperion-vault-test", key)
	id := key[strings.LastIndex(key, "/")+1:]
	for _, name := range []string{key, id, "alias/hyperion-vault-test", strings.Replace(key, "key/"+id, "alias/hyperion-vault-test", 1)} {
		k := p.generate(t, name, key, ctxA)
		for _, asked := range []string{"", name} {
			out, err := p.decrypt(t, asked, k.CiphertextBlob, ctxA)
			if err != nil || !bytes.Equal(out.Plaintext, k.Plaintext) || aws.ToString(out.KeyId) != key {
				t.Fatalf("%s: %v", name, err)
			}
		}
		d, err := p.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &name})
		if err != nil || aws.ToString(d.KeyMetadata.Arn) != key || !d.KeyMetadata.Enabled || d.KeyMetadata.KeyState != types.KeyStateEnabled ||
			d.KeyMetadata.KeySpec != types.KeySpecSymmetricDefault || d.KeyMetadata.KeyUsage != types.KeyUsageTypeEncryptDecrypt ||
			d.KeyMetadata.CreationDate == nil {
			t.Fatalf("%s: %+v %v", name, d.KeyMetadata, err)
		}
	}
	enc, err := p.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x"), EncryptionContext: ctxA})
	if err != nil || aws.ToString(enc.KeyId) != key {
		t.Fatal(err)
	}
	other := p.administrator.CreateKey()
	re, err := p.ReEncrypt(t.Context(), &kms.ReEncryptInput{
		CiphertextBlob: enc.CiphertextBlob, SourceKeyId: &key, SourceEncryptionContext: ctxA,
		DestinationKeyId: &other, DestinationEncryptionContext: ctxB,
	})
	if err != nil || aws.ToString(re.KeyId) != other || aws.ToString(re.SourceKeyId) != key {
		t.Fatalf("%+v %v", re, err)
	}
	out, err := p.decrypt(t, other, re.CiphertextBlob, ctxB)
	if err != nil || string(out.Plaintext) != "x" {
		t.Fatal(err)
	}
	_, err = p.ReEncrypt(t.Context(), &kms.ReEncryptInput{
		CiphertextBlob: enc.CiphertextBlob, SourceKeyId: &key, SourceEncryptionContext: ctxB, DestinationKeyId: &other,
	})
	p.meets(t, "ReEncrypt/context", "InvalidCiphertextException", err)
	_, err = p.ReEncrypt(t.Context(), &kms.ReEncryptInput{
		CiphertextBlob: enc.CiphertextBlob, SourceKeyId: &other, SourceEncryptionContext: ctxA, DestinationKeyId: &other,
	})
	p.meets(t, "ReEncrypt/other key", "IncorrectKeyException", err)
}

func (p *party) refusals(t *testing.T) {
	key, other := p.administrator.CreateKey(), p.administrator.CreateKey()
	k := p.generate(t, key, key, ctxA)
	refused := func(name, code, key string, blob []byte, context map[string]string) {
		t.Helper()
		_, err := p.decrypt(t, key, blob, context)
		p.meets(t, name, code, err)
	}
	refused("context", "InvalidCiphertextException", key, k.CiphertextBlob, ctxB)
	refused("no context", "InvalidCiphertextException", key, k.CiphertextBlob, nil)
	refused("garbage", "InvalidCiphertextException", key, []byte("garbage"), ctxA)
	for name, places := range map[string][]int{"changed head": {0, 5}, "changed body": {40, len(k.CiphertextBlob) - 1}} {
		for _, at := range places {
			changed := bytes.Clone(k.CiphertextBlob)
			changed[at] ^= 1
			refused(name, "InvalidCiphertextException", key, changed, ctxA)
		}
	}
	refused("other key", "IncorrectKeyException", other, k.CiphertextBlob, ctxA)
	refused("no key", "NotFoundException", "00000000-0000-4000-8000-000000000000", k.CiphertextBlob, ctxA)
	refused("no alias", "NotFoundException", "alias/none", k.CiphertextBlob, ctxA)
	refused("region", "NotFoundException", strings.Replace(key, p.region, "us-east-1", 1), k.CiphertextBlob, ctxA)
	refused("arn", "InvalidArnException", "arn:aws:s3:::x", k.CiphertextBlob, ctxA)
	_, err := p.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: aws.String("alias/none"), KeySpec: types.DataKeySpecAes256})
	p.meets(t, "GenerateDataKey/no alias", "NotFoundException", err)
	_, err = p.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("00000000-0000-4000-8000-000000000000")})
	p.meets(t, "DescribeKey/no key", "NotFoundException", err)
}

// states has a key that may not be used refuse every operation but the question what it is.
func (p *party) states(t *testing.T) {
	good := p.administrator.CreateKey()
	of := p.generate(t, good, good, ctxA)
	for state, code := range map[kmstest.State]string{kmstest.Disabled: "DisabledException", kmstest.PendingDeletion: "KMSInvalidStateException"} {
		key := p.administrator.CreateKey()
		k := p.generate(t, key, key, ctxA)
		p.SetState(key, state)
		_, err := p.decrypt(t, key, k.CiphertextBlob, ctxA)
		p.meets(t, "Decrypt/"+string(state), code, err)
		_, err = p.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: types.DataKeySpecAes256})
		p.meets(t, "GenerateDataKey/"+string(state), code, err)
		_, err = p.ReEncrypt(t.Context(), &kms.ReEncryptInput{
			CiphertextBlob: k.CiphertextBlob, SourceKeyId: &key, SourceEncryptionContext: ctxA, DestinationKeyId: &good,
		})
		p.meets(t, "ReEncrypt from/"+string(state), code, err)
		_, err = p.ReEncrypt(t.Context(), &kms.ReEncryptInput{
			CiphertextBlob: of.CiphertextBlob, SourceKeyId: &good, SourceEncryptionContext: ctxA, DestinationKeyId: &key,
		})
		p.meets(t, "ReEncrypt to/"+string(state), code, err)
		d, err := p.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &key})
		if err != nil || d.KeyMetadata.KeyState != types.KeyState(state) || d.KeyMetadata.Enabled {
			t.Errorf("%s: %+v, %v", state, d, err)
		}
	}
}
