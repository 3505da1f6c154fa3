package frame

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

func leasedRead() *LeasedRead {
	return &LeasedRead{At: time.UnixMicro(1795942800123456).UTC(), Origin: Origin{
		Database: "app", Role: "app_rw", SessionRole: "login", ClientAddr: "10.0.0.7", RequestID: "pid-7",
	}, Name: "db/password", Version: 3}
}

func mustAppendLeased(t testing.TB, r *LeasedRead) []byte {
	t.Helper()
	b, err := AppendLeasedRead(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLeasedRead(t *testing.T) {
	odd := leasedRead()
	odd.Origin.Role = "a\\b\tc\nd\x01e\u00e9\x1f"
	odd.Origin.SessionRole, odd.Origin.ClientAddr = "", ""
	for name, r := range map[string]*LeasedRead{"OK": leasedRead(), "OKEscaped": odd} {
		t.Run(name, func(t *testing.T) {
			b := mustAppendLeased(t, r)
			if len(b) > MaxLeasedRead || bytes.Count(b, []byte{leasedStart}) != 1 || bytes.Count(b, []byte{leasedEnd}) != 1 {
				t.Fatalf("%q", b)
			}
			got, ok, skipped, n := NextLeasedRead(append(b, "rest"...))
			if !ok || skipped || n != len(b) || got != *r {
				t.Fatalf("%+v %v %v %d", got, ok, skipped, n)
			}
		})
	}
	t.Run("Vector", func(t *testing.T) {
		want, err := os.ReadFile("testdata/leasedread.txt")
		if err != nil {
			t.Fatal(err)
		}
		if got := mustAppendLeased(t, leasedRead()); !bytes.Equal(got, want) {
			t.Errorf("%q, and the vector is %q", got, want)
		}
	})
}

// TestLeasedReadLongest: no record is longer than a reader accepts.
func TestLeasedReadLongest(t *testing.T) {
	r := leasedRead()
	long := strings.Repeat("\x02", MaxText)
	r.Origin.Database, r.Origin.Role, r.Origin.SessionRole = long, long, long
	r.Origin.RequestID = strings.Repeat("\\", MaxRequestIDLen)
	r.Name = strings.Repeat("n", core.MaxNameLen)
	if b := mustAppendLeased(t, r); len(b) > MaxLeasedRead {
		t.Errorf("%d bytes", len(b))
	}
}

func TestLeasedReadDamaged(t *testing.T) {
	whole := mustAppendLeased(t, leasedRead())
	t.Run("EachBit", func(t *testing.T) {
		for i := range whole {
			for bit := range 8 {
				b := bytes.Clone(whole)
				b[i] ^= 1 << bit
				if r, ok, _, _ := NextLeasedRead(append(b, '\n')); ok {
					t.Fatalf("byte %d bit %d: %+v", i, bit, r)
				}
			}
		}
	})
	t.Run("CutAnywhere", func(t *testing.T) {
		for cut := range whole {
			b := append(bytes.Clone(whole[:cut]), whole...)
			r, ok, skipped, n := NextLeasedRead(b)
			if !ok || r != *leasedRead() || skipped != (cut > 0) || n != len(b) {
				t.Fatalf("cut at %d: %+v %v %v %d", cut, r, ok, skipped, n)
			}
		}
	})
	t.Run("NoEndYet", func(t *testing.T) {
		for cut := range whole {
			if _, ok, skipped, n := NextLeasedRead(whole[:cut]); ok || skipped || n != 0 {
				t.Fatalf("cut at %d", cut)
			}
		}
	})
}

func TestLeasedReadProblems(t *testing.T) {
	for name, change := range map[string]func(*LeasedRead){
		"NoRole":     func(r *LeasedRead) { r.Origin.Role = "" },
		"NoName":     func(r *LeasedRead) { r.Name = "" },
		"BadName":    func(r *LeasedRead) { r.Name = "a//b" },
		"NoVersion":  func(r *LeasedRead) { r.Version = 0 },
		"BadAddress": func(r *LeasedRead) { r.Origin.ClientAddr = "here" },
		"Before1970": func(r *LeasedRead) { r.At = time.UnixMicro(-1) },
		"Far":        func(r *LeasedRead) { r.At = time.UnixMicro(latestMicro + 1) },
		"Nanosecond": func(r *LeasedRead) { r.At = r.At.Add(1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := leasedRead()
			change(r)
			if b, err := AppendLeasedRead(nil, r); core.CodeOf(err) != core.Invalid || b != nil {
				t.Errorf("%q %v", b, err)
			}
		})
	}
}

// FuzzNextLeasedRead: what parses encodes to the same bytes, and nothing panics or stands still.
func FuzzNextLeasedRead(f *testing.F) {
	whole := mustAppendLeased(f, leasedRead())
	for _, seed := range [][]byte{whole, append(bytes.Clone(whole[:20]), whole...), []byte("\n"), []byte("x"), {leasedStart, '\n'}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			r, ok, skipped, n := NextLeasedRead(b)
			if n == 0 {
				if bytes.IndexByte(b, leasedEnd) >= 0 {
					t.Fatal("stands still")
				}
				return
			}
			if ok {
				again := mustAppendLeased(t, &r)
				if !bytes.HasSuffix(b[:n], again) || skipped != (len(again) != n) {
					t.Fatalf("%q becomes %q", b[:n], again)
				}
			}
			b = b[n:]
		}
	})
}
