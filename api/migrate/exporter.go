package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Sink is what an export is written to.
type Sink interface {
	// Put writes a secret, which stays the caller's. An error that is unfit is about this secret alone.
	Put(name string, s *Secret) error
	// Close writes what ends an export that is complete.
	Close() error
}

// unfit is why a secret cannot be moved.
type unfit struct{ why string }

func (u *unfit) Error() string { return u.why }

// isOfOne reports whether an error is about one secret, so that the others are moved all the same.
func isOfOne(err error) bool {
	_, ok := errors.AsType[*unfit](err)
	return ok || errors.Is(err, errForm)
}

// Exporter writes the secrets of Source to Sink. It writes a line for each secret to Progress. No line has a value.
type Exporter struct {
	Source   Source
	Sink     Sink
	Progress io.Writer
}

// Run writes everything. It goes on after a secret that cannot be exported, and ends when the server or the sink fails. What
// was written is complete if there is no error, but for what the report refuses.
func (ex *Exporter) Run(ctx context.Context) (Report, error) {
	r := log{out: ex.Progress, done: "exported"}
	err := ex.Source.Names(ctx, func(name string) error { return ex.one(ctx, &r, name) }, r.refuse)
	if err == nil {
		err = ex.Sink.Close()
	}
	return r.report, err
}

func (ex *Exporter) one(ctx context.Context, r *log, name string) error {
	s, err := ex.Source.Fetch(ctx, name)
	if isOfOne(err) {
		r.refuse(name, err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("the source: %s: %w", shown(name), err)
	}
	defer s.Wipe()
	for _, what := range s.missing {
		r.lose(name, what)
	}
	if s.refused != "" {
		r.refuse(name, s.refused)
		return nil
	}
	if sink, ok := ex.Sink.(interface{ loses(*Secret) []string }); ok {
		for _, what := range sink.loses(s) {
			r.lose(name, what)
		}
	}
	err = ex.Sink.Put(name, s)
	if isOfOne(err) {
		r.refuse(name, err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	r.report.Written++
	r.report.Versions += len(s.values)
	r.say(name, "exported, versions: %d", len(s.values))
	return nil
}
