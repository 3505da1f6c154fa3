package console

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// showFor is how long a page shows a value.
const showFor = 30 * time.Second

// revealed is the page around a value, which is not in it: Mark is where it goes.
type revealed struct {
	Name    core.Name
	Version uint64
	Current bool
	Base64  bool
	Seconds int
	Mark    string
}

// read reads the value that a form asks for. The caller wipes it.
func (v *visit) read() (vault.Value, error) {
	f, err := v.form(smallForm)
	defer f.wipe()
	if err != nil {
		return vault.Value{}, v.c.vault.Reject(v.ctx(), v.caller, vault.ActionRead, "", err)
	}
	version, err := versionOf(f.text("version"))
	if err != nil {
		return vault.Value{}, v.c.vault.Reject(v.ctx(), v.caller, vault.ActionRead, f.text("name"), err)
	}
	return v.c.vault.Read(v.ctx(), v.caller, f.text("name"), version)
}

// versionOf reads a version; "" is the current one.
func versionOf(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, core.Errorf(core.Invalid, "the version is not a number")
	}
	return n, nil
}

// reveal shows one value, and has the browser leave the page after a while.
func (v *visit) reveal() error {
	value, err := v.read()
	if err != nil {
		return err
	}
	defer value.Wipe()
	var mark [16]byte
	if _, err := rand.Read(mark[:]); err != nil {
		return core.Wrap(core.Internal, err, "draw a mark")
	}
	shown, coded := printable(value.Plain)
	defer envelope.Wipe(shown)
	p := revealed{
		Name: value.Name, Version: value.Version, Current: value.Version == value.CurrentVersion, Base64: coded,
		Seconds: int(showFor / time.Second), Mark: hex.EncodeToString(mark[:]),
	}
	var out bytes.Buffer
	if err := templates["value.html"].ExecuteTemplate(&out, "layout", v.page("Value of "+string(value.Name), "secrets", p)); err != nil {
		return core.Wrap(core.Internal, err, "make the page of a value")
	}
	before, after, found := bytes.Cut(out.Bytes(), []byte(p.Mark))
	if !found {
		return core.Errorf(core.Internal, "the page of a value has no mark")
	}
	escaped := escape(shown)
	defer envelope.Wipe(escaped)
	v.Writer.Header().Set("Refresh", fmt.Sprintf("%d; url=%s", p.Seconds, link("/secret", "name", string(value.Name))))
	v.html(http.StatusOK, before, escaped, after)
	return nil
}

// copyValue answers a value as text, for the script that copies it without showing it.
func (v *visit) copyValue() error {
	value, err := v.read()
	if err != nil {
		return err
	}
	defer value.Wipe()
	shown, _ := printable(value.Plain)
	defer envelope.Wipe(shown)
	h := v.Writer.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(shown)))
	v.Writer.WriteHeader(http.StatusOK)
	_, _ = v.Writer.Write(shown)
	return nil
}

// printable returns a copy of a value that can be shown: itself, or in base64 if it is no text. The caller wipes it.
func printable(plain []byte) (shown []byte, coded bool) {
	for b := plain; len(b) > 0; {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' {
			shown = make([]byte, base64.StdEncoding.EncodedLen(len(plain)))
			base64.StdEncoding.Encode(shown, plain)
			return shown, true
		}
		b = b[size:]
	}
	return bytes.Clone(plain), false
}

// escape returns text for an element of a page, in a buffer of its own that is never grown. The caller wipes it.
func escape(text []byte) []byte {
	const longest = len("&#34;")
	out := make([]byte, 0, len(text)*longest)
	for _, c := range text {
		switch c {
		case '&':
			out = append(out, "&amp;"...)
		case '<':
			out = append(out, "&lt;"...)
		case '>':
			out = append(out, "&gt;"...)
		case '"':
			out = append(out, "&#34;"...)
		case '\'':
			out = append(out, "&#39;"...)
		case '\r':
			out = append(out, "&#13;"...)
		default:
			out = append(out, c)
		}
	}
	return out
}
