package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
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
	return appendLine(b, r.Sequence, appendTaken(appendRest(nil, r.At, &r.Entry), r.Taken))
}

// appendText appends a member unless it is empty. What PostgreSQL's text cannot hold, NUL and invalid UTF-8, is shown
// as U+FFFD, so that every record can arrive.
func appendText(b []byte, key, text string) []byte {
	if text == "" {
		return b
	}
	b = append(append(append(b, `,"`...), key...), `":"`...)
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

// members are those of a line's JSON.
type members struct {
	Seq     uint64 `json:"seq"`
	At      string `json:"at"`
	Node    string `json:"node"`
	Actor   string `json:"actor"`
	Session string `json:"session"`
	IP      string `json:"ip"`
	Action  string `json:"action"`
	Name    string `json:"name"`
	Version uint64 `json:"version"`
	Outcome string `json:"outcome"`
	Code    string `json:"code"`
	Request string `json:"request"`
	Leased  string `json:"leased"`
}

// parseLine reads a line without LF. It takes nothing that would be written in another way.
func parseLine(line []byte) (vault.Journaled, error) {
	var r vault.Journaled
	if lineNumber(line) == 0 || len(line) > maxLine {
		return r, errLine
	}
	var m members
	if err := json.Unmarshal(line[sumLen+1:], &m); err != nil {
		return r, errLine
	}
	at, err := time.Parse(timeLayout, m.At)
	if err != nil {
		return r, errLine
	}
	r = vault.Journaled{Sequence: m.Seq, At: at, Taken: parseTaken(m.Leased), Entry: vault.Entry{
		Origin: vault.Origin{Node: m.Node, Actor: m.Actor, SessionRole: m.Session, RequestID: m.Request},
		Action: vault.Action(m.Action), Name: m.Name, Version: m.Version,
		Outcome: vault.Outcome(m.Outcome), Code: core.Code(m.Code),
	}}
	if m.IP != "" {
		if r.Origin.ClientIP, err = netip.ParseAddr(m.IP); err != nil {
			return vault.Journaled{}, errLine
		}
	}
	again := appendJournaled(make([]byte, 0, len(line)+1), &r)
	if !bytes.Equal(again[:len(again)-1], line) {
		return vault.Journaled{}, errLine
	}
	return r, nil
}
