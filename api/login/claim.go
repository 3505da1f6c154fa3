package login

import (
	"bytes"
	"encoding/json"
	"strings"
)

// claimList is the values that a claim may have: texts, numbers and booleans, written alone or in a list.
type claimList []string

// UnmarshalJSON reads one value or a list of them.
func (l *claimList) UnmarshalJSON(text []byte) error {
	value, err := decodeValue(text)
	if err != nil {
		return err
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, v := range list {
		s, ok := scalar(v)
		if !ok {
			return &json.UnmarshalTypeError{Value: "object, list or null", Offset: 0}
		}
		*l = append(*l, s)
	}
	return nil
}

func decodeValue(text []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // a float64 would make different numbers equal
	err = dec.Decode(&v)
	return v, err
}

// scalar returns the text of a JSON value that has one.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		if v {
			return "true", true
		}
		return "false", true
	}
	return "", false
}

// claims are the members of a verified token.
type claims map[string]any

func parseClaims(payload []byte) (claims, bool) {
	v, err := decodeValue(payload)
	c, ok := v.(map[string]any)
	return c, ok && err == nil
}

// values returns the texts of a claim: one, or those of its list. A name that begins with '/' is a JSON pointer to a
// claim within others, as in "/kubernetes.io/namespace".
func (c claims) values(name string) []string {
	v, ok := c.find(name)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var texts []string
	for _, v := range list {
		if s, ok := scalar(v); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

func (c claims) find(name string) (any, bool) {
	path, pointer := strings.CutPrefix(name, "/")
	if !pointer {
		v, ok := c[name]
		return v, ok
	}
	var at any = map[string]any(c)
	for part := range strings.SplitSeq(path, "/") {
		members, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		if at, ok = members[part]; !ok {
			return nil, false
		}
	}
	return at, true
}

// satisfy reports whether each bound claim has one of its values.
func (c claims) satisfy(bound map[string]claimList, match func(want, have string) bool) bool {
	for name, wanted := range bound {
		if !matchesOne(wanted, c.values(name), match) {
			return false
		}
	}
	return true
}
