package vaultapi

import (
	"maps"
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// policyActions are the actions that policies speak of, by the capability on data/ that stands for each. Policies know no
// others: verify, rotate, manage and audit are granted by our own API.
var policyActions = []string{"create", "read", "update", "delete"}

type capabilities map[string]bool

// rights are the actions that a policy grants, by pattern.
type rights map[string][]string

// rightsOf returns the grants that mean what a policy means, or an error where none do. Two things come along, because they
// cannot be kept apart here: a right on a name shows its metadata and lists it, and a right to update changes its settings and
// undeletes.
func rightsOf(mount string, rules []rule) (rights, error) {
	by := map[string]map[string]capabilities{} // pattern, first segment of the path
	for _, r := range rules {
		if err := collect(by, mount, r); err != nil {
			return nil, err
		}
	}
	out := rights{}
	for pattern, segments := range by {
		actions, err := actionsOf(pattern, segments)
		if err != nil {
			return nil, err
		}
		if len(actions) > 0 {
			out[pattern] = actions
		}
	}
	for pattern, segments := range by {
		if m := segments["metadata"]; (m["read"] || m["list"]) && !out.cover(pattern) {
			return nil, invalid("metadata/%s: a role that has no right on data/%s sees no metadata here: grant one, or leave the rule out", pattern, pattern)
		}
	}
	return out, nil
}

// kvSegments are the first segments below the mount that a policy may name.
var kvSegments = []string{"data", "metadata", "delete", "undelete", "destroy", "subkeys"}

// collect adds what a rule says of the mount. Rules about a holder's own token say what every holder may do.
func collect(by map[string]map[string]capabilities, mount string, r rule) error {
	for _, c := range r.capabilities {
		if !slices.Contains([]string{"create", "read", "update", "patch", "delete", "list"}, c) {
			return invalid("the capability %q of path %q has no counterpart here", printable(c), printable(r.path))
		}
	}
	if own, ok := ownPaths[strings.Trim(r.path, "/")]; ok {
		for _, c := range r.capabilities {
			if !slices.Contains(own, c) {
				return invalid("path %q: %s has no counterpart here", printable(r.path), printable(c))
			}
		}
		return nil
	}
	segments, pattern, err := segmentsOf(mount, r.path)
	if err != nil || segments == nil {
		return err
	}
	if by[pattern] == nil {
		by[pattern] = map[string]capabilities{}
	}
	for _, s := range segments {
		if by[pattern][s] == nil {
			by[pattern][s] = capabilities{}
		}
		for _, c := range r.capabilities {
			by[pattern][s][c] = true
		}
	}
	return nil
}

// segmentsOf returns the kinds of paths and the pattern of names that a path below the mount selects. There is no kind if
// no grant gives it.
func segmentsOf(mount, path string) (segments []string, pattern string, err error) {
	below, ok := strings.CutPrefix(strings.TrimPrefix(path, "/"), mount+"/")
	if !ok {
		return nil, "", invalid("path %q is not below %s/: only the rights on secrets have a counterpart here", printable(path), mount)
	}
	first, pattern, _ := strings.Cut(below, "/")
	segments = []string{first}
	switch {
	case below == "*":
		segments, pattern = kvSegments, "*"
	case first == "+":
		segments = kvSegments
	case first == "config" && pattern == "":
		return nil, "", nil // which every caller with a right may see, and none may change
	case !slices.Contains(kvSegments, first):
		return nil, "", invalid("path %q has no counterpart here", printable(path))
	}
	if _, err := core.ParsePattern(pattern); err != nil && (pattern != "" || first != "metadata") {
		return nil, "", invalid("path %q: a path ends in a name, in NAME/* or in *, and has no other wildcards", printable(path))
	}
	return segments, pattern, nil
}

// actionsOf returns the actions on one pattern, and refuses capabilities that come only together with others.
func actionsOf(pattern string, s map[string]capabilities) (actions []string, err error) {
	data, meta := s["data"], s["metadata"]
	writes := func(segment string) bool { return s[segment]["update"] || s[segment]["create"] }
	deletes := []bool{data["delete"], meta["delete"], writes("delete"), writes("destroy")}
	update := data["update"]
	wrong := func(text string) ([]string, error) { return nil, invalid("%s: %s", pattern, text) }
	switch {
	case slices.Contains(deletes, true) && slices.Contains(deletes, false):
		return wrong("to delete is one right here: delete on data/ and metadata/, and update on delete/ and destroy/, come together or not at all")
	case data["patch"] && !(data["read"] && update):
		return wrong("patch needs read and update here")
	case s["subkeys"]["read"] && !data["read"]:
		return wrong("read on subkeys/ needs read on data/ here")
	case writes("undelete") && !update, (meta["update"] || meta["patch"]) && !update:
		return wrong("to undelete, and to change metadata, needs update on data/ here")
	case meta["create"] && !data["create"] && !update:
		return wrong("create on metadata/ needs create on data/ here")
	}
	for _, a := range policyActions {
		if data[a] {
			actions = append(actions, a)
		}
	}
	return actions, nil
}

// cover reports whether a right on all names of a pattern is among the rights.
func (r rights) cover(pattern string) bool {
	if pattern == "" {
		return len(r) > 0 // the list of the mount shows what a caller has rights on
	}
	for p := range r {
		base, below := strings.CutSuffix(p, "/*")
		if p == pattern || p == "*" || below && strings.HasPrefix(pattern, base+"/") {
			return true
		}
	}
	return false
}

// policyText writes rights as a policy. Reading it gives the same rights. Other actions on the patterns are named in comments.
func policyText(mount string, r rights) string {
	var b strings.Builder
	for _, pattern := range slices.Sorted(maps.Keys(r)) {
		has := map[string]bool{}
		var others []string
		for _, a := range r[pattern] {
			if has[a] = true; !slices.Contains(policyActions, a) {
				others = append(others, a)
			}
		}
		if len(others) > 0 {
			slices.Sort(others)
			b.WriteString("# also granted on " + pattern + ", and no part of a policy: " + strings.Join(others, ", ") + "\n")
		}
		rule := func(segment string, names ...string) { appendRule(&b, mount+"/"+segment+"/"+pattern, names) }
		rule("data", chosen(has, policyActions, has["read"] && has["update"])...)
		if !slices.ContainsFunc(policyActions, func(a string) bool { return has[a] }) {
			continue
		}
		rule("metadata", append([]string{"read", "list"}, chosen(map[string]bool{
			"create": has["create"], "update": has["update"], "delete": has["delete"],
		}, policyActions, has["update"])...)...)
		if has["delete"] {
			rule("delete", "update")
			rule("destroy", "update")
		}
		if has["update"] {
			rule("undelete", "update")
		}
	}
	return b.String()
}

func chosen(has map[string]bool, names []string, patch bool) (out []string) {
	for _, n := range names {
		if has[n] {
			out = append(out, n)
		}
	}
	if patch {
		out = append(out, "patch")
	}
	return out
}
