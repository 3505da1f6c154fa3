package frame_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

func leaseRequest() *frame.Request {
	return &frame.Request{
		Op: frame.OpLease, Origin: origin(), Name: "db/password", ID: testID, Keys: []frame.WrappedKey{key(3)}, LeaseSecs: 60,
	}
}

func leaseResponse() *frame.Response {
	return &frame.Response{Op: frame.OpLease, Keys: keys(1), LeaseMillis: 60000, File: 2}
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
