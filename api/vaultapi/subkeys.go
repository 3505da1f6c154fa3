package vaultapi

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// readSubkeys answers the names within a value, without what they name. It is a read, and recorded as one.
func (a *API) readSubkeys(r *request) error {
	version, err := versionOf(r.Request)
	depth, derr := depthOf(r.Request)
	caller, ferr := r.Reader()
	if err = cmp.Or(err, derr, ferr); err != nil {
		return a.reject(r, err)
	}
	v, err := a.vault.Read(r.Request.Context(), caller, r.rest, version)
	if core.CodeOf(err) == core.NotFound {
		return a.gone(r, caller, version, err)
	}
	if err != nil {
		return err
	}
	defer v.Wipe()
	object := appendObject(make([]byte, 0, dataRoom("", &v)), &v)
	defer envelope.Wipe(object)
	keys, err := appendSubkeys(nil, object, depth)
	if err != nil {
		return core.Errorf(core.Internal, "the value has no names to show")
	}
	r.answerData(map[string]json.RawMessage{"subkeys": keys, "metadata": appendMetadata(nil, &v)})
	return nil
}

// depthOf returns how many levels of names are wanted.
func depthOf(r *http.Request) (int, error) {
	text := queryValue(r, "depth")
	if text == "" {
		return maxMergeDepth, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, invalid("depth is a whole number from 0")
	}
	if n == 0 {
		n = maxMergeDepth
	}
	return min(n, maxMergeDepth), nil
}

// appendSubkeys appends an object with null in place of everything that is no object, and of what is deeper.
func appendSubkeys(dst, raw []byte, depth int) ([]byte, error) {
	if depth == 0 || len(raw) == 0 || raw[0] != '{' {
		return append(dst, "null"...), nil
	}
	members, err := jsonscan.Object(raw, nil)
	if err != nil {
		return dst, err
	}
	if len(members) == 0 {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '{')
	for i, name := range namesOf(members) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(jsonscan.AppendQuoted(dst, name), ':')
		if dst, err = appendSubkeys(dst, members[name], depth-1); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}
