package vault

import (
	"errors"
	"sync"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Causes of refusals that the store takes no part in. Like those of the schema they are for the operator: a client is told
// less.
const (
	CauseTokenMissing   Cause = "token_missing" // the action needs one, or VAULT_ANONYMOUS_READ is off
	CauseTokenMalformed Cause = "token_malformed"
	CauseAddress        Cause = "address"        // not in VAULT_ALLOWED_IPS
	CauseTransport      Cause = "transport"      // a web page, a foreign host, an unnamed proxy
	CauseWrapping       Cause = "wrapping_token" // its answer is not there, or was taken
	CauseRationed       Cause = "rationed"       // the client was refused too often
	causeOther          Cause = "other"
)

// RefusalCauses are all that Refusals counts, in the order of its answer.
var RefusalCauses = []Cause{
	CauseTokenMissing, CauseTokenMalformed, CauseTokenUnknown, CauseTokenExpired, CauseTokenRevoked, CauseTokenAddress, CauseRoleMissing,
	CauseScope, CauseGrant, CauseAddress, CauseTransport, CauseWrapping, CauseRationed, causeOther,
}

// refused is an error that keeps why a caller was refused, which its text does not say.
type refused struct {
	cause Cause
	err   error
}

func (e *refused) Error() string { return e.err.Error() }
func (e *refused) Unwrap() error { return e.err }

// refuse returns an error that counts as one of a cause.
func refuse(cause Cause, code core.Code, format string, args ...any) error {
	return &refused{cause: cause, err: core.Errorf(code, format, args...)}
}

// refusalCounts counts refusals by cause. Safe for concurrent use; the zero value is ready.
type refusalCounts struct {
	mu sync.Mutex
	of map[Cause]uint64
}

// count counts an error if it is a refusal. What is over a quota is counted by that.
func (r *refusalCounts) count(err error) {
	if outcomeOf(core.CodeOf(err)) != OutcomeDenied {
		return
	}
	if _, over := errors.AsType[*OverQuota](err); over {
		return
	}
	cause := causeOther
	if e, ok := errors.AsType[*refused](err); ok {
		cause = e.cause
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[Cause]uint64{}
	}
	r.of[cause]++
}

// Refusals returns how many requests, and names of batch reads, were refused for each cause since the start, recorded or
// not. Logins and requests over a quota have counts of their own.
func (v *Vault) Refusals() map[Cause]uint64 {
	v.refused.mu.Lock()
	defer v.refused.mu.Unlock()
	out := make(map[Cause]uint64, len(RefusalCauses))
	for _, c := range RefusalCauses {
		out[c] = v.refused.of[c]
	}
	return out
}
