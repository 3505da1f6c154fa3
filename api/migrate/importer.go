// Package migrate brings secrets from elsewhere into this vault, through the API as any client does it: grants, audit and
// quotas apply. A run that was interrupted goes on when it is started again, because what is there already is compared and
// left alone.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	defaultVersions = 10  // that the engine keeps of a secret
	maxVersions     = 101 // that we keep at most
)

// Importer moves the secrets of Source to Target, below the folder Below if that is not empty. It writes a line for each
// secret to Progress. No line has a value.
type Importer struct {
	Source    Source
	Target    *Client
	Below     string
	Overwrite bool // what differs gets the source's versions as newer ones
	Progress  io.Writer

	report Report
}

// Report says what a run has done. It is right, too, when the run ended with an error.
type Report struct {
	Written, Versions, Same int
	Differ, Refused, Losses []Note
}

// Note is about one secret.
type Note struct{ Name, Text string }

// Complete reports whether the target has all that the source has.
func (r *Report) Complete() bool { return len(r.Differ)+len(r.Refused) == 0 }

// Run moves everything. It goes on after a secret that does not fit, and ends when a server does not work.
func (im *Importer) Run(ctx context.Context) (Report, error) {
	im.report = Report{}
	if err := im.Target.check(ctx); err != nil {
		return im.report, fmt.Errorf("the API to import into: %w", err)
	}
	err := im.Source.Names(ctx, func(name string) error { return im.one(ctx, name) }, im.refuse)
	return im.report, err
}

func (im *Importer) say(name, format string, args ...any) {
	_, _ = fmt.Fprintf(im.Progress, "%s: %s\n", shown(name), fmt.Sprintf(format, args...))
}

// shown is a name in an output: a plain one as it is.
func shown(name string) string {
	if _, err := core.ParseName(name); err == nil {
		return name
	}
	return core.Quote(name)
}

func (im *Importer) refuse(name, why string) {
	im.say(name, "not imported: %s", why)
	im.report.Refused = append(im.report.Refused, Note{shown(name), why})
}

func (im *Importer) lose(name, what string) {
	im.report.Losses = append(im.report.Losses, Note{shown(name), what})
}

// one moves one secret.
func (im *Importer) one(ctx context.Context, name string) error {
	target := im.Below + name
	if _, err := core.ParseName(target); err != nil {
		im.refuse(target, core.MessageOf(err))
		return nil
	}
	s, err := im.Source.Fetch(ctx, name)
	if err != nil {
		return fmt.Errorf("the source: %s: %w", shown(name), err)
	}
	defer s.Wipe()
	for _, what := range s.missing {
		im.lose(name, what)
	}
	if s.refused != "" {
		im.refuse(name, s.refused)
		return nil
	}
	err = im.put(ctx, target, s)
	if e, ok := errors.AsType[*statusError](err); ok && refusal(e.status) {
		im.refuse(target, e.says())
		return nil
	}
	if err != nil {
		return fmt.Errorf("the API: %s: %w", shown(target), err)
	}
	return nil
}

// refusal reports whether a status is about the one secret that was written.
func refusal(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusForbidden || status == http.StatusRequestEntityTooLarge
}

// put brings the target to what s has.
func (im *Importer) put(ctx context.Context, name string, s *Secret) error {
	t, err := im.look(ctx, name)
	if err != nil {
		return err
	}
	defer wipeAll(t.values)
	wanted := s.values
	if most := im.room(&t); len(wanted) > most {
		im.lose(name, fmt.Sprintf("its oldest %d versions are more than the vault keeps of it", len(wanted)-most))
		wanted = wanted[len(wanted)-most:]
	}
	done := 0
	if t.readable {
		done = overlap(wanted, t.values)
	}
	switch {
	case t.exists && done == len(wanted) && (done > 0 || t.current == 0):
		im.report.Same++
		im.say(name, "is there already")
		return nil
	case !im.Overwrite && (!t.whole || done < len(t.values)):
		im.say(name, "differs, and was left as it is")
		im.report.Differ = append(im.report.Differ, Note{shown(name), "it has another value here, or other versions"})
		return nil
	case !t.exists || im.Overwrite:
		s.settings.MaxVersions = max(s.settings.MaxVersions, t.keeps, len(t.values)+len(wanted)-done, defaultVersions)
		if err := im.prepare(ctx, name, s.settings); err != nil {
			return err
		}
	}
	return im.write(ctx, name, wanted[done:], t.current)
}

// present is what the target has of a secret.
type present struct {
	exists   bool
	readable bool // its current version
	whole    bool // no version of it is deleted or destroyed
	current  uint64
	keeps    int
	values   [][]byte
}

// room returns how many versions fit: what is there keeps its settings.
func (im *Importer) room(t *present) int {
	if t.exists && !im.Overwrite {
		return t.keeps
	}
	return maxVersions
}

// look reads what the target has.
func (im *Importer) look(ctx context.Context, name string) (t present, err error) {
	m, err := im.Target.metadata(ctx, name)
	if statusOf(err) == http.StatusNotFound {
		return present{whole: true}, nil
	}
	if err != nil {
		return t, err
	}
	t = present{exists: true, whole: true, current: m.CurrentVersion, keeps: m.keeps()}
	numbers, err := m.numbers()
	if err != nil {
		return t, err
	}
	for _, n := range numbers {
		value, err := im.Target.read(ctx, name, n)
		if err != nil {
			wipeAll(t.values)
			return t, err
		}
		if value == nil {
			t.whole = false
			continue
		}
		t.readable = n == m.CurrentVersion
		t.values = append(t.values, value)
	}
	return t, nil
}

// prepare gives a secret its settings before its first version, so that all versions are kept. What the vault does not take
// is left out and reported: without it the secret is worth more than not at all.
func (im *Importer) prepare(ctx context.Context, name string, s settings) error {
	s.MaxVersions = min(s.MaxVersions, maxVersions)
	err := im.Target.configure(ctx, name, s)
	e, ok := errors.AsType[*statusError](err)
	if !ok || e.status != http.StatusBadRequest && e.status != http.StatusRequestEntityTooLarge {
		return err
	}
	if err := im.Target.configure(ctx, name, settings{MaxVersions: s.MaxVersions, CASRequired: s.CASRequired}); err != nil {
		return err
	}
	im.refuse(name, "its custom metadata and delete_version_after: "+e.says())
	return nil
}

// write appends versions, each only if the one before is still the current one.
func (im *Importer) write(ctx context.Context, name string, values [][]byte, current uint64) error {
	for i, v := range values {
		next, err := im.Target.write(ctx, name, v, current)
		if err != nil {
			return err
		}
		if current = next; i == 0 {
			im.report.Written++
		}
		im.report.Versions++
	}
	if len(values) == 0 {
		im.report.Written++
	}
	im.say(name, "imported, versions: %d", len(values))
	return nil
}
