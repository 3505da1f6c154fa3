package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// answerWith is the body of a response that carries key n times.
func answerWith(t *testing.T, key []byte, op frame.Op, n int) []byte {
	t.Helper()
	r := &frame.Response{Op: op}
	for range n {
		r.Keys = append(r.Keys, key)
	}
	if op == frame.OpGenerate {
		r.KeyID, r.Wrapped = "local:x", []byte("wrapped")
	}
	wire, err := frame.AppendResponse(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Clone(wire[frame.HeaderSize:])
	clear(wire)
	return body
}

// TestKeysAreWiped: no key of an answer is left, in the body that it came in either, however its use ends.
func TestKeysAreWiped(t *testing.T) {
	failed := errors.New("failed")
	for what, c := range map[string]struct {
		op   frame.Op
		n    int
		use  func(*frame.Response) error
		want core.Code
	}{
		"OK":                    {frame.OpUnwrap, 3, func(*frame.Response) error { return nil }, ""},
		"OK generate":           {frame.OpGenerate, 1, func(*frame.Response) error { return nil }, ""},
		"ErrUse":                {frame.OpUnwrap, 3, func(*frame.Response) error { return failed }, core.Internal},
		"ErrPanic":              {frame.OpUnwrap, 3, func(*frame.Response) error { panic("on purpose") }, core.Internal},
		"ErrAnotherQuestion":    {frame.OpGenerate, 3, nil, core.Unavailable},
		"ErrAnotherNumberOfIts": {frame.OpUnwrap, 2, nil, core.Unavailable},
	} {
		key := residue.New(t, envelope.KeySize)
		sent, n := c.op, c.n
		if c.want == core.Unavailable {
			sent, n = frame.OpUnwrap, 3
		}
		plain := key.Bytes()
		body := answerWith(t, plain, sent, n)
		clear(plain)
		err := func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("%v", p)
				}
			}()
			return useAnswer(body, c.op, c.n, c.use)
		}()
		if (err == nil) != (c.want == "") || err != nil && core.CodeOf(err) != c.want {
			t.Errorf("%s: %v", what, err)
		}
		key.Want(0, what)
	}
}

// TestValuesAreWiped: a value is there while it is used, and not afterwards.
func TestValuesAreWiped(t *testing.T) {
	key := bytes.Repeat([]byte{1}, envelope.KeySize)
	bound := envelope.Binding{ID: core.SecretID{1}, Name: "a", Version: 1, ContentType: core.JSON}
	for what, use := range map[string]func([]byte){"OK": func([]byte) {}, "ErrPanic": func([]byte) { panic("on purpose") }} {
		v := residue.New(t, 64)
		plain := v.Bytes()
		s, err := envelope.Seal(key, bound, plain)
		if err != nil {
			t.Fatal(err)
		}
		clear(plain)
		seen := 0
		func() {
			defer func() { _ = recover() }()
			if err := useValue(key, bound, s, func(value []byte) { seen = v.Count(); use(value) }); err != nil {
				t.Error(err)
			}
		}()
		if seen != 1 {
			t.Errorf("%s: %d copies while it was used", what, seen)
		}
		v.Want(0, what)
	}
	v := residue.New(t, 64)
	failed := errors.New("failed")
	if err := usePlain(v.Bytes(), failed, func([]byte) { t.Error("used") }); !errors.Is(err, failed) {
		t.Error(err)
	}
	v.Want(0, "a value beside an error")
}

// TestNothingIsWipedElsewhere: an export that opens or parses something by itself is in no test of wipes.
func TestNothingIsWipedElsewhere(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	holding := regexp.MustCompile(`envelope\.Open\(|frame\.ParseResponse\(|Wipe\(`)
	unused := regexp.MustCompile(`\b(p\.Generate|p\.Replace)\([^\n]*\n\t\treturn usePlain\(`)
	made := 0
	for _, f := range files {
		text := read(t, f.Name())
		if m := holding.FindString(text); m != "" && f.Name() != "wipe.go" && f.Name() != "wipe_test.go" {
			t.Errorf("%s calls %s", f.Name(), m)
		}
		made += len(unused.FindAllString(text, -1))
	}
	if made != 2 {
		t.Errorf("%d values are made and given to usePlain at once, want 2", made)
	}
}
