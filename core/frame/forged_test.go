package frame_test

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// badRequests cannot be sent, and if a program sends them they are refused.
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
