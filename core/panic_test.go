package core_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

type holder struct{ secret string }

func explode(v any) { panic(v) }

func crash(p *holder) string { return p.secret }

func recovered(do func()) (err *core.Error) {
	defer func() { err = core.Recovered(recover()) }()
	do()
	return nil
}

func TestRecovered(t *testing.T) {
	for name, do := range map[string]func(){
		"explode": func() { explode("hunter2") },
		"crash":   func() { _ = crash(nil) },
	} {
		before := core.Panics()
		err := recovered(do)
		text := err.Error()
		if core.CodeOf(err) != core.Internal || !strings.Contains(text, "core_test."+name+":") {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Index(text, "core_test."+name) > strings.Index(text, "core_test.recovered") {
			t.Errorf("%s: the innermost frame is not first: %s", name, text)
		}
		if core.Panics() != before+1 {
			t.Errorf("%s: %d panics were counted", name, core.Panics()-before)
		}
		for _, secret := range []string{"hunter2", "panic.go"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: %s", name, text)
			}
		}
		if core.MessageOf(err) != "internal error" {
			t.Errorf("%s: a client sees %q", name, core.MessageOf(err))
		}
	}
	t.Run("of another goroutine", func(t *testing.T) {
		before := core.Panics()
		first := recovered(func() { explode(errors.New("hunter2")) })
		again := recovered(func() { panic(first) })
		if again != first || core.Panics() != before+1 {
			t.Errorf("%v, %d panics counted", again, core.Panics()-before)
		}
	})
}
