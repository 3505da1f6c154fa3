package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// rotation is how this project makes new values of a secret, and how long the earlier ones stay valid.
type rotation struct {
	IntervalSecs int64           `json:"rotation_interval_secs,omitempty"`
	Schedule     string          `json:"rotation_schedule,omitempty"`
	TimeZone     string          `json:"rotation_time_zone,omitempty"`
	WindowSecs   int64           `json:"rotation_window_secs,omitempty"`
	Paused       bool            `json:"rotation_paused,omitempty"`
	GraceSecs    int64           `json:"grace_period_secs,omitempty"`
	Policy       json.RawMessage `json:"generate_policy,omitempty"`
}

// any reports whether there is anything to keep.
func (r *rotation) any() bool { return r.automatic() || r.GraceSecs != 0 || len(r.Policy) > 0 }

// automatic reports whether the secret rotates by itself.
func (r *rotation) automatic() bool { return r.IntervalSecs != 0 || r.Schedule != "" }

// notHere is what a form loses of a secret that has no place for these settings.
func (r *rotation) notHere() []string {
	if r.any() {
		return []string{"its rotation is not exported"}
	}
	return nil
}

// textOf is a value as the KV engine shows JSON that is no object: as text.
func textOf(raw []byte) []byte {
	const name = `{"value":`
	return append(append(append(make([]byte, 0, len(name)+len(raw)+1), name...), raw...), '}')
}

// ownMembers returns the members of a body of our own API that stand for an object of the KV engine, for the caller to wipe.
// isText is of JSON that is no object.
func ownMembers(object []byte, contentType string, isText bool) ([]byte, error) {
	if core.ContentType(contentType).IsJSON() && !isText {
		const name = `"value":`
		out := append(make([]byte, 0, len(name)+jsonscan.QuotedLen(object)), name...)
		return jsonscan.AppendQuoted(out, object), nil
	}
	trimmed := bytes.TrimSpace(object)
	if len(trimmed) < 2 || trimmed[0] != '{' {
		return nil, errForm
	}
	return bytes.Clone(trimmed[1 : len(trimmed)-1]), nil
}

// begin makes a secret that rotates by itself, with its first version, and returns the number of that.
func (c *Client) begin(ctx context.Context, name string, s *Secret, first []byte, isText bool) (uint64, error) {
	members, err := ownMembers(first, s.contentType, isText)
	if err != nil {
		return 0, err
	}
	defer envelope.Wipe(members)
	made, err := s.made(name)
	if err != nil {
		return 0, err
	}
	head, err := json.Marshal(made)
	if err != nil {
		return 0, errForm
	}
	body := append(make([]byte, 0, len(head)+len(members)+1), head[:len(head)-1]...)
	body = append(append(append(body, ','), members...), '}')
	defer envelope.Wipe(body)
	answer, err := c.doAt(ctx, http.MethodPost, "/v1/secrets", body)
	if err != nil {
		return 0, err
	}
	return currentOf(answer)
}

// currentOf returns the current version of an answer of our own API to a change.
func currentOf(answer []byte) (uint64, error) {
	var out struct {
		Version uint64 `json:"current_version"`
	}
	if json.Unmarshal(answer, &out) != nil || out.Version == 0 {
		return 0, errForm
	}
	return out.Version, nil
}

// writeText stores JSON that is no object if version is the current one, 0 for none, and returns the version that it has now.
func (c *Client) writeText(ctx context.Context, name, contentType string, object []byte, version uint64) (uint64, error) {
	members, err := ownMembers(object, contentType, true)
	if err != nil {
		return 0, err
	}
	defer envelope.Wipe(members)
	body := append(append(append(make([]byte, 0, len(members)+2), '{'), members...), '}')
	defer envelope.Wipe(body)
	answer, err := c.doIf(ctx, http.MethodPut, "/v1/secrets/"+name, body, strconv.Quote(strconv.FormatUint(version, 10)))
	if err != nil {
		return 0, err
	}
	return currentOf(answer)
}
