package httpapi

import (
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// conditionBody is a state of the answering node that an operator has to know of.
type conditionBody struct {
	Name     string         `json:"name"`
	Severity vault.Severity `json:"severity"`
	Reason   string         `json:"reason"`
	Since    time.Time      `json:"since"`
}

func conditionBodies(all []vault.Condition) []conditionBody {
	out := make([]conditionBody, len(all))
	for i, c := range all {
		out[i] = conditionBody{Name: c.Name, Severity: c.Severity, Reason: c.Reason, Since: c.Since.UTC()}
	}
	return out
}

// waitingBody is a number of rotations that wait for one reason.
type waitingBody struct {
	Reason string     `json:"reason"`
	Count  int64      `json:"count"`
	Since  *time.Time `json:"since,omitempty"`
}

func waitingBodies(all []vault.Waiting) []waitingBody {
	out := make([]waitingBody, len(all))
	for i, w := range all {
		out[i] = waitingBody{Reason: w.Reason, Count: w.Count, Since: orNil(w.Since)}
	}
	return out
}
