package generate

import (
	"encoding/json"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Field returns the text in a field at the top of a JSON object. Its errors are those of CheckDocument. The caller wipes the
// result.
func Field(doc []byte, name string) ([]byte, error) {
	from, to, err := Policy{JSONField: name}.find(doc)
	if err != nil {
		return nil, err
	}
	return unquote(doc[from+1 : to-1]), nil
}

// SetField returns a copy of a JSON object with another text in a field at its top. Every other byte stays the same. Its
// errors are those of CheckDocument. The caller wipes doc and the result.
func SetField(doc []byte, name, text string) ([]byte, error) {
	from, to, err := Policy{JSONField: name}.find(doc)
	if err != nil {
		return nil, err
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return nil, core.Wrap(core.Internal, err, "the text of field %s is none", core.Quote(name))
	}
	out := make([]byte, 0, len(doc)-(to-from)+len(quoted))
	return append(append(append(out, doc[:from]...), quoted...), doc[to:]...), nil
}

// Login returns the user and the password that a value has: those of its fields username and password if it is JSON, and
// else the value as the password of no named user. The caller wipes the password.
func Login(ct core.ContentType, value []byte) (username string, password []byte, err error) {
	if ct != core.JSON {
		return "", append([]byte(nil), value...), nil
	}
	name, err := Field(value, "username")
	if err != nil {
		return "", nil, err
	}
	password, err = Field(value, "password")
	if err != nil {
		return "", nil, err
	}
	return string(name), password, nil
}

// CheckLogin returns an Invalid error unless a value is one that the role can log in with.
func CheckLogin(ct core.ContentType, value []byte, role string) error {
	username, password, err := Login(ct, value)
	envelope.Wipe(password)
	if err == nil && ct == core.JSON && username != role {
		return core.Errorf(core.Invalid, "the field username of the value must be the role %s", core.Quote(role))
	}
	return err
}

// unquote decodes what stands between the quotes of a string that json.Valid accepts. The buffer is never outgrown.
func unquote(quoted []byte) []byte {
	out := make([]byte, 0, len(quoted))
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '\\' {
			out = append(out, quoted[i])
			continue
		}
		i++
		switch c := quoted[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(quoted[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := utf8.RuneError
				if i+6 < len(quoted) && quoted[i+1] == '\\' && quoted[i+2] == 'u' {
					pair = utf16.DecodeRune(r, hex4(quoted[i+3:]))
				}
				if r = pair; pair != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
		default: // a quote, a slash or a backslash
			out = append(out, c)
		}
	}
	return out
}

// hex4 returns the number of four hexadecimal digits.
func hex4(digits []byte) (r rune) {
	for _, d := range digits[:4] {
		switch {
		case d <= '9':
			d -= '0'
		case d <= 'F':
			d -= 'A' - 10
		default:
			d -= 'a' - 10
		}
		r = r<<4 | rune(d)
	}
	return r
}
