package frame_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

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

func header(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
