package kms

import (
	"errors"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Reason is why a call of the key service failed, as metrics report it. Its String is the label.
type Reason int

// The reasons. The zero Reason stands for everything that has none of its own.
const (
	ReasonOther       Reason = iota
	ReasonThrottled          // the key service refuses the rate of calls
	ReasonFailed             // it answered that it has failed
	ReasonTimeout            // it did not answer in time
	ReasonUnreachable        // network, DNS, proxy, TLS
	ReasonAway               // no call was made, because those before were not answered
	ReasonKey                // the master key is disabled, unknown or of the wrong kind
	ReasonDenied             // a policy refuses this server
	ReasonCredentials        // this server has no credentials, or none that are accepted
	ReasonCorrupt            // the wrapped key is damaged or of another key or context
	ReasonFalseAnswer        // the answer was not one of the key service
	ReasonCancelled          // the caller went away
)

var reasons = [...]string{
	"other", "throttled", "failed", "timeout", "unreachable", "away", "key", "denied", "credentials", "corrupt", "false_answer", "cancelled",
}

// String returns the label.
func (r Reason) String() string { return reasons[r] }

// reasonOf returns the reason of an error of any keeper.
func reasonOf(err error) Reason {
	if f, ok := errors.AsType[*awsFault](err); ok {
		return f.reason
	}
	switch core.CodeOf(err) {
	case core.Denied:
		return ReasonDenied
	case core.Corrupt:
		return ReasonCorrupt
	}
	return ReasonOther
}
