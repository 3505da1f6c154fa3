package vaultapi

import (
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// maxCapabilities bounds the paths of one request.
const maxCapabilities = 100

// capabilities answers what the caller may do with paths.
func (a *API) capabilities(r *request) error {
	err := r.readFields(maxBody, func(f fields) error {
		paths, err := f.texts("paths")
		if err != nil {
			return err
		}
		one, err := f.texts("path")
		if err != nil {
			return err
		}
		if paths = append(paths, one...); len(paths) == 0 || len(paths) > maxCapabilities {
			return invalid("1 to %d paths are needed", maxCapabilities)
		}
		out := map[string]any{}
		for _, path := range paths {
			if out[path], err = a.capabilitiesOf(r, path); err != nil {
				return err
			}
		}
		out["capabilities"] = out[paths[0]]
		return r.answerTwice(out)
	})
	return a.rejected(r, err)
}

// ownPaths are what every holder of a token may do.
var ownPaths = map[string][]string{
	"auth/token/lookup-self": {"read"}, "auth/token/renew-self": {"update"}, "auth/token/revoke-self": {"update"},
	"sys/capabilities-self": {"update"}, "sys/wrapping/wrap": {"update"}, "sys/wrapping/unwrap": {"update"},
	"sys/wrapping/rewrap": {"update"}, "sys/wrapping/lookup": {"read", "update"},
}

var nothing = []string{"deny"}

func (a *API) capabilitiesOf(r *request, path string) ([]string, error) {
	path = strings.Trim(path, "/")
	inMount, ok := strings.CutPrefix(path, a.mount+"/")
	if !ok {
		if _, err := a.vault.Token(r.Request.Context(), r.Caller, vault.TokenID{}); err != nil {
			return nil, err
		}
		if own := ownPaths[path]; own != nil {
			return own, nil
		}
		return nothing, nil
	}
	first, name, _ := strings.Cut(inMount, "/")
	if _, err := core.ParseName(name); err != nil {
		err := a.mayKnow(r)
		switch {
		case core.CodeOf(err) == core.Denied:
			return nothing, nil
		case err != nil || first != "metadata" || name != "":
			return nothing, err
		}
		return []string{"list"}, nil
	}
	caller, err := r.Reader()
	if err != nil {
		return nil, err
	}
	x, err := a.vault.Explain(r.Request.Context(), caller, "", name)
	if err != nil {
		return nil, err
	}
	return translate(first, x.Lines), nil
}

// translate puts the actions that are allowed on a name in the words of the protocol, for one of the name's paths.
func translate(first string, lines []vault.ExplanationLine) []string {
	may := map[string]bool{}
	for _, l := range lines {
		may[l.Action] = l.Allowed
	}
	out := map[string]bool{}
	switch first {
	case "data":
		out["create"], out["read"], out["update"], out["delete"] = may["create"], may["read"], may["update"], may["delete"]
		out["patch"] = may["read"] && may["update"]
	case "metadata":
		for _, allowed := range may {
			out["read"], out["list"] = out["read"] || allowed, out["list"] || allowed
		}
		out["create"], out["update"], out["patch"], out["delete"] = may["create"], may["update"], may["update"], may["delete"]
	case "delete", "destroy":
		out["update"] = may["delete"]
	case "subkeys":
		out["read"] = may["read"]
	case "undelete":
		out["update"] = may["update"]
	}
	var names []string
	for name, allowed := range out {
		if allowed {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nothing
	}
	slices.Sort(names)
	return names
}
