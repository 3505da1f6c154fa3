package frame_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

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
