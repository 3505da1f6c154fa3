package rotator_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// promptly is what an id may take to end in changes or in a reset.
const promptly = 10 * time.Second

// TestEveryEventID: whatever id a client presents, in the query or as Last-Event-ID, it soon gets the changes after it, or
// is told to read again, or that this is no id. None of them waits without end, and none for a transaction that is kept open.
func TestEveryEventID(t *testing.T) {
	b := newBench(t)
	s := vaulttest.NewServer(t, b.db)
	s.MustCreate(t, "ev/1", "x")
	place := func(b *bench) vault.Place {
		t.Helper()
		p, err := b.wired.db.LastChange(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	there := &bench{t: t, db: vaulttest.NewDBIn(t, b.db.Cluster)}
	there.env = there.db.Environ(t)
	there.wired = there.mustOpen()
	there.mustCreate(vault.CreateRequest{Name: "ev/1", Kind: "manual", Value: []byte("x")})
	last, other := place(b), place(there)
	b.mustCreate(vault.CreateRequest{Name: "ev/2", Kind: "manual", Value: []byte("x")})
	if other == (vault.Place{}) {
		t.Fatal("the other database has no change")
	}

	open, err := b.db.MustConnect(t, vaulttest.Superuser).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = open.Rollback(context.WithoutCancel(t.Context())) })
	var running uint64
	if err := open.QueryRow(t.Context(), "SELECT pg_current_xact_id()::text::bigint").Scan(&running); err != nil {
		t.Fatal(err)
	}

	const epoch, most, mostID = 1 << 32, "18446744073709551615", "9223372036854775807"
	id := func(xid, id, at any) string { return fmt.Sprintf("%v-%v-%v", xid, id, at) }
	for what, c := range map[string]struct{ id, want string }{
		"the last one":                    {id(last.Transaction, last.ID, last.At), "change"},
		"the first place":                 {"0-0-0", "change"},
		"no transaction":                  {id(0, last.ID, last.At), "change"},
		"a moment before":                 {id(last.Transaction, last.ID, last.At-1), "reset"},
		"a number before":                 {id(last.Transaction, last.ID-1, last.At), "reset"},
		"number 0":                        {id(last.Transaction, 0, last.At), "reset"},
		"time 0":                          {id(last.Transaction, last.ID, 0), "reset"},
		"the latest time":                 {id(last.Transaction, last.ID, "9999999999999999"), "reset"},
		"the largest number":              {id(last.Transaction, mostID, last.At), "reset"},
		"the transaction before":          {id(last.Transaction-1, last.ID, last.At), "reset"},
		"the bootstrap transaction":       {id(1, last.ID, last.At), "reset"},
		"the frozen transaction":          {id(2, last.ID, last.At), "reset"},
		"the first of all":                {id(3, last.ID, last.At), "reset"},
		"a running transaction":           {id(running, last.ID+1, last.At), "reset"},
		"a million transactions ahead":    {id(last.Transaction+1e6, last.ID, last.At), "reset"},
		"half the circle ahead":           {id(last.Transaction+epoch/2, last.ID, last.At), "reset"},
		"the next epoch":                  {id(last.Transaction+epoch, last.ID, last.At), "reset"},
		"a million epochs ahead":          {id(last.Transaction+1e6*epoch, last.ID, last.At), "reset"},
		"another database's":              {id(other.Transaction, other.ID, other.At), "reset"},
		"another timeline's":              {id(last.Transaction, last.ID+1<<46, last.At), "reset"},
		"the largest signed transaction":  {id(mostID, last.ID, last.At), "reset"},
		"one beyond it":                   {id("9223372036854775808", last.ID, last.At), "reset"},
		"20 digits":                       {id("10000000000000000000", last.ID, last.At), "reset"},
		"the largest transaction":         {id(most, mostID, "9999999999999999"), "reset"},
		"more than the largest":           {id("18446744073709551616", last.ID, last.At), ""},
		"21 digits":                       {id("100000000000000000000", last.ID, last.At), ""},
		"more than the largest number":    {id(last.Transaction, "9223372036854775808", last.At), ""},
		"17 digits of time":               {id(last.Transaction, last.ID, "10000000000000000"), ""},
		"a negative transaction":          {id(-1, last.ID, last.At), ""},
		"a negative number":               {id(last.Transaction, -1, last.At), ""},
		"a negative time":                 {id(last.Transaction, last.ID, -1), ""},
		"a leading zero":                  {id("01", last.ID, last.At), ""},
		"a sign":                          {id("+1", last.ID, last.At), ""},
		"two parts":                       {"1-2", ""},
		"four parts":                      {"1-2-3-4", ""},
		"an empty part":                   {"1--3", ""},
		"hexadecimal":                     {"0x1-2-3", ""},
		"a fraction":                      {"1.0-2-3", ""},
		"another script's digits":         {"१-2-3", ""},
		"a blank before":                  {"\u00a01-2-3", ""},
		"a word":                          {"latest", ""},
		"SQL":                             {"1-2-3'; DROP TABLE vault.changes; --", ""},
		"a megabyte would be too much of": {strings.Repeat("9", 5000), ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for _, byHeader := range []bool{false, true} {
				if status, kind := firstEvent(t, s, c.id, byHeader); kind != c.want || (status == 400) != (c.want == "") {
					t.Errorf("%q (header: %v): %d and the event %q, not %q", c.id, byHeader, status, kind, c.want)
				}
			}
		})
	}
}

// firstEvent presents an id and returns the status and the kind of the first event; "" when none comes.
func firstEvent(t *testing.T, s *vaulttest.Server, id string, byHeader bool) (status int, kind string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), promptly)
	defer cancel()
	target := s.URL + "/v1/events?prefix=ev/"
	if !byHeader {
		target += "&after=" + url.QueryEscape(id)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if byHeader {
		req.Header.Set("Last-Event-ID", id)
	}
	resp, err := client0.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		if kind, ok := strings.CutPrefix(in.Text(), "event: "); ok {
			return resp.StatusCode, kind
		}
	}
	return resp.StatusCode, ""
}
