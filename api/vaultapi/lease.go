package vaultapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// databaseMount is where clients expect the engine that issues credentials of a database.
	databaseMount = "database"
	credsPath     = databaseMount + "/creds/"
	leasesPath    = "sys/leases/"
)

// leaseEndpoints are the paths of leased roles. A lease is named in the body, or as the rest of the path.
func leaseEndpoints(update func(string, vault.Action, func(*API, *request) error), add func(string, string, op, operation)) {
	add(credsPath+"*", credsPath+"{template}", opRead, operation{action: vault.ActionLeaseIssue, named: true, run: (*API).issueRole})
	update(leasesPath+"lookup", vault.ActionLeaseList, (*API).lookupLease)
	update(leasesPath+"renew", vault.ActionLeaseRenew, (*API).renewLease)
	update(leasesPath+"revoke", vault.ActionLeaseRevoke, (*API).revokeLease)
	for _, x := range []struct {
		path   string
		action vault.Action
		run    func(*API, *request) error
	}{
		{"renew", vault.ActionLeaseRenew, (*API).renewLease},
		{"revoke", vault.ActionLeaseRevoke, (*API).revokeLease},
	} {
		add(leasesPath+x.path+"/*", leasesPath+x.path+"/{lease_id}", opUpdate, operation{action: x.action, run: x.run})
	}
	update("sys/renew", vault.ActionLeaseRenew, (*API).renewLease)
	update("sys/revoke", vault.ActionLeaseRevoke, (*API).revokeLease)
}

// credentials are the data of a lease. The password has the characters of base64url, which need no escapes.
type credentials struct {
	Password json.RawMessage `json:"password"`
	Username string          `json:"username"`
}

// issueRole answers a GET, as clients send it, though it makes a role. HEAD would make one that no client gets.
func (a *API) issueRole(r *request) error {
	if r.Request.Method == http.MethodHead {
		return a.reject(r, errUnsupported())
	}
	l, err := a.vault.IssueRole(r.Request.Context(), r.Caller, r.rest, 0)
	if core.CodeOf(err) == core.NotFound {
		return settled(err, "unknown role: "+printable(r.rest))
	}
	if err != nil {
		return err
	}
	defer l.Wipe()
	password := append(append(append(make([]byte, 0, len(l.Password)+2), '"'), l.Password...), '"')
	defer envelope.Wipe(password)
	r.setIndex(l.Position)
	b := leaseBody(l.Lease)
	b.Data = credentials{Password: password, Username: l.Role}
	r.answer(b)
	return nil
}

func leaseBody(l vault.Lease) body {
	return body{LeaseID: leaseIDOf(l), LeaseDuration: seconds(l.Now, l.ExpiresAt), Renewable: true}
}

func leaseIDOf(l vault.Lease) string { return credsPath + l.Template + "/" + l.ID.String() }

// leaseNamed returns the lease that a request names, in its path or in its body.
func leaseNamed(r *request, f fields) (core.SecretID, error) {
	text := r.rest
	if text == "" {
		var err error
		if text, err = f.text("lease_id"); err != nil {
			return core.SecretID{}, err
		}
	}
	if text == "" {
		return core.SecretID{}, invalid("lease_id must be specified")
	}
	below, ours := strings.CutPrefix(text, credsPath)
	id, err := core.ParseSecretID(below[strings.LastIndexByte(below, '/')+1:])
	if err != nil || !ours {
		return core.SecretID{}, errNoLease
	}
	return id, nil
}

// errNoLease is for an id that names no lease of ours.
var errNoLease = failure(http.StatusBadRequest, core.Invalid, "lease not found")

// withLease reads the body of a request about a lease. What is no lease, and what the caller has no say over, reads the same.
func (a *API) withLease(r *request, use func(fields, core.SecretID) error) error {
	err := r.readFields(maxBody, func(f fields) error {
		id, err := leaseNamed(r, f)
		if err == nil {
			err = use(f, id)
		}
		if core.CodeOf(err) == core.NotFound {
			return settled(err, "lease not found")
		}
		return err
	})
	return a.rejected(r, err)
}

func (a *API) renewLease(r *request) error {
	return a.withLease(r, func(f fields, id core.SecretID) error {
		increment, err := f.duration("increment")
		if err != nil {
			return err
		}
		l, err := a.vault.RenewLease(r.Request.Context(), r.Caller, id, increment)
		if err != nil {
			return err
		}
		r.setIndex(l.Position)
		b := leaseBody(l)
		b.Warnings = f.warnings("lease_id", "increment", "url_lease_id")
		r.answer(b)
		return nil
	})
}

// revokeLease answers an error for what is no lease of the caller's. Vault answers success, which would be wrong for a lease
// that goes on.
func (a *API) revokeLease(r *request) error {
	return a.withLease(r, func(f fields, id core.SecretID) error {
		at, err := a.vault.RevokeLease(r.Request.Context(), r.Caller, id)
		if err != nil {
			return err
		}
		r.setIndex(at)
		r.answerNothing(f.warnings("lease_id", "sync", "url_lease_id")...)
		return nil
	})
}

// leaseState is what a lookup shows of a lease.
type leaseState struct {
	ID          string  `json:"id"`
	IssueTime   string  `json:"issue_time"`
	ExpireTime  string  `json:"expire_time"`
	LastRenewal *string `json:"last_renewal"` // it is not kept
	Renewable   bool    `json:"renewable"`
	TTL         int64   `json:"ttl"`
}

func (a *API) lookupLease(r *request) error {
	return a.withLease(r, func(f fields, id core.SecretID) error {
		caller, err := r.Reader()
		if err != nil {
			return err
		}
		l, err := a.vault.Lease(r.Request.Context(), caller, id)
		if err != nil {
			return err
		}
		r.answerData(leaseState{
			ID: leaseIDOf(l), IssueTime: timeText(l.IssuedAt), ExpireTime: timeText(l.ExpiresAt), Renewable: l.Ending == "",
			TTL: max(0, int64(l.ExpiresAt.Sub(l.Now)/time.Second)),
		}, f.warnings("lease_id")...)
		return nil
	})
}
