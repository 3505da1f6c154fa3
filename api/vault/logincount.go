package vault

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"github.com/hyperiondb/hyperion-vault/core"
)

// LoginCount is how many logins ended in one way since the start.
type LoginCount struct {
	Kind  LoginKind // "" = there was no such method
	Cause string    // of a refusal, or the error's code when the login failed for another reason; "" = the client was let in
	Count uint64
}

// loginCounts counts logins. Safe for concurrent use; the zero value is ready.
type loginCounts struct {
	mu sync.Mutex
	of map[LoginCount]uint64 // by kind and cause
}

func (l *loginCounts) count(kind LoginKind, err error) {
	key := LoginCount{Kind: kind, Cause: string(core.CodeOf(err))}
	if r, ok := errors.AsType[*LoginRefusal](err); ok {
		key.Cause = string(r.Cause)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[LoginCount]uint64{}
	}
	l.of[key]++
}

// Logins returns the counts of logins by kind and cause, in that order.
func (v *Vault) Logins() []LoginCount {
	v.logins.mu.Lock()
	defer v.logins.mu.Unlock()
	var out []LoginCount
	for key, n := range v.logins.of {
		key.Count = n
		out = append(out, key)
	}
	slices.SortFunc(out, func(a, b LoginCount) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Cause, b.Cause))
	})
	return out
}
