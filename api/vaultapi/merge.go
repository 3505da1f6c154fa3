package vaultapi

import (
	"encoding/base64"
	"slices"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// maxMergeDepth bounds how deep objects of a patch may lie in each other: each level is read once more.
const maxMergeDepth = 32

// mergePatch returns target, a JSON object, with a merge patch applied (RFC 7396): members of objects are replaced one by
// one, null removes, everything else replaces. Numbers and texts stay as they are written. The caller wipes the result.
func mergePatch(target, patch []byte) ([]byte, error) {
	// Never outgrown, so that no part of a value stays behind: names grow sixfold at most.
	out, err := appendMerged(make([]byte, 0, 6*(len(target)+len(patch))+2), target, patch, 0)
	if err != nil {
		envelope.Wipe(out)
		return nil, err
	}
	return out, nil
}

func appendMerged(dst, target, patch []byte, depth int) ([]byte, error) {
	if len(patch) == 0 || patch[0] != '{' {
		return append(dst, patch...), nil
	}
	if depth == maxMergeDepth {
		return dst, core.Errorf(core.Invalid, "objects lie more than %d deep in each other", maxMergeDepth)
	}
	changes, err := jsonscan.Object(patch, nil)
	if err != nil {
		return dst, err
	}
	members := map[string][]byte{}
	if len(target) > 0 && target[0] == '{' {
		if members, err = jsonscan.Object(target, nil); err != nil {
			return dst, err
		}
	}
	dst = append(dst, '{')
	first := true
	for _, name := range namesOf(members, changes) {
		change, changed := changes[name]
		if changed && string(change) == "null" {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if dst = append(jsonscan.AppendQuoted(dst, name), ':'); !changed {
			dst = append(dst, members[name]...)
		} else if dst, err = appendMerged(dst, members[name], change, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func namesOf(objects ...map[string][]byte) (names []string) {
	for _, o := range objects {
		for name := range o {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// decodeBase64 reads standard base64 in its one spelling: padded, no line breaks.
func decodeBase64(text []byte) ([]byte, error) {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(out, text)
	if err != nil || base64.StdEncoding.EncodedLen(n) != len(text) { // the decoder skips line breaks
		envelope.Wipe(out)
		return nil, core.Errorf(core.Invalid, "value_base64 is not standard padded base64")
	}
	return out[:n], nil
}
