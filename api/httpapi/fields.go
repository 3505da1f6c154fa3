package httpapi

import (
	"strconv"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
)

// object is a JSON object taken apart: each field's text as a part of the body, so
// that no copy of a value is made on the way (a Go string could not be wiped).
type object map[string][]byte

// parseObject takes apart a body that is exactly one JSON object, as jsonscan.Object does.
func parseObject(body []byte, known []string) (object, error) {
	o, err := jsonscan.Object(body, known)
	return object(o), err
}

// integer reads a whole number without fraction or exponent; 0 when absent.
func (o object) integer(field string) (int64, error) {
	raw, ok := o[field]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, core.Errorf(core.Invalid, "%s must be a whole number", field)
	}
	return n, nil
}

// boolean reads true or false; false when absent.
func (o object) boolean(field string) (bool, error) {
	switch raw, ok := o[field]; {
	case !ok || string(raw) == "false":
		return false, nil
	case string(raw) == "true":
		return true, nil
	}
	return false, core.Errorf(core.Invalid, "%s must be true or false", field)
}

// text reads a string; "" when absent.
func (o object) text(field string) (string, error) {
	raw, ok := o[field]
	if !ok {
		return "", nil
	}
	b, err := o.bytes(field, raw)
	return string(b), err
}

// notEmpty refuses the empty string in fields where it is not what leaving them out is, and means nothing else.
func (o object) notEmpty(fields ...string) error {
	for _, f := range fields {
		if string(o[f]) == `""` {
			return core.Errorf(core.Invalid, "%s must not be empty: leave it out for its default", f)
		}
	}
	return nil
}

func (o object) bytes(field string, raw []byte) ([]byte, error) {
	if raw[0] != '"' {
		return nil, core.Errorf(core.Invalid, "%s must be a string", field)
	}
	b, err := jsonscan.Unquote(raw)
	if err != nil {
		return nil, core.Wrap(core.Invalid, err, "%s holds half a surrogate pair", field)
	}
	return b, nil
}
