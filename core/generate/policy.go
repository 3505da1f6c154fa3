// Package generate makes the values of automatic secrets.
//
// A Policy says how long a value is and which classes of characters it has. Each
// enabled class appears at least once, and every text that a policy allows is
// equally likely. Generate draws whole values and draws again if one lacks a
// class. Adding a missing character afterwards would favour some texts.
package generate

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	// MinLength is the shortest value, in characters. It exceeds the number of
	// classes, so that a value always fits a character of each class.
	MinLength = 8
	// MaxLength is the longest value, in characters.
	MaxLength = 1024
	// DefaultLength is the length of Default: 190 bits with its 62 characters.
	DefaultLength = 32
	// MaxFieldLen is the longest name of a JSON field, in bytes.
	MaxFieldLen = 255
	// MaxPolicyLen is the longest JSON text Parse reads, in bytes.
	MaxPolicyLen = 4096
)

// The characters of each class. Symbols leaves out quotes, backquote and
// backslash, which shells, SQL and connection strings treat specially.
const (
	lowerChars  = "abcdefghijklmnopqrstuvwxyz"
	upperChars  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digitChars  = "0123456789"
	symbolChars = "!#$%&()*+,-./:;<=>?@[]^_{|}~"
)

// maxExclude is the number of printable ASCII characters: more cannot differ.
const maxExclude = '~' - '!' + 1

// Policy says what a generated value looks like. The zero Policy is not valid, so
// start from Default. A Policy may be used concurrently.
type Policy struct {
	// Length is the number of characters, MinLength to MaxLength.
	Length int `json:"length"`
	// Lower to Symbols enable a class of characters. At least one is needed.
	Lower   bool `json:"lower"`
	Upper   bool `json:"upper"`
	Digits  bool `json:"digits"`
	Symbols bool `json:"symbols"`
	// Exclude lists characters that never appear, for example "0O1lI". They are
	// printable ASCII. At least one character of each enabled class must remain.
	Exclude string `json:"exclude"`
	// JSONField names a field at the top of a JSON object: a rotation replaces
	// its text and keeps everything else. "" = the whole value is generated.
	JSONField string `json:"json_field,omitempty"`
	// AllowWeak lets CheckStrength accept fewer bits than MinBits, for example for a
	// PIN.
	AllowWeak bool `json:"allow_weak,omitempty"`
}

// Default returns the policy for secrets that have none: DefaultLength characters
// of lower case, upper case and digits.
func Default() Policy {
	return Policy{Length: DefaultLength, Lower: true, Upper: true, Digits: true}
}

// Parse reads a policy from a JSON object of at most MaxPolicyLen bytes. A field
// that is left out keeps its value from Default. Empty text and null are Default.
// All other deviations are Invalid errors: unknown or repeated fields, other
// spellings of a field, wrong types, null fields, text after the object, and
// policies that Validate refuses.
func Parse(data []byte) (Policy, error) {
	if len(data) > MaxPolicyLen {
		return Policy{}, core.Errorf(core.Invalid, "generate policy is %d bytes long, the limit is %d",
			len(data), MaxPolicyLen)
	}
	p := Default()
	trimmed := bytes.Trim(data, " \t\r\n")
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return p, nil
	}
	if err := p.decode(json.NewDecoder(bytes.NewReader(trimmed))); err != nil {
		return Policy{}, err
	}
	if err := p.Validate(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// decode reads one object field by field: encoding/json alone would take
// repeated fields and other spellings of their names.
func (p *Policy) decode(dec *json.Decoder) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return core.Errorf(core.Invalid, "generate policy is not a JSON object")
	}
	seen := make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return core.Errorf(core.Invalid, "generate policy is not valid JSON")
		}
		if seen[name] {
			return core.Errorf(core.Invalid, "generate policy has the field %s twice", core.Quote(name))
		}
		seen[name] = true
		if err := p.decodeField(name, dec); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return core.Errorf(core.Invalid, "generate policy is not valid JSON")
	}
	if _, err := dec.Token(); err != io.EOF {
		return core.Errorf(core.Invalid, "generate policy has text after the JSON object")
	}
	return nil
}

func (p *Policy) decodeField(name string, dec *json.Decoder) error {
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return core.Errorf(core.Invalid, "generate policy is not valid JSON")
	}
	target, want := p.field(name)
	if target == nil {
		return core.Errorf(core.Invalid, "generate policy has an unknown field %s; "+
			"it knows length, lower, upper, digits, symbols, exclude, json_field and allow_weak", core.Quote(name))
	}
	if string(raw) == "null" || json.Unmarshal(raw, target) != nil {
		return core.Errorf(core.Invalid, "generate policy: %s is not %s", name, want)
	}
	return nil
}

// field returns where the field called name is kept and what it holds.
func (p *Policy) field(name string) (target any, want string) {
	switch name {
	case "length":
		return &p.Length, "a whole number"
	case "lower":
		return &p.Lower, "true or false"
	case "upper":
		return &p.Upper, "true or false"
	case "digits":
		return &p.Digits, "true or false"
	case "symbols":
		return &p.Symbols, "true or false"
	case "exclude":
		return &p.Exclude, "a text"
	case "json_field":
		return &p.JSONField, "a text"
	case "allow_weak":
		return &p.AllowWeak, "true or false"
	}
	return nil, ""
}

// Validate returns nil if values can be generated under p, and an Invalid error
// that names the reason otherwise.
func (p Policy) Validate() error {
	if p.Length < MinLength || p.Length > MaxLength {
		return core.Errorf(core.Invalid, "generate policy: length %d is not between %d and %d",
			p.Length, MinLength, MaxLength)
	}
	if len(p.Exclude) > maxExclude {
		return core.Errorf(core.Invalid, "generate policy: exclude is longer than %d characters", maxExclude)
	}
	for _, c := range []byte(p.Exclude) {
		if c < '!' || c > '~' {
			return core.Errorf(core.Invalid, "generate policy: exclude %s has a character that is not printable ASCII",
				core.Quote(p.Exclude))
		}
	}
	if len(p.JSONField) > MaxFieldLen || !utf8.ValidString(p.JSONField) || strings.ContainsRune(p.JSONField, 0) {
		return core.Errorf(core.Invalid, "generate policy: json_field is not a text of at most %d bytes", MaxFieldLen)
	}
	classes := p.classes()
	if len(classes) == 0 {
		return core.Errorf(core.Invalid, "generate policy enables no class of characters")
	}
	for _, c := range classes {
		if c.chars == "" {
			return core.Errorf(core.Invalid, "generate policy: exclude leaves no character of the class %s", c.name)
		}
	}
	return nil
}

// class is an enabled class of characters and what exclude left of it.
type class struct{ name, chars string }

func (p Policy) classes() []class {
	all := [...]struct {
		class
		enabled bool
	}{
		{class{"lower", lowerChars}, p.Lower},
		{class{"upper", upperChars}, p.Upper},
		{class{"digits", digitChars}, p.Digits},
		{class{"symbols", symbolChars}, p.Symbols},
	}
	var enabled []class
	for _, c := range all {
		if c.enabled {
			enabled = append(enabled, class{c.name, without(c.chars, p.Exclude)})
		}
	}
	return enabled
}

func without(chars, exclude string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(exclude, r) {
			return -1
		}
		return r
	}, chars)
}
