// Package residue counts the copies of a value in the memory of the test process. A test passes a random value through
// the code, drops everything that it holds itself, and sees whether the code has wiped what it held. A copy that was
// dropped without a wipe stays in memory until the garbage collector has given it to other code, so the collector is
// off meanwhile. It knows nothing of what it looks for, and imports nothing of the product.
package residue

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

// pageSize is the memory that a Value or the window of a count takes.
const pageSize = 1 << 20

// Value is what is looked for. It is kept outside the memory of Go, in pages that a count leaves out.
type Value struct {
	t       testing.TB
	page    []byte
	n       int
	regions []region // left out
}

type region struct{ from, to uint64 }

// New returns a random value of n hexadecimal digits. n is 16 at least: anything shorter could be there by chance.
// The test must not be parallel to others: it stops the garbage collector until it ends.
func New(t testing.TB, n int) *Value {
	t.Helper()
	v := prepare(t, n)
	raw := v.page[n : n+(n+1)/2]
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	hex.Encode(v.page[:n+n%2], bytes.Clone(raw))
	clear(raw)
	return v
}

// Of looks for the bytes of b, of which b itself is one copy.
func Of(t testing.TB, b []byte) *Value {
	t.Helper()
	v := prepare(t, len(b))
	copy(v.page, b)
	return v
}

func prepare(t testing.TB, n int) *Value {
	t.Helper()
	if n < 16 || n > pageSize/2 {
		t.Fatalf("a value of %d bytes cannot be looked for", n)
	}
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process can be read on Linux only")
	}
	collect := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(collect) })
	v := &Value{t: t, n: n}
	v.page = v.mapped()
	return v
}

// mapped returns memory that no count reads.
func (v *Value) mapped() []byte {
	v.t.Helper()
	b, err := syscall.Mmap(-1, 0, pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = syscall.Munmap(b) })
	from := addressOf(b)
	v.regions = append(v.regions, region{from, from + pageSize})
	return b
}

// Bytes returns a copy, with capacity for nothing else.
func (v *Value) Bytes() []byte { return bytes.Clone(v.page[:v.n]) }

// Within returns a copy of the value between two texts, without another copy of it.
func (v *Value) Within(before, after string) []byte {
	b := make([]byte, 0, len(before)+v.n+len(after))
	b = append(b, before...)
	b = append(b, v.page[:v.n]...)
	return append(b, after...)
}

// Count returns how many copies are in the memory of the process, but for the Value's own.
func (v *Value) Count() int {
	v.t.Helper()
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		v.t.Fatal(err)
	}
	defer memory.Close()
	window := v.mapped()
	n := 0
	for _, r := range v.writable() {
		n += v.countIn(memory, r, window)
	}
	return n
}

// countIn reads a region window by window, of which each repeats the end of the one before it.
func (v *Value) countIn(memory *os.File, r region, window []byte) (n int) {
	for at := r.from; at < r.to; at += uint64(len(window) - v.n + 1) {
		got, err := memory.ReadAt(window[:min(uint64(len(window)), r.to-at)], int64(at))
		if n += bytes.Count(window[:got], v.page[:v.n]); err != nil {
			return n // it is gone meanwhile, or can be mapped and not read
		}
	}
	return n
}

// writable returns the regions of memory that the process can write to, without those that belong to a Value.
func (v *Value) writable() (all []region) {
	v.t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		v.t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(maps))
	for lines.Scan() {
		var r region
		var rights string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &r.from, &r.to, &rights); err != nil && err != io.EOF {
			v.t.Fatal(err)
		}
		if strings.HasPrefix(rights, "rw") {
			all = append(all, v.without(r)...)
		}
	}
	return all
}

// without takes the Value's own memory out of a region, with which the kernel may have merged it.
func (v *Value) without(r region) []region {
	all := []region{r}
	for _, own := range v.regions {
		var left []region
		for _, r := range all {
			if own.to <= r.from || r.to <= own.from {
				left = append(left, r)
				continue
			}
			if r.from < own.from {
				left = append(left, region{r.from, own.from})
			}
			if own.to < r.to {
				left = append(left, region{own.to, r.to})
			}
		}
		all = left
	}
	return all
}

// addressOf returns where b begins.
func addressOf(b []byte) uint64 {
	var at uint64
	_, _ = fmt.Sscanf(fmt.Sprintf("%p", b), "0x%x", &at)
	return at
}

// Want fails the test unless there are n copies.
func (v *Value) Want(n int, when string) {
	v.t.Helper()
	if got := v.Count(); got != n {
		v.t.Errorf("%s: %d copies of the value are in memory, want %d", when, got, n)
	}
}
