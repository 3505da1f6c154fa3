package doortest

import (
	"context"
	"slices"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// ChangesSince implements vault.Store, for a standby that has come to Replayed, if that is set.
func (s *Store) ChangesSince(_ context.Context, by vault.Credential, after vault.Place, limit int) (vault.ChangePage, vault.Identity, error) {
	leave, err := s.enter("ChangesSince")
	defer leave()
	if err != nil {
		return vault.ChangePage{}, vault.Identity{}, err
	}
	who, err := s.decided(by, "watch", "")
	if err != nil {
		return vault.ChangePage{}, who, err
	}
	here := len(s.changes)
	if s.Replayed != nil {
		here = min(here, *s.Replayed)
	}
	page := vault.ChangePage{Last: after, Known: s.knows(after, here)}
	if !page.Known {
		return page, who, nil
	}
	for _, c := range s.changes[after.ID:min(int(after.ID)+limit, here)] {
		page.Looked, page.Last = page.Looked+1, c.Place
		if s.sees(by, c.Name) {
			page.Changes = append(page.Changes, c)
		}
	}
	return page, who, nil
}

// knows reports whether a place is zero or that of one of the first n changes.
func (s *Store) knows(p vault.Place, n int) bool {
	return p == vault.Place{} || p.ID > 0 && p.ID <= int64(n) && s.changes[p.ID-1].Place == p
}

// KnowsPlace implements vault.Store.
func (s *Store) KnowsPlace(_ context.Context, p vault.Place) (vault.Knowledge, error) {
	leave, err := s.enter("KnowsPlace")
	defer leave()
	switch {
	case err != nil:
		return vault.PlaceGone, err
	case s.OpenTransaction != 0 && p.Transaction == s.OpenTransaction:
		return vault.PlaceOpen, nil
	case s.knows(p, len(s.changes)):
		return vault.PlaceKept, nil
	}
	return vault.PlaceGone, nil
}

// LastChange implements vault.Store.
func (s *Store) LastChange(context.Context) (vault.Place, error) {
	leave, err := s.enter("LastChange")
	defer leave()
	if err != nil || len(s.changes) == 0 {
		return vault.Place{}, err
	}
	return s.changes[len(s.changes)-1].Place, nil
}

// Status implements vault.Store.
func (s *Store) Status(_ context.Context, by vault.Credential) (vault.Status, vault.Identity, error) {
	leave, err := s.enter("Status")
	defer leave()
	if err != nil {
		return vault.Status{}, vault.Identity{}, err
	}
	who, err := s.decided(by, "status", "")
	if err != nil {
		return vault.Status{}, who, err
	}
	out := s.status()
	out.Failures = slices.DeleteFunc(out.Failures, func(f vault.Failure) bool { return !s.sees(by, f.Name) })
	return out, who, nil
}

// Counts implements vault.Store.
func (s *Store) Counts(context.Context) (vault.Status, error) {
	leave, err := s.enter("Counts")
	defer leave()
	if err != nil {
		return vault.Status{}, err
	}
	s.begin()
	return s.status(), nil
}

func (s *Store) status() vault.Status {
	out := vault.Status{Replication: vault.Replication{Host: "db1", Home: true, LSN: s.lsn, Primary: "db1", Known: true}, Version: "0.1.0", Secrets: int64(len(s.secrets)), LastPassAt: s.Now()}
	if r := s.role(AnonymousRole); r != nil {
		out.AnonymousReadsAll = s.granted(holder{role: r}, "read", "*")
	}
	for _, x := range s.secrets {
		if x.info.Kind == core.Automatic {
			out.Automatic++
		}
	}
	for _, j := range s.jobs {
		if j.reason != "" {
			out.Failing++
			out.Failures = append(out.Failures, vault.Failure{Name: s.nameOf(j), Attempts: j.attempts, Reason: j.reason, DueAt: j.due, NextAttemptAt: j.retry})
		}
	}
	return out
}
