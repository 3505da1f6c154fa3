package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Vectors are frozen: a value sealed by any released version always opens. The
// flag is for adding a new envelope version's file, not for making a failing
// test pass.
var update = flag.Bool("update", false, "write the vectors of testdata")

// The result a vector names.
const (
	resultOK      = "ok"
	resultCorrupt = "corrupt"
	resultInvalid = "invalid"
)

// vector is one case of testdata. Byte strings are hex.
type vector struct {
	Case   string `json:"case"`
	Result string `json:"result"`
	// Op is "open" or "seal". An open that is ok must also seal to the same bytes.
	Op              string `json:"op"`
	Key             string `json:"key"`
	ID              string `json:"id"`
	Name            string `json:"name"`
	Version         uint64 `json:"version"`
	ContentType     string `json:"content_type"`
	AAD             string `json:"aad"`
	EnvelopeVersion int16  `json:"envelope_version"`
	Nonce           string `json:"nonce"`
	Plaintext       string `json:"plaintext"`
	Ciphertext      string `json:"ciphertext"`
}

func (v vector) binding(t *testing.T) Binding {
	t.Helper()
	id, err := core.ParseSecretID(v.ID)
	if err != nil {
		t.Fatal(err)
	}
	return Binding{ID: id, Name: core.Name(v.Name), Version: v.Version, ContentType: core.ContentType(v.ContentType)}
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors in testdata: %v", err)
	}
	counts := map[string]int{}
	for _, file := range files {
		for _, v := range readVectors(t, file) {
			counts[v.Result]++
			t.Run(strings.TrimSuffix(filepath.Base(file), ".json")+"/"+v.Case, v.run)
		}
	}
	for result, least := range map[string]int{resultOK: 10, resultCorrupt: 40, resultInvalid: 10} {
		if counts[result] < least {
			t.Errorf("%d vectors with result %s, want at least %d", counts[result], result, least)
		}
	}
}

func readVectors(t *testing.T, file string) []vector {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&vs); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(vs) == 0 {
		t.Fatalf("%s has no vectors", file)
	}
	return vs
}

func (v vector) run(t *testing.T) {
	b := v.binding(t)
	if got := hex.EncodeToString(b.AAD()); got != v.AAD {
		t.Errorf("AAD is %s, want %s", got, v.AAD)
	}
	switch v.Op {
	case "open":
		v.runOpen(t, b)
	case "seal":
		v.runSeal(t, b)
	default:
		t.Fatalf("unknown op %q", v.Op)
	}
}

func (v vector) runOpen(t *testing.T, b Binding) {
	sealed := Sealed{EnvelopeVersion: v.EnvelopeVersion, Nonce: unhex(t, v.Nonce), Ciphertext: unhex(t, v.Ciphertext)}
	plaintext, err := Open(unhex(t, v.Key), b, sealed)
	if v.Result == resultCorrupt {
		wantCorrupt(t, plaintext, err)
		return
	}
	if v.Result != resultOK || err != nil || !bytes.Equal(plaintext, unhex(t, v.Plaintext)) {
		t.Fatalf("result %q, opens as %x, %v", v.Result, plaintext, err)
	}
	again, err := sealWithNonce(unhex(t, v.Key), unhex(t, v.Nonce), b, plaintext)
	if err != nil || !bytes.Equal(again.Ciphertext, sealed.Ciphertext) || again.EnvelopeVersion != sealed.EnvelopeVersion {
		t.Errorf("seals as %x, %v", again.Ciphertext, err)
	}
}

func (v vector) runSeal(t *testing.T, b Binding) {
	sealed, err := Seal(unhex(t, v.Key), b, unhex(t, v.Plaintext))
	if v.Result != resultInvalid || core.CodeOf(err) != core.Invalid || sealed.Ciphertext != nil {
		t.Errorf("result %q, Seal gives %x, %v", v.Result, sealed.Ciphertext, err)
	}
}

func wantCorrupt(t *testing.T, plaintext []byte, err error) {
	t.Helper()
	if core.CodeOf(err) != core.Corrupt || err.Error() != errCorrupt || plaintext != nil {
		t.Fatalf("opens as %x, %v; want the one corrupt error", plaintext, err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The label and layout of version 1, spelled out by hand.
func TestAADLayout(t *testing.T) {
	id, err := core.ParseSecretID("00112233-4455-6677-8899-aabbccddeeff")
	if err != nil {
		t.Fatal(err)
	}
	got := Binding{ID: id, Name: "db/pw", Version: 258, ContentType: "a/b"}.AAD()
	want := "hyperion-vault/secret/v1\x00" +
		"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff" +
		"\x00\x00\x00\x05db/pw" +
		"\x00\x00\x00\x00\x00\x00\x01\x02" +
		"\x00\x00\x00\x03a/b"
	if string(got) != want {
		t.Errorf("AAD is %q, want %q", got, want)
	}
}

// wycheproofSet is the part of the published file that the test needs.
type wycheproofSet struct {
	NumberOfTests int `json:"numberOfTests"`
	TestGroups    []struct {
		Tests []struct {
			TcID                       int    `json:"tcId"`
			Result                     string `json:"result"`
			Key, IV, AAD, Msg, CT, Tag string
		} `json:"tests"`
	} `json:"testGroups"`
}

func TestWycheproof(t *testing.T) {
	text, err := fs.ReadFile(wycheproof.TestVectors, "xchacha20_poly1305_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var set wycheproofSet
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, g := range set.TestGroups {
		for _, tc := range g.Tests {
			counts[tc.Result]++
			key, nonce, aad := unhex(t, tc.Key), unhex(t, tc.IV), unhex(t, tc.AAD)
			msg, sealed := unhex(t, tc.Msg), unhex(t, tc.CT+tc.Tag)
			opened, ok := decrypt(key, nonce, aad, sealed)
			if ok != (tc.Result == "valid") || ok && !bytes.Equal(opened, msg) || !ok && opened != nil {
				t.Errorf("case %d is %s, decrypt gives %v", tc.TcID, tc.Result, ok)
			}
			if again, ok := encrypt(key, nonce, aad, msg); tc.Result == "valid" && (!ok || !bytes.Equal(again, sealed)) {
				t.Errorf("case %d encrypts to other bytes", tc.TcID)
			} else if len(nonce) != NonceSize && ok {
				t.Errorf("case %d encrypts with a nonce of %d bytes", tc.TcID, len(nonce))
			}
		}
	}
	if counts["valid"] < 200 || counts["invalid"] < 50 || counts["valid"]+counts["invalid"] != set.NumberOfTests {
		t.Errorf("ran %v of %d cases", counts, set.NumberOfTests)
	}
}

// The rest makes the vectors from fixed texts.

func testBytes(label string, n int) []byte {
	var b []byte
	for i := byte(0); len(b) < n; i++ {
		sum := sha256.Sum256(append([]byte(label), i))
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func testID(label string) (id core.SecretID) {
	copy(id[:], testBytes("id "+label, 16))
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

func testBinding() Binding {
	return Binding{ID: testID("a"), Name: "db/password", Version: 7, ContentType: core.Text}
}

func vectorOf(name, op, result string, key []byte, b Binding, s Sealed, plaintext []byte) vector {
	return vector{
		Case: name, Result: result, Op: op, Key: hex.EncodeToString(key), ID: b.ID.String(), Name: string(b.Name),
		Version: b.Version, ContentType: string(b.ContentType), AAD: hex.EncodeToString(b.AAD()),
		EnvelopeVersion: s.EnvelopeVersion, Nonce: hex.EncodeToString(s.Nonce),
		Plaintext: hex.EncodeToString(plaintext), Ciphertext: hex.EncodeToString(s.Ciphertext),
	}
}

func writeVectors(t *testing.T) {
	for file, vs := range map[string][]vector{
		"v1_ok.json": okVectors(t), "v1_corrupt.json": corruptVectors(t),
		"v1_ambiguous.json": ambiguousVectors(t), "v1_invalid.json": invalidVectors(),
	} {
		text, err := json.MarshalIndent(vs, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("testdata", file), append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func mustSeal(t *testing.T, key []byte, label string, b Binding, plaintext []byte) Sealed {
	t.Helper()
	s, err := sealWithNonce(key, testBytes("nonce "+label, NonceSize), b, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func okVectors(t *testing.T) (vs []vector) {
	add := func(name string, b Binding, plaintext []byte) {
		key := testBytes("key "+name, KeySize)
		vs = append(vs, vectorOf(name, "open", resultOK, key, b, mustSeal(t, key, name, b, plaintext), plaintext))
	}
	with := func(change func(*Binding)) Binding { b := testBinding(); change(&b); return b }
	for _, n := range []string{"0", "1", "15", "16", "17", "63", "64", "65", "1000"} {
		var size int
		if err := json.Unmarshal([]byte(n), &size); err != nil {
			t.Fatal(err)
		}
		add("size "+n, testBinding(), testBytes("plaintext", size))
	}
	add("zero bytes", testBinding(), make([]byte, 40))
	add("shortest name", with(func(b *Binding) { b.Name = "a" }), []byte("s3cr3t"))
	add("longest name", with(func(b *Binding) { b.Name = core.Name(strings.Repeat("n", 255)) }), []byte("s3cr3t"))
	add("first version", with(func(b *Binding) { b.Version = 1 }), []byte("s3cr3t"))
	add("last version", with(func(b *Binding) { b.Version = 1<<63 - 1 }), []byte("s3cr3t"))
	add("json", with(func(b *Binding) { b.ContentType = core.JSON }), []byte(`{"user":"app"}`))
	add("binary", with(func(b *Binding) { b.ContentType = core.Binary }), testBytes("binary", 32))
	return vs
}

func corruptVectors(t *testing.T) (vs []vector) {
	key, b, plaintext := testBytes("key corrupt", KeySize), testBinding(), []byte("correct horse battery staple")
	good := mustSeal(t, key, "corrupt", b, plaintext)
	add := func(name string, change func(key *[]byte, b *Binding, s *Sealed)) {
		k, bb := bytes.Clone(key), b
		s := Sealed{EnvelopeVersion: good.EnvelopeVersion, Nonce: bytes.Clone(good.Nonce), Ciphertext: bytes.Clone(good.Ciphertext)}
		change(&k, &bb, &s)
		vs = append(vs, vectorOf(name, "open", resultCorrupt, k, bb, s, nil))
	}
	addCorruptBytes(add)
	addCorruptBindings(add)
	return vs
}

type addCorrupt func(string, func(key *[]byte, b *Binding, s *Sealed))

func addCorruptBytes(add addCorrupt) {
	add("key first bit", func(k *[]byte, _ *Binding, _ *Sealed) { (*k)[0] ^= 1 })
	add("key last bit", func(k *[]byte, _ *Binding, _ *Sealed) { (*k)[KeySize-1] ^= 0x80 })
	add("key short", func(k *[]byte, _ *Binding, _ *Sealed) { *k = (*k)[:KeySize-1] })
	add("key long", func(k *[]byte, _ *Binding, _ *Sealed) { *k = append(*k, 0) })
	add("key empty", func(k *[]byte, _ *Binding, _ *Sealed) { *k = nil })
	add("key of another secret", func(k *[]byte, _ *Binding, _ *Sealed) { *k = testBytes("key other", KeySize) })
	add("nonce first bit", func(_ *[]byte, _ *Binding, s *Sealed) { s.Nonce[0] ^= 1 })
	add("nonce last bit", func(_ *[]byte, _ *Binding, s *Sealed) { s.Nonce[NonceSize-1] ^= 0x80 })
	add("nonce short", func(_ *[]byte, _ *Binding, s *Sealed) { s.Nonce = s.Nonce[:NonceSize-1] })
	add("nonce of 12 bytes", func(_ *[]byte, _ *Binding, s *Sealed) { s.Nonce = s.Nonce[:12] })
	add("nonce long", func(_ *[]byte, _ *Binding, s *Sealed) { s.Nonce = append(s.Nonce, 0) })
	add("nonce empty", func(_ *[]byte, _ *Binding, s *Sealed) { s.Nonce = nil })
	add("ciphertext first bit", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext[0] ^= 1 })
	add("ciphertext last bit", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext[len(s.Ciphertext)-Overhead-1] ^= 0x80 })
	add("tag first bit", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext[len(s.Ciphertext)-Overhead] ^= 1 })
	add("tag last bit", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext[len(s.Ciphertext)-1] ^= 0x80 })
	add("ciphertext cut by one", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext = s.Ciphertext[:len(s.Ciphertext)-1] })
	add("ciphertext without first byte", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext = s.Ciphertext[1:] })
	add("ciphertext extended", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext = append(s.Ciphertext, 0) })
	add("ciphertext only a tag", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext = s.Ciphertext[len(s.Ciphertext)-Overhead:] })
	add("ciphertext less than a tag", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext = s.Ciphertext[:Overhead-1] })
	add("ciphertext empty", func(_ *[]byte, _ *Binding, s *Sealed) { s.Ciphertext = nil })
	add("envelope version 0", func(_ *[]byte, _ *Binding, s *Sealed) { s.EnvelopeVersion = 0 })
	add("envelope version 2", func(_ *[]byte, _ *Binding, s *Sealed) { s.EnvelopeVersion = 2 })
	add("envelope version -1", func(_ *[]byte, _ *Binding, s *Sealed) { s.EnvelopeVersion = -1 })
}

func addCorruptBindings(add addCorrupt) {
	add("another id", func(_ *[]byte, b *Binding, _ *Sealed) { b.ID = testID("b") })
	add("id last bit", func(_ *[]byte, b *Binding, _ *Sealed) { b.ID[15] ^= 1 })
	add("another name", func(_ *[]byte, b *Binding, _ *Sealed) { b.Name = "db/passwore" })
	add("name in other case", func(_ *[]byte, b *Binding, _ *Sealed) { b.Name = "db/Password" })
	add("name cut", func(_ *[]byte, b *Binding, _ *Sealed) { b.Name = "db/passwor" })
	add("name extended", func(_ *[]byte, b *Binding, _ *Sealed) { b.Name = "db/password0" })
	add("name empty", func(_ *[]byte, b *Binding, _ *Sealed) { b.Name = "" })
	add("version before", func(_ *[]byte, b *Binding, _ *Sealed) { b.Version = 6 })
	add("version after", func(_ *[]byte, b *Binding, _ *Sealed) { b.Version = 8 })
	add("version 0", func(_ *[]byte, b *Binding, _ *Sealed) { b.Version = 0 })
	add("version in another byte", func(_ *[]byte, b *Binding, _ *Sealed) { b.Version = 7 << 8 })
	add("another content type", func(_ *[]byte, b *Binding, _ *Sealed) { b.ContentType = core.JSON })
	add("content type spelled otherwise", func(_ *[]byte, b *Binding, _ *Sealed) { b.ContentType = "text/plain;charset=utf-8" })
	add("content type without charset", func(_ *[]byte, b *Binding, _ *Sealed) { b.ContentType = "text/plain" })
	add("content type empty", func(_ *[]byte, b *Binding, _ *Sealed) { b.ContentType = "" })
}

// ambiguousVectors pairs bindings whose fields, written one after the other
// without lengths, give the same text. Each value is sealed as the first and
// opened as the second.
func ambiguousVectors(t *testing.T) (vs []vector) {
	add := func(name string, sealedAs, openedAs Binding) {
		key, plaintext := testBytes("key "+name, KeySize), []byte("s3cr3t")
		s := mustSeal(t, key, name, sealedAs, plaintext)
		vs = append(vs,
			vectorOf(name+", as sealed", "open", resultOK, key, sealedAs, s, plaintext),
			vectorOf(name, "open", resultCorrupt, key, openedAs, s, nil))
	}
	of := func(name string, version uint64, ct string) Binding {
		return Binding{ID: testID("a"), Name: core.Name(name), Version: version, ContentType: core.ContentType(ct)}
	}
	add("a1 2 and a 12", of("a1", 2, "text/plain"), of("a", 12, "text/plain"))
	add("a 12 and a1 2", of("a", 12, "text/plain"), of("a1", 2, "text/plain"))
	// "textual/" read as a number is the second version.
	add("name takes the version", of("a", 7, "textual/plain"), of("a\x00\x00\x00\x00\x00\x00\x00\x07", 0x7465787475616c2f, "plain"))
	add("name takes version and lengths", of("a", 7, "b/c"), of("a\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x03b/c", 0, ""))
	add("type takes part of the version", of("a", 0x6162, "b/c"), of("a", 0x61, "bb/c"))
	add("type and name swapped", of("b/c", 7, "a/d"), of("a/d", 7, "b/c"))
	add("segment moves", of("a/b", 7, "c/d"), of("a", 7, "b/c/d"))
	sealedAs := of("xa", 7, "b/c")
	openedAs := of("a", 7, "b/c")
	openedAs.ID[15] = 'x'
	add("name moves into the id", sealedAs, openedAs)
	return vs
}

func invalidVectors() (vs []vector) {
	key := testBytes("key invalid", KeySize)
	add := func(name string, key []byte, change func(*Binding)) {
		b := testBinding()
		change(&b)
		vs = append(vs, vectorOf(name, "seal", resultInvalid, key, b, Sealed{EnvelopeVersion: Version}, []byte("s3cr3t")))
	}
	same := func(*Binding) {}
	add("key empty", nil, same)
	add("key of 16 bytes", key[:16], same)
	add("key of 31 bytes", key[:31], same)
	add("key of 33 bytes", append(bytes.Clone(key), 0), same)
	add("id zero", key, func(b *Binding) { b.ID = core.SecretID{} })
	add("name empty", key, func(b *Binding) { b.Name = "" })
	add("name climbs", key, func(b *Binding) { b.Name = "a/../b" })
	add("name with a control character", key, func(b *Binding) { b.Name = "a\x00b" })
	add("name too long", key, func(b *Binding) { b.Name = core.Name(strings.Repeat("n", 256)) })
	add("version zero", key, func(b *Binding) { b.Version = 0 })
	add("version beyond bigint", key, func(b *Binding) { b.Version = 1 << 63 })
	add("content type empty", key, func(b *Binding) { b.ContentType = "" })
	add("content type not canonical", key, func(b *Binding) { b.ContentType = "text/plain;charset=UTF-8" })
	add("content type a range", key, func(b *Binding) { b.ContentType = "text/*" })
	add("content type no type", key, func(b *Binding) { b.ContentType = "text" })
	return vs
}
