package generate

import (
	"encoding/json"
	"io"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Replace returns a copy of current, a JSON object, with a generated text as the
// value of the field JSONField. Every other byte stays the same: the order, the
// spaces, and the numbers as they are written. Its errors are those of Generate and
// of CheckDocument. The caller wipes current and the result.
func (p Policy) Replace(current []byte, rand io.Reader) ([]byte, error) {
	from, to, err := p.find(current)
	if err != nil {
		return nil, err
	}
	value, err := p.Generate(rand)
	if err != nil {
		return nil, err
	}
	defer envelope.Wipe(value)
	// Generated characters need no escapes. Made large enough at once: a buffer
	// that is outgrown would stay unwiped.
	out := make([]byte, 0, len(current)-(to-from)+len(value)+2)
	out = append(append(out, current[:from]...), '"')
	out = append(append(out, value...), '"')
	return append(out, current[to:]...), nil
}

// CheckDocument returns nil if Replace could work on value. For that, value is a
// JSON object with the field JSONField at its top, exactly once, and a text in it.
// Anything else is an Invalid error that quotes nothing of value.
func (p Policy) CheckDocument(value []byte) error {
	_, _, err := p.find(value)
	return err
}

// find returns where the field's value begins and ends, its quotes included.
func (p Policy) find(doc []byte) (from, to int, err error) {
	if !json.Valid(doc) {
		return 0, 0, core.Errorf(core.Invalid, "the value is not one JSON document, so it has no field to rotate")
	}
	at := skipSpace(doc, 0)
	if doc[at] != '{' {
		return 0, 0, core.Errorf(core.Invalid, "the value is not a JSON object, so it has no field to rotate")
	}
	for at = skipSpace(doc, at+1); doc[at] != '}'; {
		keyEnd := skipValue(doc, at)
		named := p.isField(doc[at:keyEnd])
		begin := skipSpace(doc, skipSpace(doc, keyEnd)+1) // after the colon
		end := skipValue(doc, begin)
		if named && to > 0 {
			return 0, 0, core.Errorf(core.Invalid, "the value has the field %s twice", core.Quote(p.JSONField))
		} else if named {
			from, to = begin, end
		}
		if at = skipSpace(doc, end); doc[at] == ',' {
			at = skipSpace(doc, at+1)
		}
	}
	if to == 0 || doc[from] != '"' {
		return 0, 0, core.Errorf(core.Invalid, "the value has no text in a field %s at its top", core.Quote(p.JSONField))
	}
	return from, to, nil
}

func (p Policy) isField(quoted []byte) bool {
	var name string
	return json.Unmarshal(quoted, &name) == nil && name == p.JSONField
}

// skipSpace and skipValue walk over what json.Valid accepts; they check nothing again.
func skipSpace(doc []byte, at int) int {
	for at < len(doc) && (doc[at] == ' ' || doc[at] == '\t' || doc[at] == '\n' || doc[at] == '\r') {
		at++
	}
	return at
}

// skipValue returns where the value that begins at at ends.
func skipValue(doc []byte, at int) int {
	switch doc[at] {
	case '"':
		return skipString(doc, at)
	case '{', '[':
		return skipNested(doc, at)
	}
	for at < len(doc) && doc[at] != ',' && doc[at] != '}' && doc[at] != ']' && skipSpace(doc, at) == at {
		at++
	}
	return at
}

func skipString(doc []byte, at int) int {
	for at++; doc[at] != '"'; at++ {
		if doc[at] == '\\' {
			at++
		}
	}
	return at + 1
}

func skipNested(doc []byte, at int) int {
	for depth := 0; ; at++ {
		switch doc[at] {
		case '"':
			at = skipString(doc, at) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
		}
	}
}
