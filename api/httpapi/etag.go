package httpapi

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// etag returns the entity tag of a version: its number, quoted.
func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// expected returns the version that the request's If-Match names, AnyVersion for
// "*" and, when the header is not required, for none.
func expected(h http.Header, required bool) (uint64, error) {
	v := h.Values("If-Match")
	switch {
	case len(v) == 0 && !required:
		return vault.AnyVersion, nil
	case len(v) == 0:
		return 0, &transportError{status: http.StatusPreconditionRequired, code: "precondition_required",
			cause: core.Errorf(core.Invalid, `If-Match is required: "N" with the version to replace, or *`)}
	case len(v) > 1:
		return 0, errIfMatch()
	}
	return parseIfMatch(v[0])
}

// parseIfMatch reads one strong tag made by etag, or *. Lists and weak tags name
// no single version and are refused.
func parseIfMatch(s string) (uint64, error) {
	if s == "*" {
		return vault.AnyVersion, nil
	}
	if len(s) < 3 || !strings.HasPrefix(s, `"`) || !strings.HasSuffix(s, `"`) {
		return 0, errIfMatch()
	}
	n, err := parseVersion(s[1 : len(s)-1])
	if err != nil {
		return 0, errIfMatch()
	}
	return n, nil
}

func errIfMatch() error {
	return core.Errorf(core.Invalid, `If-Match must be one version in double quotes, as in "3", or *`)
}

// parseVersion reads a version number in its one spelling.
func parseVersion(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || n > math.MaxInt64 || strconv.FormatUint(n, 10) != s {
		return 0, core.Errorf(core.Invalid, "a version is a whole number from 1, without sign or leading zeros")
	}
	return n, nil
}
