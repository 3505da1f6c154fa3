package frame

import (
	"bytes"
	"encoding/hex"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// A record of a leased read is one line that a backend appends to a file:
//
//	SOH CRC32C TAB at TAB database TAB role TAB session-role TAB client-addr TAB request-id TAB name TAB version LF
//
// The checksum, eight hexadecimal digits, is of what follows the first TAB, without LF. at is in microseconds since 1970.
// In a text, a backslash and every byte below 0x20 is a backslash and two hexadecimal digits. So SOH is found only at the
// beginning of a record, and LF only at its end. A record that was cut off ends with the next SOH.
const (
	leasedStart = 0x01
	leasedEnd   = '\n'
	leasedSum   = 8
	// MaxLeasedRead is more than the longest record has.
	MaxLeasedRead = 8 << 10
)

// LeasedRead is a read with a leased key, as the backend that made it records it.
type LeasedRead struct {
	At      time.Time // to the microsecond, from 1970 on
	Origin  Origin
	Name    string // by the rules of core.Name
	Version uint64 // 1 to the largest SQL bigint
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendLeasedRead appends the record of r, from SOH to LF. A record that breaks a rule is an Invalid error, and nothing is
// appended.
func AppendLeasedRead(dst []byte, r *LeasedRead) ([]byte, error) {
	if p := r.problem(); p != "" {
		return dst, core.Errorf(core.Invalid, "leased read: %s", p)
	}
	start := len(dst)
	b := append(dst, "\x0100000000\t"...)
	body := len(b)
	b = strconv.AppendInt(b, r.At.UnixMicro(), 10)
	o := r.Origin
	for _, text := range []string{o.Database, o.Role, o.SessionRole, o.ClientAddr, o.RequestID, r.Name} {
		b = appendEscaped(append(b, '\t'), text)
	}
	b = strconv.AppendUint(append(b, '\t'), r.Version, 10)
	putLeasedSum(b[start+1:], b[body:])
	return append(b, leasedEnd), nil
}

func putLeasedSum(to, body []byte) {
	sum := crc32.Checksum(body, castagnoli)
	hex.Encode(to, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

func appendEscaped(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c == '\\' {
			b = hex.AppendEncode(append(b, '\\'), []byte{c})
		} else {
			b = append(b, c)
		}
	}
	return b
}

// NextLeasedRead splits off what ends with the first LF of b: the record there, and how many bytes it and what stands
// before it take. skipped says that there is something else than one whole record, as a write that was cut off leaves,
// or bytes that no backend writes. n is 0 when b has no LF.
func NextLeasedRead(b []byte) (r LeasedRead, ok, skipped bool, n int) {
	end := bytes.IndexByte(b, leasedEnd)
	if end < 0 {
		return r, false, false, 0
	}
	start := bytes.LastIndexByte(b[:end], leasedStart)
	if start < 0 {
		return r, false, true, end + 1
	}
	r, ok = parseLeasedRead(b[start+1 : end])
	return r, ok, !ok || start > 0, end + 1
}

// parseLeasedRead reads a record without SOH and LF. It takes nothing that AppendLeasedRead would write in another way.
func parseLeasedRead(line []byte) (r LeasedRead, ok bool) {
	if len(line) <= leasedSum || len(line) > MaxLeasedRead || line[leasedSum] != '\t' {
		return r, false
	}
	body := line[leasedSum+1:]
	var sum [leasedSum]byte
	if putLeasedSum(sum[:], body); !bytes.Equal(sum[:], line[:leasedSum]) {
		return r, false
	}
	fields := strings.Split(string(body), "\t")
	if len(fields) != 8 {
		return r, false
	}
	for i := 1; i < 7; i++ {
		if fields[i], ok = unescape(fields[i]); !ok {
			return LeasedRead{}, false
		}
	}
	at, aerr := strconv.ParseInt(fields[0], 10, 64)
	version, verr := strconv.ParseUint(fields[7], 10, 63)
	if aerr != nil || verr != nil || strconv.FormatInt(at, 10) != fields[0] || strconv.FormatUint(version, 10) != fields[7] {
		return LeasedRead{}, false
	}
	r = LeasedRead{At: time.UnixMicro(at).UTC(), Origin: Origin{
		Database: fields[1], Role: fields[2], SessionRole: fields[3], ClientAddr: fields[4], RequestID: fields[5],
	}, Name: fields[6], Version: version}
	if r.problem() != "" {
		return LeasedRead{}, false
	}
	return r, true
}

// unescape undoes appendEscaped; false for what that does not write.
func unescape(text string) (string, bool) {
	if strings.IndexByte(text, '\\') < 0 {
		return text, strings.IndexFunc(text, func(c rune) bool { return c < 0x20 }) < 0
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			var raw [1]byte
			if i+3 > len(text) {
				return "", false
			}
			if _, err := hex.Decode(raw[:], []byte(text[i+1:i+3])); err != nil {
				return "", false
			}
			c = raw[0]
			i += 2
		}
		out = append(out, c)
	}
	return string(out), string(appendEscaped(nil, string(out))) == text
}

// latestMicro is the end of the year 9999, which PostgreSQL and the journal can both hold.
var latestMicro = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).UnixMicro()

func (r *LeasedRead) problem() string {
	if p := r.Origin.problem(); p != "" {
		return p
	}
	if _, err := core.ParseName(r.Name); err != nil {
		return "name is not the name of a secret"
	}
	switch at := r.At.UnixMicro(); {
	case at < 0 || at > latestMicro || !time.UnixMicro(at).Equal(r.At):
		return "time is out of range"
	case r.Version == 0 || r.Version > math.MaxInt64:
		return "version is out of range"
	}
	return ""
}
