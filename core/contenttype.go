package core

import (
	"bytes"
	"encoding/json"
	"mime"
	"strings"
	"unicode/utf8"
)

// ContentType is an IANA media type in canonical form. It says what a value is.
// ParseContentType returns canonical values. The zero ContentType counts as Text.
type ContentType string

const (
	// Text is the default.
	Text ContentType = "text/plain; charset=utf-8"
	// JSON is one JSON document.
	JSON ContentType = "application/json"
	// Binary is any bytes.
	Binary ContentType = "application/octet-stream"
)

// ParseContentType returns s in canonical form, which parses to itself. Type,
// subtype and charset are lower case, and parameters are sorted. The empty string
// is Text. The error is Invalid. It is returned for what is not a media type, for a
// range such as "text/*", for a text longer than MaxContentTypeLen, and for a text
// type with a charset other than UTF-8 or US-ASCII.
func ParseContentType(s string) (ContentType, error) {
	switch ct := ContentType(s); ct {
	case "", Text:
		return Text, nil
	case JSON, Binary:
		return ct, nil
	}
	if len(s) > MaxContentTypeLen {
		return "", Errorf(Invalid, "content type is %d bytes long, the limit is %d", len(s), MaxContentTypeLen)
	}
	canonical, ok := canonicalMediaType(s)
	if !ok {
		return "", Errorf(Invalid, "content type is not a media type such as %q", Text)
	}
	// Go's formatter and parser disagree on odd parameters. A type that does not
	// survive its own formatting would be bound into a seal under a spelling that no
	// client can send again.
	again, ok := canonicalMediaType(canonical)
	if !ok || again != canonical || len(canonical) > MaxContentTypeLen {
		return "", Errorf(Invalid, "content type has no canonical form")
	}
	ct := ContentType(canonical)
	if err := ct.checkCharset(); err != nil {
		return "", err
	}
	return ct, nil
}

func canonicalMediaType(s string) (string, bool) {
	base, params, err := mime.ParseMediaType(s)
	if err != nil {
		return "", false
	}
	major, minor, found := strings.Cut(base, "/")
	if !found || !isMediaName(major) || !isMediaName(minor) {
		return "", false
	}
	if charset, ok := params["charset"]; ok {
		params["charset"] = strings.ToLower(charset)
	}
	formatted := mime.FormatMediaType(base, params)
	for _, c := range []byte(formatted) {
		if c < ' ' || c > '~' {
			return "", false
		}
	}
	return formatted, formatted != ""
}

// isMediaName reports whether s is a restricted name of RFC 6838. That excludes
// the star of a media range.
func isMediaName(s string) bool {
	if s == "" || strings.IndexByte("!#$&-^_.+", s[0]) >= 0 {
		return false
	}
	for _, c := range []byte(s) {
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alnum && strings.IndexByte("!#$&-^_.+", c) < 0 {
			return false
		}
	}
	return true
}

func (ct ContentType) checkCharset() error {
	if !ct.IsText() {
		return nil
	}
	_, params, err := mime.ParseMediaType(string(ct))
	if err != nil {
		return Wrap(Invalid, err, "content type %s is not a media type", Quote(string(ct)))
	}
	switch params["charset"] {
	case "", "utf-8", "us-ascii":
		return nil
	}
	return Errorf(Invalid, "content type %s names another charset; text values are UTF-8", Quote(string(ct)))
}

// base returns the canonical type without its parameters.
func (ct ContentType) base() string {
	if ct == "" {
		ct = Text
	}
	base, _, _ := strings.Cut(string(ct), ";")
	return base
}

// IsText reports whether values of this type are text: text/*, application/json
// and every +json type.
func (ct ContentType) IsText() bool {
	return strings.HasPrefix(ct.base(), "text/") || ct.IsJSON()
}

// IsJSON reports whether values of this type are JSON documents: application/json and every +json type.
func (ct ContentType) IsJSON() bool {
	base := ct.base()
	return base == string(JSON) || strings.HasSuffix(base, "+json")
}

// CheckValue returns nil if value may be stored under this type. A value has 1 to
// limit bytes. For a text type it is valid UTF-8 without a zero byte. For a JSON
// type it is exactly one JSON document. A limit of zero or less means
// DefaultMaxValueLen, and one above MaxValueLen means MaxValueLen. Errors are
// TooLarge or Invalid and never contain any part of value. CheckValue keeps and
// wipes nothing.
func (ct ContentType) CheckValue(value []byte, limit int) error {
	if limit <= 0 {
		limit = DefaultMaxValueLen
	}
	limit = min(limit, MaxValueLen)
	switch {
	case len(value) == 0:
		return Errorf(Invalid, "value is empty")
	case len(value) > limit:
		return Errorf(TooLarge, "value is %d bytes long, the limit is %d", len(value), limit)
	case !ct.IsText():
		return nil
	case !utf8.Valid(value):
		return Errorf(Invalid, "value is not valid UTF-8, which content type %s needs", Quote(ct.base()))
	case bytes.IndexByte(value, 0) >= 0:
		return Errorf(Invalid, "value has a zero byte, which content type %s does not allow", Quote(ct.base()))
	case ct.IsJSON() && !json.Valid(value):
		return Errorf(Invalid, "value is not one valid JSON document, which content type %s needs", Quote(ct.base()))
	}
	return nil
}
