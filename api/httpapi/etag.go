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

// metadataTag returns the entity tag of metadata, which also changes with the settings.
func metadataTag(m vault.Secret) string {
	return `"` + strconv.FormatUint(m.CurrentVersion, 10) + "." + strconv.FormatUint(m.SettingsRevision, 10) + `"`
}

// match is what an If-Match names.
type match struct {
	version  uint64 // AnyVersion = whatever is current
	revision uint64 // of the settings, when the tag is that of metadata; 0 = any
}

// expected returns what the request's If-Match names, AnyVersion for "*" and, when the header is not required, for none.
func expected(h http.Header, required bool) (match, error) {
	v := h.Values("If-Match")
	switch {
	case len(v) == 0 && !required:
		return match{version: vault.AnyVersion}, nil
	case len(v) == 0:
		return match{}, &transportError{status: http.StatusPreconditionRequired, code: codeConditionRequired,
			cause: core.Errorf(core.Invalid, `If-Match is required: the ETag of what is to be replaced, as in "3", or *`)}
	case len(v) > 1:
		return match{}, errIfMatch()
	}
	return parseIfMatch(v[0])
}

// parseIfMatch reads one strong tag made by etag or metadataTag, or *. Lists and weak tags name no single version and
// are refused.
func parseIfMatch(s string) (m match, err error) {
	if s == "*" {
		return match{version: vault.AnyVersion}, nil
	}
	if len(s) < 3 || !strings.HasPrefix(s, `"`) || !strings.HasSuffix(s, `"`) {
		return match{}, errIfMatch()
	}
	number, revision, dotted := strings.Cut(s[1:len(s)-1], ".")
	if number == "0" { // of the first secret of a name, that has no version yet
		m.version = vault.VersionZero
	} else {
		m.version, err = parseVersion(number)
	}
	if err == nil && dotted {
		m.revision, err = parseVersion(revision)
	}
	if err != nil {
		return match{}, errIfMatch()
	}
	return m, nil
}

func errIfMatch() error {
	return core.Errorf(core.Invalid, `If-Match must be one ETag, as in "3" or of metadata "3.2", or *`)
}

// parseVersion reads a version number in its one spelling.
func parseVersion(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || n > math.MaxInt64 || strconv.FormatUint(n, 10) != s {
		return 0, core.Errorf(core.Invalid, "a version is a whole number from 1, without sign or leading zeros")
	}
	return n, nil
}
