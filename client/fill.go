package client

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Fill reads secrets into the fields of a struct by their tags:
//
//	var cfg struct {
//		Password []byte       `vault:"db/password"`
//		User     string       `vault:"db/login,field=username"` // a field of a JSON object
//		Mail     *client.Value `vault:"mail/password,optional"` // left as it is if there is no such secret
//	}
//	err := c.Fill(ctx, &cfg)
//
// A field is a []byte, a string, a *Value, or has UnmarshalText. Prefer []byte and *Value: a string cannot be wiped.
// Fields of structs without a tag are filled as well. A secret of several fields is read once. Either all fields are
// filled or none.
func (c *Client) Fill(ctx context.Context, into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return &Error{Op: "fill", Code: Invalid, Detail: "what is to be filled is no pointer to a struct"}
	}
	fields, err := tagged(v.Elem(), nil)
	if err != nil {
		return &Error{Op: "fill", Code: Invalid, Detail: err.Error()}
	}
	values, err := c.readTagged(ctx, fields)
	defer func() {
		for _, v := range values {
			v.Wipe()
		}
	}()
	if err != nil {
		return err
	}
	setters := make([]func(), 0, len(fields))
	for _, f := range fields {
		if values[f.name] == nil {
			continue
		}
		set, err := f.setter(values[f.name])
		if err != nil {
			return &Error{Op: "fill " + f.label, Code: Invalid, Detail: err.Error()}
		}
		setters = append(setters, set)
	}
	for _, set := range setters {
		set()
	}
	return nil
}

type taggedField struct {
	label    string // of the struct's field
	target   reflect.Value
	name     string
	field    string
	optional bool
}

// tagged collects the fields of a struct that have a tag.
func tagged(s reflect.Value, found []taggedField) ([]taggedField, error) {
	for i := range s.NumField() {
		info := s.Type().Field(i)
		tag, ok := info.Tag.Lookup("vault")
		if !ok {
			if info.Type.Kind() == reflect.Struct && (info.IsExported() || info.Anonymous) {
				var err error
				if found, err = tagged(s.Field(i), found); err != nil {
					return nil, err
				}
			}
			continue
		}
		if !info.IsExported() {
			return nil, fmt.Errorf("the field %s has a tag and is not exported", info.Name)
		}
		f, err := parseTag(info.Name, tag)
		if err != nil {
			return nil, err
		}
		f.target = s.Field(i)
		found = append(found, f)
	}
	return found, nil
}

func parseTag(label, tag string) (taggedField, error) {
	name, options, more := strings.Cut(tag, ",")
	f := taggedField{label: label, name: name}
	if name == "" {
		return f, fmt.Errorf("the tag of %s has no name", label)
	}
	for more {
		var option string
		option, options, more = strings.Cut(options, ",")
		field, isField := strings.CutPrefix(option, "field=")
		switch {
		case option == "optional":
			f.optional = true
		case isField && field != "":
			f.field = field
		default:
			return f, fmt.Errorf("the tag of %s has an option that is not known; there are field=NAME and optional", label)
		}
	}
	return f, nil
}

// readTagged reads each name once. A secret that is missing and optional for all of its fields is left out.
func (c *Client) readTagged(ctx context.Context, fields []taggedField) (map[string]*Value, error) {
	var names []string
	required := map[string]bool{}
	for _, f := range fields {
		if _, seen := required[f.name]; !seen {
			names = append(names, f.name)
		}
		required[f.name] = required[f.name] || !f.optional
	}
	values := map[string]*Value{}
	for len(names) > 0 {
		part := names[:min(len(names), MaxBatch)]
		names = names[len(part):]
		results, err := c.GetMany(ctx, part)
		if err != nil {
			return values, err
		}
		for i, r := range results {
			if CodeOf(r.Err) == TooLarge { // for one answer, with the others
				r.Value, r.Err = c.Get(ctx, part[i])
			}
			if r.Err == nil {
				values[part[i]] = r.Value
			} else if required[part[i]] || CodeOf(r.Err) != NotFound {
				err = errors.Join(err, r.Err)
			}
		}
		if err != nil {
			return values, err
		}
	}
	return values, nil
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// setter returns what sets the field, after everything that can fail.
func (f *taggedField) setter(v *Value) (func(), error) {
	text := bytes.Clone(v.Bytes)
	if f.field != "" {
		wipe(text)
		var err error
		if text, err = JSONField(v.Bytes, f.field); err != nil {
			return nil, err
		}
	}
	t := f.target
	switch {
	case t.Type() == reflect.TypeFor[*Value]():
		whole := *v
		whole.Bytes = text
		return func() { t.Set(reflect.ValueOf(&whole)) }, nil
	case t.Type() == reflect.TypeFor[[]byte]():
		return func() { t.SetBytes(text) }, nil
	case t.Addr().Type().Implements(textUnmarshaler):
		fresh := reflect.New(t.Type())
		err := fresh.Interface().(encoding.TextUnmarshaler).UnmarshalText(text)
		wipe(text)
		if err != nil { // its text may quote the value
			return nil, fmt.Errorf("the value of %s is not one of the field's type", f.name)
		}
		return func() { t.Set(fresh.Elem()) }, nil
	case t.Kind() == reflect.String:
		s := string(text)
		wipe(text)
		return func() { t.SetString(s) }, nil
	}
	wipe(text)
	return nil, fmt.Errorf("the field has the type %s; it must be []byte, string, *client.Value, or have UnmarshalText", t.Type())
}

// JSONField returns one field of a value that is a JSON object: the text of a string, and of anything else its JSON. The
// caller wipes it. No error shows the value.
func JSONField(object []byte, field string) ([]byte, error) {
	var fields map[string]rawJSON
	if json.Unmarshal(object, &fields) != nil {
		return nil, fmt.Errorf("the value is no JSON object, so it has no field %q", field)
	}
	raw, ok := fields[field]
	if !ok {
		return nil, fmt.Errorf("the value has no field %q", field)
	}
	if text, err := unquote(raw); err == nil {
		return text, nil
	}
	return bytes.Clone(raw), nil
}

// rawJSON is a part of the text that was decoded, in place of a copy.
type rawJSON []byte

func (r *rawJSON) UnmarshalJSON(raw []byte) error {
	*r = raw
	return nil
}
