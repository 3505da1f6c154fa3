// Package migrate moves secrets into this vault and out of it, through the API as any client does it: grants, audit and
// quotas apply. An import that was interrupted continues when it is started again, because what is there already is
// compared and left alone.
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

// Importer moves the secrets of Source to Target, with Below before each name. It writes a line for each secret to Progress.
// No line has a value.
type Importer struct {
	Source    Source
	Target    *Client
	Foreign   bool // the target is another product's: nothing but the protocol of the KV engine is spoken, and its errors are not shown
	Below     string
	Overwrite bool // what differs gets the source's versions as newer ones
	Progress  io.Writer

	log
}

// Run moves everything. It goes on after a secret that does not fit, and ends when a server does not work.
func (im *Importer) Run(ctx context.Context) (Report, error) {
	im.log = log{out: im.Progress, done: "imported"}
	if im.Foreign {
		im.done = "exported"
	}
	if err := im.Target.check(ctx); err != nil && !(im.Foreign && statusOf(err) == http.StatusForbidden) {
		return im.report, fmt.Errorf("%s: %w", im.where(), err)
	}
	err := im.Source.Names(ctx, func(name string) error { return im.one(ctx, name) }, im.refuse)
	return im.report, err
}

func (im *Importer) where() string {
	if im.Foreign {
		return "the server to export to"
	}
	return "the API to import into"
}

// reason is what a server says of a request that it refuses.
func (im *Importer) reason(e *statusError) string {
	if im.Foreign {
		return e.Error()
	}
	return e.says()
}

// one moves one secret.
func (im *Importer) one(ctx context.Context, name string) error {
	target := im.Below + name
	if _, err := core.ParseName(target); err != nil {
		im.refuse(target, core.MessageOf(err))
		return nil
	}
	s, err := im.Source.Fetch(ctx, name)
	if isOfOne(err) {
		im.refuse(name, err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("the source: %s: %w", shown(name), err)
	}
	defer s.Wipe()
	if !im.fits(name, s) {
		return nil
	}
	err = im.put(ctx, target, s)
	if isStale(statusOf(err)) { // a write that was sent again may have been made at first
		err = im.put(ctx, target, s)
	}
	if e, ok := errors.AsType[*statusError](err); ok && refusal(e.status) {
		im.refuse(target, im.reason(e))
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", im.where(), shown(target), err)
	}
	return nil
}

// fits reports whether a secret can be moved, and notes what of it cannot.
func (im *Importer) fits(name string, s *Secret) bool {
	missing, refused := s.missing, s.refused
	if im.Foreign {
		missing = append(missing, s.rotation.notHere()...)
		if refused == "" && s.hasText() {
			refused = errNoObject.why
		}
	}
	for _, what := range missing {
		im.lose(name, what)
	}
	if refused != "" {
		im.refuse(name, refused)
	}
	return refused == ""
}

// refusal reports whether a status is about the one secret that was written.
func refusal(status int) bool {
	return isStale(status) || status == http.StatusForbidden || status == http.StatusRequestEntityTooLarge
}

// isStale reports whether a status may say that what is there is not what was supposed.
func isStale(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusConflict || status == http.StatusPreconditionFailed
}

// put brings the target to what s has.
func (im *Importer) put(ctx context.Context, name string, s *Secret) error {
	t, err := im.readPresent(ctx, name)
	if err != nil {
		return err
	}
	defer wipeAll(t.values)
	wanted := s.values
	if most := im.capacity(&t); len(wanted) > most {
		im.lose(name, fmt.Sprintf("its oldest %d versions are more than the vault keeps of it", len(wanted)-most))
		wanted = wanted[len(wanted)-most:]
	}
	from, made := len(s.values)-len(wanted), false
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
		if t.current, err = im.prepare(ctx, name, s, from+done, &t); err != nil {
			return err
		}
		if made = !t.exists && t.current > 0; made {
			done++ // it was made with its first version
			im.report.Written++
			im.report.Versions++
		}
	}
	return im.write(ctx, name, s, from, done, made, t.current)
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

// capacity returns how many versions fit: what is there keeps its settings.
func (im *Importer) capacity(t *present) int {
	if t.exists && !im.Overwrite {
		return t.keeps
	}
	return maxVersions
}

// readPresent reads what the target has.
func (im *Importer) readPresent(ctx context.Context, name string) (t present, err error) {
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

// prepare gives a secret its settings before its first version, so that all versions are kept. It returns the version that
// is current then. A secret that rotates automatically is created with its first version, values[first]. A setting that the
// vault refuses is left out and reported, because the secret without it is better than no secret.
func (im *Importer) prepare(ctx context.Context, name string, s *Secret, first int, t *present) (uint64, error) {
	s.settings.MaxVersions = min(s.settings.MaxVersions, maxVersions)
	if t.exists && s.rotation.any() {
		im.lose(name, "its rotation: the secret is there already, and has its own")
	}
	current, err := im.make(ctx, name, s, first, t)
	e, ok := errors.AsType[*statusError](err)
	if !ok || e.status != http.StatusBadRequest && e.status != http.StatusRequestEntityTooLarge {
		return current, err
	}
	bare := *s
	bare.description, bare.rotation = "", rotation{}
	bare.settings = settings{MaxVersions: s.settings.MaxVersions, CASRequired: s.settings.CASRequired}
	if current, err = im.make(ctx, name, &bare, first, t); err != nil {
		return current, err
	}
	what := "its description, custom metadata and delete_version_after"
	if s.rotation.any() {
		what += ", and its rotation"
	}
	im.refuse(name, what+": "+im.reason(e))
	return current, nil
}

// make makes a secret, or changes the settings of one that is there.
func (im *Importer) make(ctx context.Context, name string, s *Secret, first int, t *present) (uint64, error) {
	switch {
	case t.exists || im.Foreign || s.contentType == "":
		return t.current, im.Target.configure(ctx, name, s.settings)
	case s.rotation.automatic() && first < len(s.values):
		return im.Target.begin(ctx, name, s, s.values[first], s.isText(first))
	}
	return 0, im.Target.reserve(ctx, name, s)
}

// write appends the versions that are missing, each only if the one before is still the current one. Those before done are
// there.
func (im *Importer) write(ctx context.Context, name string, s *Secret, from, done int, made bool, current uint64) error {
	first := from + done
	for i := first; i < len(s.values); i++ {
		next, err := im.writeOne(ctx, name, s, i, current)
		if err != nil {
			return err
		}
		if current = next; i == first && (done == 0 || !made) {
			im.report.Written++
		}
		im.report.Versions++
	}
	if first == len(s.values) && !made {
		im.report.Written++
	}
	im.say(name, "%s, versions: %d", im.done, len(s.values)-from-done)
	return nil
}

func (im *Importer) writeOne(ctx context.Context, name string, s *Secret, i int, current uint64) (uint64, error) {
	if s.isText(i) {
		return im.Target.writeText(ctx, name, s.contentType, s.values[i], current)
	}
	return im.Target.write(ctx, name, s.values[i], current)
}
