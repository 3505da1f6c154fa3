package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hyperiondb/hyperion-vault/core"
)

// Problem is one mistake in the environment.
type Problem struct {
	// Name is the variable it is about.
	Name string
	// Text is the whole sentence, with the name. It holds no secret.
	Text string
}

// Error is every mistake found, in the order of the settings table. It is what Load returns when it returns an error.
type Error struct{ Problems []Problem }

// Error puts each mistake on a line of its own.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Text
	}
	return strings.Join(lines, "\n")
}

// Warning is something the operator should know that does not keep the process from starting. It holds no secret.
type Warning Problem

// String returns the whole sentence.
func (w Warning) String() string { return w.Text }

// Load reads everything the service needs. environ is os.Environ in the program. On error the Config is zero, the
// error an *Error that names every mistake; warnings are returned in both cases. A variable that is empty counts as
// not set. The caller wipes the Config's secrets.
func Load(environ func() []string) (Config, []Warning, error) {
	l := newLoader(environ())
	l.read(settings)
	l.checkListen()
	l.checkKMS()
	l.checkOld()
	l.checkPostgres()
	l.checkReads()
	l.warnUnknown()
	return l.result()
}

// LoadStore reads only what a command needs that speaks to the database and to nothing else: the VAULT_PG_*
// variables, the node's name, the request timeout and the log level. Everything else keeps its default, even where
// the environment says something wrong, and Config.KMS is not usable: a shell that manages tokens needs no master key.
func LoadStore(environ func() []string) (Config, []Warning, error) {
	l := newLoader(environ())
	var some []setting
	for _, s := range settings {
		if s.store {
			some = append(some, s)
		}
	}
	l.read(some)
	l.checkPostgres()
	l.warnUnknown()
	return l.result()
}

// LoadListen reads only what says where the service of this environment listens, and returns that. Its error is as
// Load's.
func LoadListen(environ func() []string) ([]Address, error) {
	l := newLoader(environ())
	for _, s := range settings {
		if s.name == nameListen || s.name == nameAPICert {
			l.read([]setting{s})
		}
	}
	for i := range l.cfg.Listen {
		if l.cfg.bare[i] {
			l.cfg.Listen[i].TLS = l.cfg.TLS.Cert != ""
		}
	}
	cfg, _, err := l.result()
	return cfg.Listen, err
}

// loader gathers what is found on the way.
type loader struct {
	values   map[string]string // as set, empty values left out; of a setting from a file what the file holds
	files    map[string]string // for each setting whose value came from a file: the file, as set
	order    []string          // names in the order of the environment
	cfg      Config
	problems []Problem
	warnings []Warning
}

func newLoader(environ []string) *loader {
	l := &loader{values: map[string]string{}, files: map[string]string{}, cfg: Default()}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if _, twice := l.values[name]; twice || value == "" {
			continue // of two entries the first counts, as in os.Getenv
		}
		l.values[name] = value
		l.order = append(l.order, name)
	}
	return l
}

func (l *loader) read(table []setting) {
	unusable := map[string]bool{}
	for _, s := range table { // first every file, so that no message quotes a secret that comes later
		unusable[s.name] = !l.readFile(s)
	}
	for _, s := range table {
		value, ok := l.values[s.name]
		if !ok || unusable[s.name] {
			continue
		}
		if err := s.set(&l.cfg, value); err != nil {
			l.fail(s.name, "%s", l.explain(s, value, err))
		}
	}
	l.sortProblems()
	if l.cfg.NodeName == "" {
		l.cfg.NodeName = hostname()
	}
}

// sortProblems puts the problems into the order of the table.
func (l *loader) sortProblems() {
	at := func(p Problem) int {
		return slices.IndexFunc(settings, func(s setting) bool { return s.name == strings.TrimSuffix(p.Name, fileSuffix) })
	}
	slices.SortStableFunc(l.problems, func(a, b Problem) int { return at(a) - at(b) })
}

// explain returns the message about a wrong value, as in NAME="value": want on or off. What is or may be a secret stays
// out of it.
func (l *loader) explain(s setting, value string, err error) string {
	if file, ok := l.files[s.name]; ok {
		return fmt.Sprintf("%s%s (content not shown): %s", s.name+fileSuffix, l.showPath(s, file), s.want)
	}
	if s.secret || s.hidden || l.holdsSecret(value) {
		return fmt.Sprintf("%s (value not shown): %s", s.name, s.want)
	}
	text := fmt.Sprintf("%s=%s: %s", s.name, core.Quote(value), s.want)
	if errors.Is(err, errWant) {
		return text
	}
	return text + ": " + err.Error()
}

// holdsSecret finds values pasted into the wrong variable: connection strings with a password, admin tokens, the
// value of a secret variable.
func (l *loader) holdsSecret(value string) bool {
	if strings.Contains(value, "@") || strings.Contains(value, "hvt_") {
		return true
	}
	for _, s := range settings {
		if v := l.values[s.name]; (s.secret || s.hidden) && v != "" && strings.Contains(value, v) {
			return true
		}
	}
	return false
}

// checkKMS refuses what cannot seal anything.
func (l *loader) checkKMS() {
	const name = "VAULT_KMS_MODE"
	if l.failed(name) {
		return
	}
	if l.cfg.KMS.Mode == KMSAWS {
		l.checkAWS()
		return
	}
	const key = "VAULT_LOCAL_MASTER_KEY"
	if len(l.cfg.KMS.MasterKey) == 0 && !l.failed(key) {
		l.fail(key, "%s is not set: VAULT_KMS_MODE=local needs base64 of 32 random bytes, as from: openssl rand -base64 32", key)
	}
	l.warn(name, "VAULT_KMS_MODE=local is for development: VAULT_LOCAL_MASTER_KEY and the database together open every secret")
	if l.cfg.KMS.KeyID != "" {
		l.warn("VAULT_KMS_KEY_ID", "VAULT_KMS_KEY_ID is not used with VAULT_KMS_MODE=local")
	}
}

// checkAWS wants the key. Region, endpoint and credentials are the AWS SDK's own settings and are judged where it is.
func (l *loader) checkAWS() {
	const key, master = "VAULT_KMS_KEY_ID", "VAULT_LOCAL_MASTER_KEY"
	if l.cfg.KMS.KeyID == "" && !l.failed(key) {
		l.fail(key, "%s is not set: VAULT_KMS_MODE=aws, which is the default, needs the id, ARN or alias of a key of AWS KMS "+
			"(for development without AWS there is VAULT_KMS_MODE=local)", key)
	}
	if len(l.cfg.KMS.MasterKey) > 0 {
		l.cfg.KMS.MasterKey.Wipe()
		l.cfg.KMS.MasterKey = nil
		l.warn(master, "%s is not used with VAULT_KMS_MODE=aws", master)
	}
}

// checkReads warns of an allowlist that allows no client: safe, but rarely intended.
func (l *loader) checkReads() {
	const name = "VAULT_ALLOWED_IPS"
	if l.cfg.AllowedIPs.Len() == 0 && !l.failed(name) {
		l.warn(name, "VAULT_ALLOWED_IPS is empty: every read of a secret over REST is denied")
	}
}

// warnUnknown names the nearest known variable for each VAULT_* that is not ours, in any case of letters.
func (l *loader) warnUnknown() {
	const prefix = "VAULT_"
	known := knownNames()
	for _, name := range l.order {
		if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) || known[name] {
			continue
		}
		l.warn(name, "%s is not a setting of hyperion-vault and is ignored; the nearest known name is %s",
			showName(name), nearest(name, known))
	}
}

// IsSetting reports whether the program knows a variable of the name.
func IsSetting(name string) bool { return knownNames()[name] }

func (l *loader) fail(name, format string, args ...any) {
	l.problems = append(l.problems, Problem{Name: name, Text: fmt.Sprintf(format, args...)})
}

func (l *loader) warn(name, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{Name: name, Text: fmt.Sprintf(format, args...)})
}

// failed reports whether the setting has a problem, be it that of its file.
func (l *loader) failed(name string) bool {
	for _, p := range l.problems {
		if p.Name == name || p.Name == name+fileSuffix {
			return true
		}
	}
	return false
}

func (l *loader) result() (Config, []Warning, error) {
	if len(l.problems) > 0 {
		l.cfg.Wipe()
		return Config{}, l.warnings, &Error{Problems: l.problems}
	}
	return l.cfg, l.warnings, nil
}
