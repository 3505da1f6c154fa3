package audit

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 1000, time.UTC)

func fullEntry() vault.Entry {
	return vault.Entry{
		Origin: vault.Origin{
			Node: "node1", Actor: "role:rôle", SessionRole: "login", ClientIP: netip.MustParseAddr("2001:db8::7"), RequestID: "req-1",
		},
		Action: vault.ActionRead, Name: "db/pass\"\\\n\x7f", Version: 1 << 62, Outcome: vault.OutcomeFailed, Code: "not_found",
	}
}

func line(seq uint64, e vault.Entry) []byte {
	b := appendLine(nil, seq, appendRest(nil, noon, &e))
	return b[:len(b)-1]
}

func TestLine(t *testing.T) {
	t.Run("OK", func(t *testing.T) {
		for _, e := range []vault.Entry{fullEntry(), {}, {Action: vault.ActionList, Outcome: vault.OutcomeOK}} {
			got, err := parseLine(line(7, e))
			if diff := cmp.Diff(vault.Journaled{Sequence: 7, At: noon, Entry: e}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		}
	})
	t.Run("OKAsDocumented", func(t *testing.T) {
		want := `{"seq":7,"at":"2026-11-24T12:00:00.000001Z","node":"node1","actor":"role:rôle","session":"login","ip":"2001:db8::7",` +
			`"action":"read","name":"db/pass\"\\\u000a\u007f","version":4611686018427387904,"outcome":"failed","code":"not_found","request":"req-1"}`
		if got := string(line(7, fullEntry())[sumLen+1:]); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	t.Run("OKWhatTextCannotHold", func(t *testing.T) {
		e := vault.Entry{Name: "a\x00b\xffc", Origin: vault.Origin{RequestID: strings.Repeat("é", maxText)}}
		got, err := parseLine(line(1, e))
		if err != nil || got.Name != "a\uFFFDb\uFFFDc" || got.Origin.RequestID != strings.Repeat("é", maxText/2) {
			t.Errorf("%v %q, %d bytes", err, got.Name, len(got.Origin.RequestID))
		}
	})
	t.Run("OKWhatGrows", func(t *testing.T) {
		for _, text := range []string{"\xff", "\x00", "a\xff", "\u00e9\x00"} {
			e := vault.Entry{Name: strings.Repeat(text, maxText)}
			got, err := parseLine(line(1, e))
			if err != nil || len(got.Name) > maxText || len(got.Name) < maxText-2 {
				t.Errorf("many %q: %v, %d bytes", text, err, len(got.Name))
			}
		}
	})
	t.Run("ErrEveryBit", func(t *testing.T) {
		good := line(7, fullEntry())
		for i := range good {
			for bit := range 8 {
				bad := bytes.Clone(good)
				bad[i] ^= 1 << bit
				if _, err := parseLine(bad); err == nil {
					t.Fatalf("byte %d bit %d: %s", i, bit, bad)
				}
			}
		}
	})
	t.Run("ErrAnotherSpelling", func(t *testing.T) {
		for _, json := range []string{
			`{"seq":7,"at":"2026-11-24T12:00:00Z"}`, `{"seq":7, "at":"2026-11-24T12:00:00.000001Z"}`,
			`{"seq":07,"at":"2026-11-24T12:00:00.000001Z"}`, `{"seq":7,"at":"2026-11-24T12:00:00.000001Z","more":1}`,
			`{"seq":7,"at":"2026-11-24T12:00:00.000001Z","name":""}`, `{"seq":7,"at":"2026-11-24T12:00:00.000001Z"}x`,
			`{"seq":0,"at":"2026-11-24T12:00:00.000001Z"}`, `{"seq":7,"at":"2026-11-24T12:00:00.000001Z","Name":"a"}`,
			`{"seq":7,"at":"2026-11-24T12:00:00.000001Z","ip":"fe80::1%eth0"}`, `{"seq":7}`, `{"seq":7,}`, `null`, ``,
		} {
			l := append([]byte("00000000 "), json...)
			putSum(l)
			if got, err := parseLine(l); err == nil {
				t.Errorf("%s: %v", json, got)
			}
		}
	})
}

// FuzzParseLine: what parses is spelt in the one way there is, whatever the checksum is made to say.
func FuzzParseLine(f *testing.F) {
	for _, e := range []vault.Entry{fullEntry(), {}, {Name: "a\x00\xff\u2028", Version: 3}} {
		f.Add(line(1, e)[sumLen+1:])
	}
	for _, rest := range []string{
		`}`, `,"name":"a"}`, `,"name":"\u0041"}`, `,"name":"\u00e9"}`, `,"name":"\u00zz"}`, `,"name":"\n"}`, `,"name":"a\"}`, `,"name":"a\"b\\"}`,
		`,"name":"\u0000"}`, `,"name":"a`, `,"name":1}`, `,"version":"1"}`, `,"version":1,"name":"a"}`, `,"version":01}`, `,"leased":"3:120"}`,
		`,"leased":"3:0120"}`, `,"ip":"192.0.2.7"}`, `,"ip":"192.0.2.07"}`, ` }`, `,"request":"x"}}`, `,"Name":"a"}`, "},\"name\":\"\xff\"}",
	} {
		f.Add([]byte(`{"seq":1,"at":"2026-11-24T12:00:00.000001Z"` + rest))
	}
	f.Fuzz(func(t *testing.T, json []byte) {
		l := append([]byte("00000000 "), json...)
		putSum(l)
		r, err := parseLine(l)
		if want, jerr := jsonLine(l); (err == nil) != (jerr == nil) || err == nil && r != want {
			t.Fatalf("%q is read as %+v, %v; by JSON it is %+v, %v", l, r, err, want, jerr)
		}
		if err != nil {
			return
		}
		again := appendJournaled(nil, &r)
		if !bytes.Equal(again, append(l, '\n')) || bytes.IndexByte(l, '\n') >= 0 || r.Sequence == 0 {
			t.Errorf("%q is also spelt %q", l, again)
		}
	})
}

// FuzzWriteLine: whatever is recorded can be read again, and says the same as far as text can.
func FuzzWriteLine(f *testing.F) {
	for _, text := range []string{"", "db/password", "a\x00\xff\u2028\"\\\n", strings.Repeat("\xff", 400), strings.Repeat("\x00", 400), strings.Repeat("\xffé", 300)} {
		f.Add(text, text, []byte{192, 0, 2, 7}, uint64(len(text)))
	}
	f.Fuzz(func(t *testing.T, name, other string, ip []byte, version uint64) {
		e := vault.Entry{
			Origin: vault.Origin{Node: other, Actor: other, SessionRole: name, RequestID: other},
			Action: vault.Action(other), Name: name, Version: version, Outcome: vault.Outcome(name), Code: core.Code(other),
		}
		e.Origin.ClientIP, _ = netip.AddrFromSlice(ip)
		r, err := parseLine(line(1, e))
		if err != nil {
			t.Fatalf("%q is not readable: %v", line(1, e), err)
		}
		if utf8.ValidString(name) && len(name) <= maxText/3 && r.Name != strings.ReplaceAll(name, "\x00", "\uFFFD") {
			t.Errorf("%q is read as %q", name, r.Name)
		}
		if r.Version != version || r.Origin.ClientIP != e.Origin.ClientIP {
			t.Errorf("%+v is read as %+v", e, r)
		}
	})
}

// jsonLine reads a line with encoding/json, as a reader that knows nothing of the writer would. It is the meaning of parseLine.
func jsonLine(line []byte) (vault.Journaled, error) {
	var m struct {
		Seq                                                                        uint64
		Version                                                                    uint64
		At, Node, Actor, Session, IP, Action, Name, Outcome, Code, Request, Leased string
	}
	var r vault.Journaled
	if lineNumber(line) == 0 {
		return r, errLine
	}
	if err := json.Unmarshal(line[sumLen+1:], &m); err != nil {
		return r, err
	}
	at, err := time.Parse(timeLayout, m.At)
	if err != nil {
		return r, err
	}
	r = vault.Journaled{Sequence: m.Seq, At: at, Taken: parseTaken(m.Leased), Entry: vault.Entry{
		Origin: vault.Origin{Node: m.Node, Actor: m.Actor, SessionRole: m.Session, RequestID: m.Request},
		Action: vault.Action(m.Action), Name: m.Name, Version: m.Version, Outcome: vault.Outcome(m.Outcome), Code: core.Code(m.Code),
	}}
	if m.IP != "" {
		r.Origin.ClientIP, err = netip.ParseAddr(m.IP)
	}
	if again := appendJournaled(nil, &r); err == nil && !bytes.Equal(again[:len(again)-1], line) {
		err = errLine
	}
	return r, err
}
