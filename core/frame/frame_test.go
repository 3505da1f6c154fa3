package frame_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

var testID = core.SecretID{0: 1, 15: 2}

func origin() frame.Origin {
	return frame.Origin{Database: "app", Role: "reader", SessionRole: "login", ClientAddr: "10.0.0.7", RequestID: "r-1"}
}

func key(version uint64) frame.WrappedKey {
	return frame.WrappedKey{Version: version, KeyID: "local:1", Wrapped: []byte("wrapped key")}
}

func generateRequest() *frame.Request {
	return &frame.Request{Op: frame.OpGenerate, Origin: origin(), ID: testID, Version: 7}
}

func unwrapRequest(keys ...frame.WrappedKey) *frame.Request {
	return &frame.Request{Op: frame.OpUnwrap, Origin: origin(), Action: "read", Name: "db/password", ID: testID, Keys: keys}
}

func recordRequest() *frame.Request {
	return &frame.Request{Op: frame.OpRecord, Origin: origin(), Action: "create", Name: "../x", Version: 3, Outcome: "denied", Code: core.Denied}
}

func with[T any](v *T, change func(*T)) *T { change(v); return v }

func biggestRequest() *frame.Request {
	long := strings.Repeat("x", frame.MaxText)
	r := unwrapRequest(slices.Repeat([]frame.WrappedKey{{
		Version: 1<<63 - 1, KeyID: strings.Repeat("k", frame.MaxKeyIDLen), Wrapped: make([]byte, frame.MaxWrappedLen),
	}}, frame.MaxKeys)...)
	r.Origin = frame.Origin{Database: long, Role: long, SessionRole: long, ClientAddr: "2001:db8::1", RequestID: strings.Repeat("r", frame.MaxRequestIDLen)}
	r.Name = strings.Repeat("n", core.MaxNameLen)
	return r
}

func goodRequests() []*frame.Request {
	return []*frame.Request{
		generateRequest(),
		unwrapRequest(key(7)),
		with(unwrapRequest(key(7), key(6), key(5)), func(r *frame.Request) { r.Action = "verify" }),
		recordRequest(),
		with(recordRequest(), func(r *frame.Request) { r.Name, r.Version, r.Outcome, r.Code = "", 0, "failed", core.Internal }),
		with(recordRequest(), func(r *frame.Request) { r.Action, r.Name, r.Version, r.Outcome, r.Code = "list", "a/", 0, "ok", "" }),
		with(recordRequest(), func(r *frame.Request) { r.Action, r.Name, r.Version, r.Outcome, r.Code = "audit", "", 0, "ok", "" }),
		with(generateRequest(), func(r *frame.Request) {
			r.Origin = frame.Origin{Database: "d", Role: "rôle\n"}
			r.Version = 1<<63 - 1
		}),
		with(generateRequest(), func(r *frame.Request) { r.Origin.ClientAddr = "::ffff:10.0.0.7" }),
		biggestRequest(),
		readEachRequest(1),
		readEachRequest(frame.MaxItems),
		with(readEachRequest(2), func(r *frame.Request) { r.Items[1] = frame.Item{Name: "../x", Code: core.Denied} }),
		leaseRequest(),
		with(leaseRequest(), func(r *frame.Request) { r.LeaseSecs, r.File = frame.MaxLeaseSecs, 1<<64-1 }),
	}
}

func leaseRequest() *frame.Request {
	return &frame.Request{
		Op: frame.OpLease, Origin: origin(), Name: "db/password", ID: testID, Keys: []frame.WrappedKey{key(3)}, LeaseSecs: 60,
	}
}

func leaseResponse() *frame.Response {
	return &frame.Response{Op: frame.OpLease, Keys: keys(1), LeaseMillis: 60000, File: 2}
}

func readEachRequest(n int) *frame.Request {
	r := &frame.Request{Op: frame.OpReadEach, Origin: origin()}
	for i := range n {
		r.Items = append(r.Items, frame.Item{Name: "db/password", ID: testID, Key: key(uint64(i + 1))})
	}
	return r
}

// withWrapped gives each item a wrapped key of a length.
func withWrapped(items []frame.Item, n int) []frame.Item {
	for i := range items {
		items[i].Key.Wrapped = make([]byte, n)
	}
	return items
}

func readEachResponse(n int) *frame.Response {
	r := &frame.Response{Op: frame.OpReadEach}
	for _, k := range keys(n) {
		r.Results = append(r.Results, frame.Result{Key: k})
	}
	return r
}

func keys(n int) (ks [][]byte) {
	for i := range n {
		ks = append(ks, bytes.Repeat([]byte{byte(i + 1)}, 32))
	}
	return ks
}

func generateResponse() *frame.Response {
	return &frame.Response{Op: frame.OpGenerate, Keys: keys(1), KeyID: "local:1", Wrapped: []byte("wrapped")}
}

func unwrapResponse(n int) *frame.Response { return &frame.Response{Op: frame.OpUnwrap, Keys: keys(n)} }

func failure(op frame.Op) *frame.Response {
	return &frame.Response{Op: op, Code: core.Denied, Msg: "not this database"}
}

func goodResponses() []*frame.Response {
	return []*frame.Response{
		readEachResponse(1), readEachResponse(frame.MaxItems), leaseResponse(), failure(frame.OpLease),
		with(leaseResponse(), func(r *frame.Response) { r.LeaseMillis, r.File = 0, 0 }),
		with(readEachResponse(2), func(r *frame.Response) {
			r.Results[0] = frame.Result{Code: core.Corrupt, Msg: strings.Repeat("m", frame.MaxItemMsgLen)}
		}),
		generateResponse(), unwrapResponse(1), unwrapResponse(frame.MaxKeys), {Op: frame.OpRecord},
		failure(0), failure(frame.OpGenerate), failure(frame.OpUnwrap), failure(frame.OpRecord),
		{Op: frame.OpRecord, Code: core.Unavailable},
		{Op: frame.OpUnwrap, Code: core.Corrupt, Msg: strings.Repeat("m", frame.MaxMsgLen)},
		with(generateResponse(), func(r *frame.Response) {
			r.KeyID, r.Wrapped = strings.Repeat("k", frame.MaxKeyIDLen), make([]byte, frame.MaxWrappedLen)
		}),
	}
}

func mustRequest(t testing.TB, r *frame.Request) []byte {
	t.Helper()
	b, err := frame.AppendRequest(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustResponse(t testing.TB, r *frame.Response) []byte {
	t.Helper()
	b, err := frame.AppendResponse(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRequestsRoundTrip(t *testing.T) {
	for _, r := range goodRequests() {
		b := mustRequest(t, r)
		body, err := frame.ReadBody(bytes.NewReader(b), nil)
		if err != nil || len(body) != len(b)-frame.HeaderSize {
			t.Fatalf("%s: body of %d in a frame of %d, %v", r.Op, len(body), len(b), err)
		}
		got, err := frame.ParseRequest(body)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %+v reads back as %+v, %v", r.Op, r, got, err)
		}
	}
}

func TestResponsesRoundTrip(t *testing.T) {
	for _, r := range goodResponses() {
		b := mustResponse(t, r)
		body, err := frame.ReadBody(bytes.NewReader(b), nil)
		if err != nil || len(body) != len(b)-frame.HeaderSize {
			t.Fatalf("%s: body of %d in a frame of %d, %v", r.Op, len(body), len(b), err)
		}
		got, err := frame.ParseResponse(body)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %+v reads back as %+v, %v", r.Op, r, got, err)
		}
	}
}

// The bytes of a small frame of each kind, by hand.
func TestLayout(t *testing.T) {
	req := with(generateRequest(), func(r *frame.Request) { r.Origin = frame.Origin{Database: "d", Role: "r"} })
	want := "\x00\x00\x00\x30" + "\x01\x01" + "\x00\x00\x00\x01d\x00\x00\x00\x01r" + strings.Repeat("\x00", 12) +
		string(testID[:]) + "\x00\x00\x00\x00\x00\x00\x00\x07"
	if got := mustRequest(t, req); string(got) != want {
		t.Errorf("generate is %q, want %q", got, want)
	}
	record := mustRequest(t, with(recordRequest(), func(r *frame.Request) { r.Origin = req.Origin; r.Name = "n" }))
	if tail := "\x00\x00\x00\x06create\x00\x00\x00\x01n\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x06denied\x00\x00\x00\x06denied"; !strings.HasSuffix(string(record), tail) {
		t.Errorf("record is %q, want at its end %q", record, tail)
	}
	unwrap := mustRequest(t, unwrapRequest(frame.WrappedKey{Version: 9, KeyID: "k", Wrapped: []byte("w")}))
	if tail := string(testID[:]) + "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x01k\x00\x00\x00\x01w"; !strings.HasSuffix(string(unwrap), tail) {
		t.Errorf("unwrap is %q, want at its end %q", unwrap, tail)
	}
	if got, want := mustResponse(t, failure(0)), "\x00\x00\x00\x21\x01\x00\x00\x00\x00\x06denied\x00\x00\x00\x11not this database"; string(got) != want {
		t.Errorf("failure is %q, want %q", got, want)
	}
	resp := mustResponse(t, unwrapResponse(1))
	if want := "\x00\x00\x00\x2e\x01\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x20" + strings.Repeat("\x01", 32); string(resp) != want {
		t.Errorf("keys are %q, want %q", resp, want)
	}
}

// badRequests cannot be sent, and if somebody sends them they are refused.
func badRequests() map[string]*frame.Request {
	long := strings.Repeat("x", 256)
	of := func(r *frame.Request, change func(*frame.Request)) *frame.Request { return with(r, change) }
	one := func() *frame.Request { return unwrapRequest(key(1)) }
	return map[string]*frame.Request{
		"no op":                    {Origin: origin()},
		"op 6":                     {Op: 6, Origin: origin()},
		"no database":              of(generateRequest(), func(r *frame.Request) { r.Origin.Database = "" }),
		"long database":            of(generateRequest(), func(r *frame.Request) { r.Origin.Database = long }),
		"database not UTF-8":       of(generateRequest(), func(r *frame.Request) { r.Origin.Database = "\xff" }),
		"no role":                  of(generateRequest(), func(r *frame.Request) { r.Origin.Role = "" }),
		"zero byte in role":        of(generateRequest(), func(r *frame.Request) { r.Origin.Role = "a\x00" }),
		"long session role":        of(generateRequest(), func(r *frame.Request) { r.Origin.SessionRole = long }),
		"address with a port":      of(generateRequest(), func(r *frame.Request) { r.Origin.ClientAddr = "10.0.0.7:80" }),
		"address with a zone":      of(generateRequest(), func(r *frame.Request) { r.Origin.ClientAddr = "fe80::1%eth0" }),
		"address a name":           of(generateRequest(), func(r *frame.Request) { r.Origin.ClientAddr = "localhost" }),
		"long request id":          of(generateRequest(), func(r *frame.Request) { r.Origin.RequestID = long }),
		"generate without id":      of(generateRequest(), func(r *frame.Request) { r.ID = core.SecretID{} }),
		"generate version 0":       of(generateRequest(), func(r *frame.Request) { r.Version = 0 }),
		"generate version 2^63":    of(generateRequest(), func(r *frame.Request) { r.Version = 1 << 63 }),
		"generate with name":       of(generateRequest(), func(r *frame.Request) { r.Name = "a" }),
		"generate with action":     of(generateRequest(), func(r *frame.Request) { r.Action = "create" }),
		"generate with keys":       of(generateRequest(), func(r *frame.Request) { r.Keys = one().Keys }),
		"generate with code":       of(generateRequest(), func(r *frame.Request) { r.Code = core.Denied }),
		"unwrap without keys":      unwrapRequest(),
		"unwrap 65 keys":           unwrapRequest(slices.Repeat([]frame.WrappedKey{key(1)}, 65)...),
		"unwrap create":            of(one(), func(r *frame.Request) { r.Action = "create" }),
		"unwrap no action":         of(one(), func(r *frame.Request) { r.Action = "" }),
		"unwrap no name":           of(one(), func(r *frame.Request) { r.Name = "" }),
		"unwrap bad name":          of(one(), func(r *frame.Request) { r.Name = "a/../b" }),
		"unwrap without id":        of(one(), func(r *frame.Request) { r.ID = core.SecretID{} }),
		"unwrap with version":      of(one(), func(r *frame.Request) { r.Version = 1 }),
		"unwrap with outcome":      of(one(), func(r *frame.Request) { r.Outcome = "denied" }),
		"unwrap key version 0":     unwrapRequest(key(1), key(0)),
		"unwrap key version 2^63":  unwrapRequest(key(1 << 63)),
		"unwrap without key id":    of(one(), func(r *frame.Request) { r.Keys[0].KeyID = "" }),
		"unwrap long key id":       of(one(), func(r *frame.Request) { r.Keys[0].KeyID = strings.Repeat("k", 2049) }),
		"unwrap nothing wrapped":   of(one(), func(r *frame.Request) { r.Keys[0].Wrapped = nil }),
		"unwrap long wrapped":      of(one(), func(r *frame.Request) { r.Keys[0].Wrapped = make([]byte, 6145) }),
		"record no action":         of(recordRequest(), func(r *frame.Request) { r.Action = "" }),
		"record odd action":        of(recordRequest(), func(r *frame.Request) { r.Action = "Create" }),
		"record long action":       of(recordRequest(), func(r *frame.Request) { r.Action = strings.Repeat("a", 33) }),
		"record long name":         of(recordRequest(), func(r *frame.Request) { r.Name = long }),
		"record name not UTF-8":    of(recordRequest(), func(r *frame.Request) { r.Name = "\xff" }),
		"record with id":           of(recordRequest(), func(r *frame.Request) { r.ID = testID }),
		"record with keys":         of(recordRequest(), func(r *frame.Request) { r.Keys = one().Keys }),
		"record version 2^63":      of(recordRequest(), func(r *frame.Request) { r.Version = 1 << 63 }),
		"record outcome ok":        of(recordRequest(), func(r *frame.Request) { r.Outcome, r.Code = "ok", "" }),
		"record grant ok":          of(recordRequest(), func(r *frame.Request) { r.Action, r.Outcome, r.Code = "grant", "ok", "" }),
		"record list ok with code": of(recordRequest(), func(r *frame.Request) { r.Action, r.Outcome = "list", "ok" }),
		"record without outcome":   of(recordRequest(), func(r *frame.Request) { r.Outcome = "" }),
		"record without code":      of(recordRequest(), func(r *frame.Request) { r.Code = "" }),
		"record with unknown code": of(recordRequest(), func(r *frame.Request) { r.Code = "conflict" }),
		"record with items":        of(recordRequest(), func(r *frame.Request) { r.Items = readEachRequest(1).Items }),
		"lease without a key":      of(leaseRequest(), func(r *frame.Request) { r.Keys = nil }),
		"lease of two keys":        of(leaseRequest(), func(r *frame.Request) { r.Keys = append(r.Keys, key(4)) }),
		"lease with action":        of(leaseRequest(), func(r *frame.Request) { r.Action = "read" }),
		"lease of no name":         of(leaseRequest(), func(r *frame.Request) { r.Name = "a//b" }),
		"lease without id":         of(leaseRequest(), func(r *frame.Request) { r.ID = core.SecretID{} }),
		"lease with version":       of(leaseRequest(), func(r *frame.Request) { r.Version = 1 }),
		"lease of no time":         of(leaseRequest(), func(r *frame.Request) { r.LeaseSecs = 0 }),
		"lease too long":           of(leaseRequest(), func(r *frame.Request) { r.LeaseSecs = frame.MaxLeaseSecs + 1 }),
		"unwrap with lease":        of(one(), func(r *frame.Request) { r.LeaseSecs = 1 }),
		"unwrap with file":         of(one(), func(r *frame.Request) { r.File = 1 }),
		"no items":                 readEachRequest(0),
		"too many items":           readEachRequest(frame.MaxItems + 1),
		"item of no name":          of(readEachRequest(2), func(r *frame.Request) { r.Items[1].Name = "../x" }),
		"item without id":          of(readEachRequest(1), func(r *frame.Request) { r.Items[0].ID = core.SecretID{} }),
		"item without a key":       of(readEachRequest(1), func(r *frame.Request) { r.Items[0].Key.Wrapped = nil }),
		"item of unknown code":     of(readEachRequest(1), func(r *frame.Request) { r.Items[0] = frame.Item{Code: "conflict"} }),
		"item with key and code":   of(readEachRequest(1), func(r *frame.Request) { r.Items[0].Code = core.Denied }),
		"item of a long name":      of(readEachRequest(1), func(r *frame.Request) { r.Items[0] = frame.Item{Name: long, Code: core.Invalid} }),
		"items of 1.5 MB":          of(readEachRequest(256), func(r *frame.Request) { r.Items = withWrapped(r.Items, 6000) }),
	}
}

func TestBadRequestsAreNotSent(t *testing.T) {
	for name, r := range badRequests() {
		b, err := frame.AppendRequest([]byte("dst"), r)
		if core.CodeOf(err) != core.Invalid || string(b) != "dst" {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

// replace parses a good body after one change of its bytes.
func replace(t *testing.T, r *frame.Request, old, new string) error {
	t.Helper()
	body := mustRequest(t, r)[frame.HeaderSize:]
	if strings.Count(string(body), old) != 1 {
		t.Fatalf("%q is not there once", old)
	}
	got, err := frame.ParseRequest([]byte(strings.Replace(string(body), old, new, 1)))
	if (got == nil) != (err != nil) {
		t.Errorf("%+v beside %v", got, err)
	}
	return err
}

// What a strict sender would not send is refused all the same.
func TestForgedRequestsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name     string
		request  *frame.Request
		old, new string
	}{
		{"protocol version", generateRequest(), "\x01\x01\x00\x00\x00\x03app", "\x02\x01\x00\x00\x00\x03app"},
		{"op 0", generateRequest(), "\x01\x01\x00\x00\x00\x03app", "\x01\x00\x00\x00\x00\x03app"},
		{"op 4", generateRequest(), "\x01\x01\x00\x00\x00\x03app", "\x01\x04\x00\x00\x00\x03app"},
		{"database empty", generateRequest(), "\x00\x00\x00\x03app", "\x00\x00\x00\x00"},
		{"database zero byte", generateRequest(), "app", "a\x00p"},
		{"database not UTF-8", generateRequest(), "app", "a\xffp"},
		{"length too long", generateRequest(), "\x00\x00\x00\x03app", "\x00\x00\x00\x04app"},
		{"length huge", generateRequest(), "\x00\x00\x00\x03app", "\xff\xff\xff\xffapp"},
		{"client address", generateRequest(), "10.0.0.7", "10.0.0.x"},
		{"id zero", generateRequest(), string(testID[:]), strings.Repeat("\x00", 16)},
		{"version 0", generateRequest(), "\x00\x07", "\x00\x00"},
		{"version 2^63", generateRequest(), "\x00\x00\x00\x00\x00\x00\x00\x07", "\x80\x00\x00\x00\x00\x00\x00\x07"},
		{"action", unwrapRequest(key(1)), "\x00\x00\x00\x04read", "\x00\x00\x00\x04list"},
		{"name", unwrapRequest(key(1)), "db/password", "db/passw*rd"},
		{"no keys", unwrapRequest(key(1)), "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x07local:1\x00\x00\x00\x0bwrapped key", "\x00\x00\x00\x00"},
		{"a key too few", unwrapRequest(key(9), key(9)), "\x02\x00\x00\x00\x02\x00\x00", "\x02\x00\x00\x00\x03\x00\x00"},
		{"many keys", unwrapRequest(key(9), key(9)), "\x02\x00\x00\x00\x02\x00\x00", "\x02\xff\xff\xff\xff\x00\x00"},
		{"key id empty", unwrapRequest(key(1)), "\x00\x00\x00\x07local:1", "\x00\x00\x00\x00"},
		{"wrapped empty", unwrapRequest(key(1)), "\x00\x00\x00\x0bwrapped key", "\x00\x00\x00\x00"},
		{"outcome", recordRequest(), "\x00\x00\x00\x06denied\x00\x00\x00\x06denied", "\x00\x00\x00\x06allowd\x00\x00\x00\x06denied"},
		{"code", recordRequest(), "\x00\x00\x00\x06denied\x00\x00\x00\x06denied", "\x00\x00\x00\x06denied\x00\x00\x00\x06xenied"},
		{"code empty", recordRequest(), "\x00\x00\x00\x06denied\x00\x00\x00\x06denied", "\x00\x00\x00\x06denied\x00\x00\x00\x00"},
	} {
		if err := replace(t, tt.request, tt.old, tt.new); core.CodeOf(err) != core.Invalid {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestBadResponsesAreNotSent(t *testing.T) {
	of := func(r *frame.Response, change func(*frame.Response)) *frame.Response { return with(r, change) }
	for name, r := range map[string]*frame.Response{
		"nothing":                  {},
		"op 6":                     {Op: 6},
		"op 6 failed":              {Op: 6, Code: core.Denied},
		"unknown code":             {Op: frame.OpRecord, Code: "conflict"},
		"message on success":       {Op: frame.OpRecord, Msg: "fine"},
		"long message":             of(failure(0), func(r *frame.Response) { r.Msg = strings.Repeat("m", 1025) }),
		"message not UTF-8":        of(failure(0), func(r *frame.Response) { r.Msg = "\xff" }),
		"failure with keys":        of(failure(frame.OpUnwrap), func(r *frame.Response) { r.Keys = keys(1) }),
		"failure with wrapped":     of(failure(frame.OpGenerate), func(r *frame.Response) { r.Wrapped = []byte("w") }),
		"failure with key id":      of(failure(frame.OpGenerate), func(r *frame.Response) { r.KeyID = "k" }),
		"record with keys":         {Op: frame.OpRecord, Keys: keys(1)},
		"record with key id":       {Op: frame.OpRecord, KeyID: "k"},
		"generate without keys":    of(generateResponse(), func(r *frame.Response) { r.Keys = nil }),
		"generate two keys":        of(generateResponse(), func(r *frame.Response) { r.Keys = keys(2) }),
		"generate short key":       of(generateResponse(), func(r *frame.Response) { r.Keys[0] = r.Keys[0][:31] }),
		"generate no key id":       of(generateResponse(), func(r *frame.Response) { r.KeyID = "" }),
		"generate not wrapped":     of(generateResponse(), func(r *frame.Response) { r.Wrapped = nil }),
		"unwrap without keys":      unwrapResponse(0),
		"unwrap with results":      of(unwrapResponse(1), func(r *frame.Response) { r.Results = readEachResponse(1).Results }),
		"lease without key":        of(leaseResponse(), func(r *frame.Response) { r.Keys = nil }),
		"lease of two keys":        of(leaseResponse(), func(r *frame.Response) { r.Keys = keys(2) }),
		"lease without file":       of(leaseResponse(), func(r *frame.Response) { r.File = 0 }),
		"lease of no time":         of(leaseResponse(), func(r *frame.Response) { r.LeaseMillis = 0 }),
		"lease too long":           of(leaseResponse(), func(r *frame.Response) { r.LeaseMillis = frame.MaxLeaseSecs*1000 + 1 }),
		"lease failed":             of(leaseResponse(), func(r *frame.Response) { r.Code, r.Keys = core.Denied, nil }),
		"unwrap with lease":        of(unwrapResponse(1), func(r *frame.Response) { r.LeaseMillis, r.File = 1, 1 }),
		"no results":               readEachResponse(0),
		"too many results":         readEachResponse(frame.MaxItems + 1),
		"results with keys":        of(readEachResponse(1), func(r *frame.Response) { r.Keys = keys(1) }),
		"result of a short key":    of(readEachResponse(1), func(r *frame.Response) { r.Results[0].Key = r.Results[0].Key[:31] }),
		"result of unknown code":   of(readEachResponse(1), func(r *frame.Response) { r.Results[0] = frame.Result{Code: "conflict"} }),
		"result of key and code":   of(readEachResponse(1), func(r *frame.Response) { r.Results[0].Code = core.Denied }),
		"result of only a message": of(readEachResponse(1), func(r *frame.Response) { r.Results[0].Msg = "m" }),
		"result of a long message": of(readEachResponse(1), func(r *frame.Response) {
			r.Results[0] = frame.Result{Code: core.Denied, Msg: strings.Repeat("m", frame.MaxItemMsgLen+1)}
		}),
		"unwrap 65 keys":          unwrapResponse(65),
		"unwrap long key":         of(unwrapResponse(2), func(r *frame.Response) { r.Keys[1] = append(r.Keys[1], 0) }),
		"unwrap with wrapped key": of(unwrapResponse(1), func(r *frame.Response) { r.KeyID, r.Wrapped = "k", []byte("w") }),
	} {
		b, err := frame.AppendResponse([]byte("dst"), r)
		if core.CodeOf(err) != core.Internal || string(b) != "dst" {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

func TestForgedResponsesAreRefused(t *testing.T) {
	body := func(r *frame.Response) string { return string(mustResponse(t, r)[frame.HeaderSize:]) }
	unwrap := body(unwrapResponse(1))
	for name, b := range map[string]string{
		"empty":              "",
		"version only":       "\x01",
		"protocol version":   "\x02" + unwrap[1:],
		"op 0 success":       "\x01\x00\x00\x00\x00\x00",
		"op 6 failed":        "\x01\x06" + body(failure(0))[2:],
		"code":               strings.Replace(body(failure(0)), "denied", "Denied", 1),
		"two keys, one told": unwrap + unwrap[10:],
		"count 2":            strings.Replace(unwrap, "\x00\x00\x00\x01\x00\x00\x00\x20", "\x00\x00\x00\x02\x00\x00\x00\x20", 1),
		"count huge":         strings.Replace(unwrap, "\x00\x00\x00\x01\x00\x00\x00\x20", "\xff\xff\xff\xff\x00\x00\x00\x20", 1),
		"count 0":            "\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00",
		"key of 31":          unwrap[:13] + "\x1f" + unwrap[14:len(unwrap)-1],
		"record with more":   "\x01\x03\x00\x00\x00\x00\x00",
		"generate no key":    "\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01k\x00\x00\x00\x01w",
		"http":               "HTTP/1.1 400 Bad Request\r\n\r\n",
	} {
		r, err := frame.ParseResponse([]byte(b))
		if core.CodeOf(err) != core.Unavailable || r != nil {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// No frame is another one cut or extended.
func TestTruncatedAndExtendedAreRefused(t *testing.T) {
	for _, r := range goodRequests()[:7] {
		body := mustRequest(t, r)[frame.HeaderSize:]
		for n := range body {
			if _, err := frame.ParseRequest(body[:n]); core.CodeOf(err) != core.Invalid {
				t.Fatalf("%s cut to %d of %d: %v", r.Op, n, len(body), err)
			}
		}
		if _, err := frame.ParseRequest(append(slices.Clone(body), 0)); core.CodeOf(err) != core.Invalid {
			t.Errorf("%s extended: %v", r.Op, err)
		}
	}
	for _, r := range goodResponses()[:8] {
		body := mustResponse(t, r)[frame.HeaderSize:]
		for n := range body {
			if _, err := frame.ParseResponse(body[:n]); core.CodeOf(err) != core.Unavailable {
				t.Fatalf("%s cut to %d of %d: %v", r.Op, n, len(body), err)
			}
		}
		if _, err := frame.ParseResponse(append(slices.Clone(body), 0)); core.CodeOf(err) != core.Unavailable {
			t.Errorf("%s extended: %v", r.Op, err)
		}
	}
}

// A few bytes that announce many keys cost no memory for them.
func TestForgedCountsCostNothing(t *testing.T) {
	body := mustRequest(t, unwrapRequest(key(9)))[frame.HeaderSize:]
	request := []byte(strings.Replace(string(body), "\x02\x00\x00\x00\x01\x00", "\x02\x00\x10\x00\x00\x00", 1))
	response := []byte("\x01\x02\x00\x00\x00\x00\x00\x10\x00\x00")
	if bytes.Equal(request, body) {
		t.Fatal("the count is not where the test looks for it")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, reqErr := frame.ParseRequest(request)
	_, respErr := frame.ParseResponse(response)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; reqErr == nil || respErr == nil || n > 1<<20 {
		t.Errorf("%d bytes allocated for %v and %v", n, reqErr, respErr)
	}
}

func TestErrorsRepeatNothingOfTheBody(t *testing.T) {
	const marker = "MARKERMARKER"
	for _, body := range []string{
		"\x01\x02\x00\x00\x00\x0c" + marker, "\x01\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0c" + marker,
		"\x01\x01\x00\x00\x00\x00\x00\x00\x00\x0c" + marker + "\x00\x00\x00\x01k\x00\x00\x00\x01w", marker,
	} {
		_, reqErr := frame.ParseRequest([]byte(body))
		_, respErr := frame.ParseResponse([]byte(body))
		for _, err := range []error{reqErr, respErr} {
			if err == nil || strings.Contains(err.Error(), "MARK") {
				t.Errorf("%q: %v", body, err)
			}
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	b, err := frame.AppendRequest([]byte("before"), generateRequest())
	if err != nil || !bytes.Equal(b, append([]byte("before"), mustRequest(t, generateRequest())...)) {
		t.Errorf("appended to %q, %v", b, err)
	}
}

// Keys are written into one buffer only: a frame that grew while it was written
// would leave keys in the smaller ones.
func TestAppendResponseDoesNotGrowOnTheWay(t *testing.T) {
	for _, r := range goodResponses() {
		size := len(mustResponse(t, r))
		buf := make([]byte, 0, size)
		b, err := frame.AppendResponse(buf, r)
		if err != nil || len(b) != size || &b[0] != &buf[:1][0] {
			t.Errorf("%s: %d bytes do not fit in %d, %v", r.Op, len(b), size, err)
		}
		if n := testing.AllocsPerRun(10, func() { _, _ = frame.AppendResponse(nil, r) }); n > 1 {
			t.Errorf("%s: %v allocations, want one buffer", r.Op, n)
		}
	}
}

func TestResponseWipe(t *testing.T) {
	for _, want := range []*frame.Response{generateResponse(), unwrapResponse(3)} {
		body := mustResponse(t, want)[frame.HeaderSize:]
		r, err := frame.ParseResponse(body)
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(body)
		r.Wipe()
		if r.Keys != nil {
			t.Error("keys are still there")
		}
		for i, k := range want.Keys {
			if !bytes.Contains(before, k) || bytes.Contains(body, k) {
				t.Errorf("key %d is still in the body", i)
			}
		}
		r.Wipe()
	}
	(&frame.Response{}).Wipe()
}

// Appending to a key that was parsed must not reach the bytes after it.
func TestKeysDoNotOverlap(t *testing.T) {
	r, err := frame.ParseResponse(mustResponse(t, unwrapResponse(2))[frame.HeaderSize:])
	if err != nil {
		t.Fatal(err)
	}
	_ = append(r.Keys[0], 0xff, 0xff, 0xff, 0xff, 0xff)
	if !bytes.Equal(r.Keys[1], keys(2)[1]) {
		t.Error("appending to the first key changed the second")
	}
}

func header(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func TestReadBody(t *testing.T) {
	two := slices.Concat(header(2), []byte("ab"), header(3), []byte("cde"))
	t.Run("OK", func(t *testing.T) {
		r := iotest.OneByteReader(bytes.NewReader(two))
		buf := make([]byte, 2)
		first, err := frame.ReadBody(r, buf)
		if err != nil || string(first) != "ab" || &first[0] != &buf[0] {
			t.Errorf("first is %q, %v", first, err)
		}
		second, err := frame.ReadBody(r, buf)
		if err != nil || string(second) != "cde" {
			t.Errorf("second is %q, %v", second, err)
		}
		if _, err := frame.ReadBody(r, buf); !errors.Is(err, io.EOF) || core.CodeOf(err) != core.Unavailable {
			t.Errorf("after the end: %v", err)
		}
	})
	t.Run("Largest", func(t *testing.T) {
		b := append(header(frame.MaxSize), make([]byte, frame.MaxSize)...)
		if body, err := frame.ReadBody(bytes.NewReader(b), nil); err != nil || len(body) != frame.MaxSize {
			t.Errorf("%d bytes, %v", len(body), err)
		}
	})
	for _, tt := range []struct {
		name string
		in   io.Reader
		code core.Code
		is   error
	}{
		{"ErrEnded", bytes.NewReader(nil), core.Unavailable, io.EOF},
		{"ErrHalfHeader", bytes.NewReader(two[:3]), core.Unavailable, io.ErrUnexpectedEOF},
		{"ErrNoBody", bytes.NewReader(two[:4]), core.Unavailable, io.ErrUnexpectedEOF},
		{"ErrHalfBody", bytes.NewReader(two[:5]), core.Unavailable, io.ErrUnexpectedEOF},
		{"ErrReader", iotest.ErrReader(io.ErrClosedPipe), core.Unavailable, io.ErrClosedPipe},
		{"ErrTimeout", iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(two))), core.Unavailable, iotest.ErrTimeout},
		{"ErrZero", bytes.NewReader(header(0)), core.Invalid, nil},
		{"ErrLarger", bytes.NewReader(header(frame.MaxSize + 1)), core.TooLarge, nil},
		{"ErrLargest", bytes.NewReader(header(0xffffffff)), core.TooLarge, nil},
		{"ErrHTTP", strings.NewReader("GET / HTTP/1.1\r\n\r\n"), core.TooLarge, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body, err := frame.ReadBody(tt.in, nil)
			if core.CodeOf(err) != tt.code || body != nil || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
}

func TestReadBodyWipesWhatItRead(t *testing.T) {
	buf := make([]byte, 8)
	if _, err := frame.ReadBody(bytes.NewReader(append(header(8), "key"...)), buf); err == nil || !bytes.Equal(buf, make([]byte, 8)) {
		t.Errorf("%v, buffer %q", err, buf)
	}
}

func TestOpString(t *testing.T) {
	for op, want := range map[frame.Op]string{0: "none", 1: "generate", 2: "unwrap", 3: "record", 4: "read-each", 5: "lease", 6: "none"} {
		if op.String() != want {
			t.Errorf("Op %d is %s, want %s", op, op, want)
		}
	}
}

// seedBodies adds a body of each good frame and some broken ones, and fails if
// there are none.
func seedBodies(f *testing.F, frames [][]byte) {
	f.Helper()
	if len(frames) < 5 {
		f.Fatalf("%d seeds", len(frames))
	}
	for _, b := range frames {
		body := b[frame.HeaderSize:]
		if len(body) > 4096 {
			continue // the fuzzer is slow on long seeds
		}
		f.Add(body)
		f.Add(body[:len(body)-1])
		f.Add(append(slices.Clone(body), 0))
	}
	f.Add([]byte{})
}

func FuzzParseRequest(f *testing.F) {
	var frames [][]byte
	for _, r := range goodRequests() {
		frames = append(frames, mustRequest(f, r))
	}
	seedBodies(f, frames)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := frame.ParseRequest(body)
		if err != nil {
			if core.CodeOf(err) != core.Invalid || r != nil {
				t.Errorf("%+v beside %v", r, err)
			}
			return
		}
		b, err := frame.AppendRequest(nil, r)
		if err != nil || !bytes.Equal(b[frame.HeaderSize:], body) {
			t.Errorf("%q is %+v, which is %q: %v", body, r, b, err)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	var frames [][]byte
	for _, r := range goodResponses() {
		frames = append(frames, mustResponse(f, r))
	}
	seedBodies(f, frames)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := frame.ParseResponse(body)
		if err != nil {
			if core.CodeOf(err) != core.Unavailable || r != nil {
				t.Errorf("%+v beside %v", r, err)
			}
			return
		}
		b, err := frame.AppendResponse(nil, r)
		if err != nil || !bytes.Equal(b[frame.HeaderSize:], body) {
			t.Errorf("%q is %+v, which is %q: %v", body, r, b, err)
		}
	})
}

func FuzzReadBody(f *testing.F) {
	f.Add(mustRequest(f, generateRequest()))
	f.Add(mustResponse(f, unwrapResponse(2)))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 9, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		body, err := frame.ReadBody(bytes.NewReader(stream), nil)
		if err != nil {
			if body != nil {
				t.Errorf("%q beside %v", body, err)
			}
			return
		}
		if want := append(header(uint32(len(body))), body...); !bytes.HasPrefix(stream, want) {
			t.Errorf("%q gives %q", stream, body)
		}
	})
}
