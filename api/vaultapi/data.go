package vaultapi

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// overdueLease is when a client is to come again if a rotation is due and not made yet.
const overdueLease = 15

// readData answers GET of data/{path}.
func (a *API) readData(r *request) error {
	version, err := versionOf(r.Request)
	caller, ferr := r.Reader()
	if err = cmp.Or(err, ferr); err != nil {
		return a.reject(r, err)
	}
	v, err := a.vault.Read(r.Request.Context(), caller, r.rest, version)
	if core.CodeOf(err) == core.NotFound {
		return a.gone(r, caller, version, err)
	}
	if err != nil {
		return err
	}
	defer v.Wipe()
	answer := appendData(make([]byte, 0, dataRoom(r.Caller.RequestID, &v)), r.Caller.RequestID, &v, a.clock())
	defer envelope.Wipe(answer)
	send(r.Exchange, http.StatusOK, answer)
	return nil
}

// versionOf returns the version that the query names, 0 for the current one.
func versionOf(r *http.Request) (uint64, error) {
	text := queryValue(r, "version")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, invalid("invalid version: a version is a whole number from 0")
	}
	return uint64(n), nil
}

// appendData appends the answer with a value. By hand: an encoder would leave copies of the value.
func appendData(dst []byte, requestID string, v *vault.Value, now time.Time) []byte {
	dst = jsonscan.AppendQuoted(append(dst, `{"request_id":`...), requestID)
	dst = append(dst, `,"lease_id":"","renewable":false,"lease_duration":`...)
	dst = strconv.AppendInt(dst, leaseOf(v, now), 10)
	dst = appendObject(append(dst, `,"data":{"data":`...), v)
	dst = appendMetadata(append(dst, `,"metadata":`...), v)
	return append(dst, `},"wrap_info":null,"warnings":null,"auth":null}`...)
}

// appendMetadata appends what an answer says of the version that it has.
func appendMetadata(dst []byte, v *vault.Value) []byte {
	dst = append(append(dst, `{"created_time":"`...), timeText(v.CreatedAt)...)
	dst = append(append(dst, `","custom_metadata":`...), customMetadata(v.Tags)...)
	dst = append(append(dst, `,"deletion_time":"`...), timeText(v.DeleteAt)...)
	dst = append(dst, `","destroyed":false,"version":`...)
	return append(strconv.AppendUint(dst, v.Version, 10), '}')
}

// appendObject appends a value as an object. A JSON object stays as it is. A text becomes the field value of
// an object, and bytes the field value_base64.
func appendObject(dst []byte, v *vault.Value) []byte {
	switch {
	case isObject(v):
		return append(dst, v.Plain...)
	case isText(v):
		return append(jsonscan.AppendQuoted(append(dst, `{"value":`...), v.Plain), '}')
	}
	return append(base64.StdEncoding.AppendEncode(append(dst, `{"value_base64":"`...), v.Plain), `"}`...)
}

// dataRoom is enough for appendData: a buffer that is outgrown would stay unwiped.
func dataRoom(requestID string, v *vault.Value) int {
	const fixed = 512
	n := fixed + jsonscan.QuotedLen(requestID) + len(v.Tags)
	if isText(v) && !isObject(v) {
		return n + jsonscan.QuotedLen(v.Plain)
	}
	return n + base64.StdEncoding.EncodedLen(len(v.Plain))
}

func isText(v *vault.Value) bool { return v.ContentType.IsText() && utf8.Valid(v.Plain) }

// isObject reports whether a value is a JSON object, which is what clients of the protocol store.
func isObject(v *vault.Value) bool {
	return v.ContentType.IsJSON() && bytes.HasPrefix(bytes.TrimLeft(v.Plain, " \t\r\n"), []byte("{")) && json.Valid(v.Plain)
}

// customMetadata returns the tags of a secret, null if there are none.
func customMetadata(tags []byte) []byte {
	if t := bytes.TrimSpace(tags); len(t) > 2 && t[0] == '{' && json.Valid(t) {
		return t
	}
	return []byte("null")
}

// leaseOf returns the seconds to the next rotation, so that an agent reads again in time. 0 means that none is planned.
func leaseOf(v *vault.Value, now time.Time) int64 {
	switch {
	case v.NextRotationAt.IsZero() || v.Version != v.CurrentVersion:
		return 0
	case !v.NextRotationAt.After(now):
		return overdueLease
	}
	return seconds(now, v.NextRotationAt)
}

type versionMetadata struct {
	CreatedTime    string            `json:"created_time"`
	CustomMetadata map[string]string `json:"custom_metadata"`
	DeletionTime   string            `json:"deletion_time"`
	Destroyed      bool              `json:"destroyed"`
	Version        uint64            `json:"version"`
}

type dataBody struct {
	Data     any             `json:"data"`
	Metadata versionMetadata `json:"metadata"`
}
