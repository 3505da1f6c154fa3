package audit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// A line of a journal is
//
//	CRC32C SPACE JSON LF
//
// The checksum, eight hexadecimal digits, is of the JSON, whose members come in one order and are left out when empty:
//
//	17d3f9a1 {"seq":7,"at":"2026-11-24T09:30:00.000001Z","node":"node1","actor":"reader","ip":"192.0.2.7","action":"read","name":"db/password","version":3,"outcome":"ok","request":"…"}
//
// The record of a leased read ends with "leased":"FILE:OFFSET" in addition, which says where it was taken from. There is
// one spelling of every record.

const (
	sumLen     = 8
	timeLayout = "2006-01-02T15:04:05.000000Z"
	// maxText is the most bytes of one text of a record, as it is read again; longer ones are cut.
	maxText = 1024
	// maxLine is more than any line has: twelve texts, all of them escaped.
	maxLine = 128 << 10
	// usualLine is more than most lines have.
	usualLine = 512
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errLine is a line that no journal wrote.
var errLine = errors.New("the line is not one of a journal")

// appendRest appends what follows the number in a line, without LF.
func appendRest(b []byte, at time.Time, e *vault.Entry) []byte {
	b = append(b, `"at":"`...)
	b = at.UTC().AppendFormat(b, timeLayout)
	b = append(b, '"')
	b = appendText(b, "node", e.Origin.Node)
	b = appendText(b, "actor", e.Origin.Actor)
	b = appendText(b, "session", e.Origin.SessionRole)
	if e.Origin.ClientIP.IsValid() {
		b = append(b, `,"ip":"`...)
		b = e.Origin.ClientIP.WithZone("").AppendTo(b)
		b = append(b, '"')
	}
	b = appendText(b, "action", string(e.Action))
	b = appendText(b, "name", e.Name)
	if e.Version != 0 {
		b = strconv.AppendUint(append(b, `,"version":`...), e.Version, 10)
	}
	b = appendText(b, "outcome", string(e.Outcome))
	b = appendText(b, "code", string(e.Code))
	b = appendText(b, "request", e.Origin.RequestID)
	return append(b, '}')
}

const leasedMember = `,"leased":"`

// appendTaken gives a rest the member that says where it was taken from.
func appendTaken(rest []byte, t vault.Taken) []byte {
	if t.File == 0 {
		return rest
	}
	b := append(rest[:len(rest)-1], leasedMember...)
	b = append(strconv.AppendUint(b, t.File, 10), ':')
	return append(strconv.AppendInt(b, t.End, 10), `"}`...)
}

// takenOf returns where the record of a line without LF was taken from; zero for a record that came another way. No text
// of a line holds a quotation mark without a backslash, so only the member itself looks like it.
func takenOf(line []byte) (t vault.Taken) {
	rest, ok := bytes.CutSuffix(line, []byte(`"}`))
	if !ok {
		return t
	}
	i := bytes.LastIndex(rest, []byte(leasedMember))
	if i < 0 {
		return t
	}
	return parseTaken(string(rest[i+len(leasedMember):]))
}

// parseTaken reads FILE:OFFSET; zero for anything else.
func parseTaken(text string) vault.Taken {
	file, end, _ := strings.Cut(text, ":")
	f, ferr := strconv.ParseUint(file, 10, 63)
	e, eerr := strconv.ParseInt(end, 10, 64)
	if ferr != nil || eerr != nil || e < 0 {
		return vault.Taken{}
	}
	return vault.Taken{File: f, End: e}
}

// appendJournaled appends the line of a record.
func appendJournaled(b []byte, r *vault.Journaled) []byte {
	return appendLine(b, r.Sequence, appendTaken(appendRest(make([]byte, 0, usualLine), r.At, &r.Entry), r.Taken))
}

// appendText appends a member unless it is empty. What PostgreSQL's text cannot hold, NUL and invalid UTF-8, is shown
// as U+FFFD, so that every record can arrive.
func appendText(b []byte, key, text string) []byte {
	if text == "" {
		return b
	}
	b = append(append(append(b, `,"`...), key...), `":"`...)
	if len(text) <= maxText && isPlain(text) {
		return append(append(b, text...), '"')
	}
	size := 0 // of what stands in the line: U+FFFD is three bytes in place of one
	for _, r := range text {
		if r == 0 {
			r = utf8.RuneError
		}
		if size += utf8.RuneLen(r); size > maxText {
			return append(b, '"')
		}
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// isPlain reports whether a text stands in a line as it is: most texts do.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

const hexDigits = "0123456789abcdef"

// appendLine appends the line of a number and a rest.
func appendLine(b []byte, sequence uint64, rest []byte) []byte {
	start := len(b)
	b = append(b, "00000000 "...)
	b = append(strconv.AppendUint(append(b, `{"seq":`...), sequence, 10), ',')
	b = append(b, rest...)
	putSum(b[start:])
	return append(b, '\n')
}

// putSum writes the checksum of a line without LF.
func putSum(line []byte) {
	sum := crc32.Checksum(line[sumLen+1:], castagnoli)
	hex.Encode(line, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// lineNumber returns the number of a line without LF whose checksum is right; 0 if it is not.
func lineNumber(line []byte) uint64 {
	const head = len("00000000 " + `{"seq":`)
	if len(line) <= head || line[sumLen] != ' ' || string(line[sumLen+1:head]) != `{"seq":` {
		return 0
	}
	var sum [sumLen / 2]byte
	if _, err := hex.Decode(sum[:], line[:sumLen]); err != nil {
		return 0
	}
	want := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
	if crc32.Checksum(line[sumLen+1:], castagnoli) != want {
		return 0
	}
	end := bytes.IndexByte(line[head:], ',')
	if end < 0 {
		return 0
	}
	n, err := strconv.ParseUint(string(line[head:head+end]), 10, 63)
	if err != nil {
		return 0
	}
	return n
}

// parseLine reads a line without LF. It takes nothing that would be written in another way: it writes what it has read
// again, and compares.
func parseLine(line []byte) (vault.Journaled, error) {
	number := lineNumber(line)
	if number == 0 || len(line) > maxLine {
		return vault.Journaled{}, errLine
	}
	r, err := parseMembers(line[bytes.IndexByte(line, ','):])
	if err != nil {
		return vault.Journaled{}, errLine
	}
	r.Sequence = number
	again := appendJournaled(make([]byte, 0, len(line)+1), &r)
	if !bytes.Equal(again[:len(again)-1], line) {
		return vault.Journaled{}, errLine
	}
	return r, nil
}

// parseMembers reads the members behind the number, each from its comma on, in their order. It is not strict.
func parseMembers(b []byte) (r vault.Journaled, err error) {
	var at, ip, action, outcome, code, leased, version string
	for _, m := range []struct {
		key string
		to  *string
	}{
		{"at", &at}, {"node", &r.Origin.Node}, {"actor", &r.Origin.Actor}, {"session", &r.Origin.SessionRole}, {"ip", &ip},
		{"action", &action}, {"name", &r.Name}, {"version", &version}, {"outcome", &outcome}, {"code", &code},
		{"request", &r.Origin.RequestID}, {"leased", &leased},
	} {
		if m.key == "version" {
			*m.to, b = cutNumber(b, m.key)
		} else {
			*m.to, b = cutText(b, m.key)
		}
	}
	r.Action, r.Outcome, r.Code, r.Taken = vault.Action(action), vault.Outcome(outcome), core.Code(code), parseTaken(leased)
	if r.At, err = time.Parse(timeLayout, at); err == nil && ip != "" {
		r.Origin.ClientIP, err = netip.ParseAddr(ip)
	}
	if err == nil && version != "" {
		r.Version, err = strconv.ParseUint(version, 10, 64)
	}
	return r, err
}

// cutMember returns what follows the colon of a member that b begins with. ok is false if b begins with another one.
func cutMember(b []byte, key string) (value []byte, ok bool) {
	n := len(`,"":`) + len(key)
	if len(b) < n || string(b[2:2+len(key)]) != key || string(b[:2]) != `,"` || string(b[n-2:n]) != `":` {
		return nil, false
	}
	return b[n:], true
}

// cutNumber cuts a number from the head of b, "" if b begins with another member.
func cutNumber(b []byte, key string) (digits string, rest []byte) {
	value, ok := cutMember(b, key)
	if !ok {
		return "", b
	}
	rest = bytes.TrimLeft(value, "0123456789")
	return string(value[:len(value)-len(rest)]), rest
}

// cutText cuts a text as appendText has written it from the head of b, "" if b begins with another member.
func cutText(b []byte, key string) (text string, rest []byte) {
	value, ok := cutMember(b, key)
	if !ok || len(value) == 0 || value[0] != '"' {
		return "", b
	}
	value = value[1:]
	end := bytes.IndexAny(value, `"\\`)
	if end >= 0 && value[end] == '"' {
		return string(value[:end]), value[end+1:]
	}
	var out []byte
	for i := 0; i < len(value); i++ {
		switch {
		case value[i] == '"':
			return string(out), value[i+1:]
		case value[i] != '\\':
			out = append(out, value[i])
		case bytes.HasPrefix(value[i:], []byte(`\u00`)) && len(value) >= i+6:
			code, _ := strconv.ParseUint(string(value[i+4:i+6]), 16, 8) // what is none is not written again
			out = append(out, byte(code))
			i += 5
		case len(value) > i+1:
			out = append(out, value[i+1])
			i++
		}
	}
	return "", b // it does not end
}
