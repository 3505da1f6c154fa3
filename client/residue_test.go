package client_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest/residue"
	"github.com/hyperiondb/hyperion-vault/client"
)

// echo answers every request with a text, which it wipes as it is read, and drops what it is sent.
type echo struct{ text []byte }

func (e *echo) RoundTrip(req *http.Request) (*http.Response, error) {
	var buf [64]byte
	for {
		_, err := req.Body.Read(buf[:])
		if err != nil {
			break
		}
	}
	clear(buf[:])
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(&wipingReader{e.text}), ContentLength: -1, Request: req}, nil
}

type wipingReader struct{ left []byte }

func (r *wipingReader) Read(p []byte) (int, error) {
	n := copy(p, r.left)
	clear(r.left[:n])
	if r.left = r.left[n:]; n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestValuesAreWiped: no copy of a value that was read and wiped, or sent, is in memory afterwards.
func TestValuesAreWiped(t *testing.T) {
	for _, test := range []struct {
		name, before, after string
		call                func(c *client.Client) error
	}{
		{"read", `{"name":"a","value":"`, `"}`, func(c *client.Client) error {
			v, err := c.Get(t.Context(), "a")
			v.Wipe()
			return err
		}},
		{"an answer that is cut off", `{"name":"a","value":"`, ``, func(c *client.Client) error { _, _ = c.Get(t.Context(), "a"); return nil }},
		{"read many", `{"results":[{"name":"a","value":"`, `"}]}`, func(c *client.Client) error {
			r, err := c.GetMany(t.Context(), []string{"a"})
			r[0].Value.Wipe()
			return err
		}},
		{"fill", `{"results":[{"name":"a","value":"`, `"}]}`, func(c *client.Client) error {
			var into struct {
				A []byte `vault:"a"`
			}
			err := c.Fill(t.Context(), &into)
			clear(into.A)
			return err
		}},
		{"fill a field", `{"results":[{"name":"a","value":"{\"x\":\"`, `\"}"}]}`, func(c *client.Client) error {
			var into struct {
				A []byte `vault:"a,field=x"`
			}
			err := c.Fill(t.Context(), &into)
			clear(into.A)
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := residue.New(t, 3000) // longer than a small buffer
			c := to(t, client.Config{Address: "http://127.0.0.1:1", Transport: &echo{v.Within(test.before, test.after)}, MaxRetries: -1})
			if err := test.call(c); err != nil {
				t.Fatal(err)
			}
			v.Want(0, "after it was read and wiped")
		})
	}
	t.Run("update", func(t *testing.T) {
		v := residue.New(t, 3000)
		raw := v.Bytes()
		text := []byte(base64.StdEncoding.EncodeToString(raw))
		encoded := residue.Of(t, text)
		clear(text)
		before := encoded.Count() // of the string that this test made
		c := to(t, client.Config{Address: "http://127.0.0.1:1", Transport: &echo{[]byte(`{}`)}, MaxRetries: -1})
		if _, err := c.Update(t.Context(), "a", client.Any, client.Update{Value: raw}); err != nil {
			t.Fatal(err)
		}
		clear(raw)
		v.Want(0, "after it was sent")
		encoded.Want(before, "after it was sent")
	})
}
