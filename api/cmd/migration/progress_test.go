package migration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
)

// names is a source of which nothing is fetched.
type names int

func (n names) Names(_ context.Context, f func(string) error, _ func(name, why string)) error {
	for i := range n {
		if err := f(fmt.Sprintf("app/%d", i)); err != nil {
			return err
		}
	}
	return nil
}

func (n names) Fetch(context.Context, string) (*migrate.Secret, error) {
	return migrate.Refuse("it is of a test"), nil
}

// lineFor writes the line that an import writes for each name.
func lineFor(source migrate.Source, to *io.Writer) func(context.Context) (migrate.Report, error) {
	return func(ctx context.Context) (migrate.Report, error) {
		return migrate.Report{}, source.Names(ctx, func(name string) error {
			_, err := fmt.Fprintf(*to, "%s: imported\n", name)
			return err
		}, nil)
	}
}

// TestProgressOnATerminal: a terminal gets a bar with the number of names, their rate and the time left, in place of the lines.
func TestProgressOnATerminal(t *testing.T) {
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(master) // fails when the other side is closed
		shown <- string(all)
	}()
	moveNames(t, terminal)
	_ = terminal.Close()
	got := <-shown
	_ = master.Close()
	for _, want := range []string{"importing", "(1/300", "it/s", "300/300"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Contains(got, "imported") {
		t.Errorf("the lines are there too: %q", got)
	}
}

func TestProgressElsewhere(t *testing.T) {
	var out bytes.Buffer
	moveNames(t, &out)
	if got := out.String(); strings.Count(got, ": imported\n") != 300 || strings.Contains(got, "importing") {
		t.Errorf("%q", got)
	}
}

func moveNames(t *testing.T, errOut io.Writer) {
	t.Helper()
	var steps io.Writer
	source := names(300)
	if _, err := (Host{ErrOut: errOut, Out: os.Stdout}).move(t.Context(), "importing", source, &steps, lineFor(source, &steps)); err != nil {
		t.Fatal(err)
	}
}
