package frame

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// encoder appends fields to a frame in a buffer that already has room for all of
// it: growing it would leave a copy of the keys behind.
type encoder struct{ b []byte }

func newEncoder(dst []byte, bodySize int) encoder {
	if need := len(dst) + HeaderSize + bodySize; cap(dst) < need {
		dst = append(make([]byte, 0, need), dst...)
	}
	e := encoder{dst}
	e.u32(bodySize)
	return e
}

func (e *encoder) byte(v byte)    { e.b = append(e.b, v) }
func (e *encoder) u32(v int)      { e.b = binary.BigEndian.AppendUint32(e.b, uint32(v)) }
func (e *encoder) u64(v uint64)   { e.b = binary.BigEndian.AppendUint64(e.b, v) }
func (e *encoder) raw(v []byte)   { e.b = append(e.b, v...) }
func (e *encoder) bytes(v []byte) { e.u32(len(v)); e.raw(v) }

func (e *encoder) strings(vs ...string) {
	for _, v := range vs {
		e.u32(len(v))
		e.b = append(e.b, v...)
	}
}

// sizeOf is what strings need in a body.
func sizeOf(vs ...string) int {
	n := 0
	for _, v := range vs {
		n += 4 + len(v)
	}
	return n
}

// decoder takes fields off a body. After the first field that is not there every
// later one reads as zero and short stays true.
type decoder struct {
	b     []byte
	short bool
}

// take returns the next n bytes, which alias the body.
func (d *decoder) take(n uint64) []byte {
	if d.short || n > uint64(len(d.b)) {
		d.short, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) bytes() []byte  { return d.take(uint64(d.u32())) }
func (d *decoder) string() string { return string(d.bytes()) }

// count returns the length of a list, at most limit.
func (d *decoder) count(limit uint32) int {
	n := d.u32()
	if n > limit {
		d.short, d.b = true, nil
		return 0
	}
	return int(n)
}

// done reports whether every field was there and nothing is left.
func (d *decoder) done() bool { return !d.short && len(d.b) == 0 }

// isText reports whether s is at most limit bytes of UTF-8 without a zero byte,
// which is what a PostgreSQL text can hold.
func isText(s string, limit int) bool {
	return len(s) <= limit && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// isWord reports whether s is 1 to MaxActionLen of a-z and _.
func isWord(s string) bool {
	for _, c := range []byte(s) {
		if c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= MaxActionLen
}
