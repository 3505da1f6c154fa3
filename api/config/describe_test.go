package config

import (
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference/settings.md")

const (
	settingsPage = "../../docs/reference/settings.md"
	pageBegin    = "<!-- settings of the API: made by go test ./api/config -run TestSettingsPage -update -->\n"
	pageEnd      = "<!-- end -->\n"
)

// TestSettingsPage compares the settings in docs/reference/settings.md with the table of this package.
func TestSettingsPage(t *testing.T) {
	text, err := os.ReadFile(settingsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), pageBegin)
	got, after, ended := strings.Cut(rest, pageEnd)
	if !ok || !ended {
		t.Fatalf("%s lacks the lines\n%s%s", settingsPage, pageBegin, pageEnd)
	}
	want := Markdown() + "\n"
	if *update {
		if err := os.WriteFile(settingsPage, []byte(before+pageBegin+want+pageEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s is not what the code says. Run: go test ./api/config -run TestSettingsPage -update", settingsPage)
	}
}

// TestDescriptions checks that each setting has a description, and each description a setting.
func TestDescriptions(t *testing.T) {
	names := map[string]bool{}
	for _, s := range settings {
		names[s.name] = true
		d := descriptions[s.name]
		if !slices.Contains(groups, d.group) {
			t.Errorf("%s has the group %q", s.name, d.group)
		}
		if !strings.HasSuffix(d.about, ".") {
			t.Errorf("%s is described by %q: want full sentences", s.name, d.about)
		}
		if d.def != "" && d.note != "" {
			t.Errorf("%s has a default and a note in its place", s.name)
		}
	}
	for name := range descriptions {
		if !names[name] {
			t.Errorf("%s is described and is no setting", name)
		}
	}
}

// TestDescribedDefaults sets each described default, which must change nothing.
func TestDescribedDefaults(t *testing.T) {
	for _, s := range settings {
		d := descriptions[s.name]
		if d.def == "" {
			continue
		}
		c := Default()
		if err := s.set(&c, d.def); err != nil {
			t.Errorf("%s: its default %q: %v", s.name, d.def, err)
			continue
		}
		if s.name != nameListen && !reflect.DeepEqual(c, Default()) {
			t.Errorf("%s: the default is not %s", s.name, d.def)
		}
	}
}

// TestHelp checks that the help names every setting, and wraps its lines.
func TestHelp(t *testing.T) {
	var b strings.Builder
	if err := WriteHelp(&b); err != nil {
		t.Fatal(err)
	}
	for _, s := range settings {
		if !strings.Contains(b.String(), "\n  "+s.name+" (") && !strings.Contains(b.String(), "\n  "+s.name+"\n") {
			t.Errorf("the help lacks %s", s.name)
		}
	}
}
