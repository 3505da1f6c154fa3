package core

import (
	"strings"
	"unicode/utf8"
)

// Name is the name of a secret. It has 1 to 255 bytes. Its segments consist of
// A-Z a-z 0-9 . _ - and are joined by single slashes; no segment is "." or "..".
// So a name has one spelling, is safe in a URL path and never leaves a prefix.
// The zero Name is not a name.
type Name string

// ParseName returns s as a Name, or an Invalid error that says what is wrong. The
// error does not quote s, because what is not a name may be a value in the wrong
// place.
func ParseName(s string) (Name, error) {
	if err := checkName("name", s); err != nil {
		return "", err
	}
	return Name(s), nil
}

// ParsePrefix checks the prefix of a listing and returns it unchanged. A prefix is
// empty (every name), a name, or a name and a slash. HasPrefix says what it
// selects. The error is Invalid and quotes at most a short part of s.
func ParsePrefix(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	base := strings.TrimSuffix(s, "/")
	if base == "" {
		return "", Errorf(Invalid, "prefix %s has no name before the slash", Quote(s))
	}
	if err := checkName("prefix", base); err != nil {
		return "", err
	}
	return s, nil
}

// HasPrefix reports whether a prefix selects n. It expects a prefix that ParsePrefix accepts. "db" selects db itself and
// every name below it, "db/" every name below it, and "" every name. It compares whole segments, as Pattern does, so
// neither "db" nor "db/" selects dbx. The zero Name is never selected.
func HasPrefix(n Name, prefix string) bool {
	rest, ok := strings.CutPrefix(string(n), prefix)
	switch {
	case !ok || n == "":
		return false
	case prefix == "" || strings.HasSuffix(prefix, "/"):
		return rest != ""
	}
	return rest == "" || rest[0] == '/'
}

// Pattern selects names in a grant. "*" selects every name. "a/b/*" selects every
// name below a/b but not a/b itself. Anything else selects the one name that it
// spells. The zero Pattern matches nothing.
type Pattern string

const (
	anyName   = "*"
	belowMark = "/*"
)

// ParsePattern returns s as a Pattern, or an Invalid error that quotes at most a
// short part of s. A star is allowed alone or as the whole last segment.
func ParsePattern(s string) (Pattern, error) {
	if s == anyName {
		return Pattern(s), nil
	}
	base, below := strings.CutSuffix(s, belowMark)
	if below && base == "" {
		return "", Errorf(Invalid, `pattern %s has no name before "/*"; "*" alone is every name`, Quote(s))
	}
	if err := checkName("pattern", base); err != nil {
		return "", err
	}
	return Pattern(s), nil
}

// Matches reports whether p selects n. An empty pattern or name never matches.
func (p Pattern) Matches(n Name) bool {
	if p == "" || n == "" {
		return false
	}
	if p == anyName {
		return true
	}
	if base, below := strings.CutSuffix(string(p), belowMark); below {
		// The slash is part of the comparison: without it a/b/* would reach a/bc.
		rest, ok := strings.CutPrefix(string(n), base+"/")
		return ok && rest != ""
	}
	return string(p) == string(n)
}

// checkName applies the rules of Name to s; what ("name", "prefix", "pattern")
// is how the error calls it. A name is not quoted: what is none may be a value in
// the wrong place, and errors are logged.
func checkName(what, s string) error {
	quoted := what
	if what != "name" {
		quoted += " " + Quote(s)
	}
	switch {
	case s == "":
		return Errorf(Invalid, "%s is empty", what)
	case len(s) > MaxNameLen:
		return Errorf(Invalid, "%s is %d bytes long, the limit is %d", quoted, len(s), MaxNameLen)
	case !utf8.ValidString(s):
		return Errorf(Invalid, "%s is not valid UTF-8", quoted)
	}
	for i, r := range s {
		if !isNameRune(r) {
			return Errorf(Invalid, "%s has a character at byte %d that is not allowed; allowed are A-Z a-z 0-9 . _ - and / between segments",
				quoted, i)
		}
	}
	return checkSegments(quoted, s)
}

func checkSegments(quoted, s string) error {
	for seg := range strings.SplitSeq(s, "/") {
		switch seg {
		case "":
			return Errorf(Invalid, "%s has an empty segment: no slash first, last or twice in a row", quoted)
		case ".", "..":
			return Errorf(Invalid, `%s has a segment %q, which is not allowed`, quoted, seg)
		}
	}
	return nil
}

func isNameRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return r == '.' || r == '_' || r == '-' || r == '/'
}
