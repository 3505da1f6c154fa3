package core

// Kind says who changes a secret. The zero Kind is not a kind.
type Kind string

const (
	// Manual secrets change when a caller sets a new value.
	Manual Kind = "manual"
	// Automatic secrets are rotated on a schedule.
	Automatic Kind = "automatic"
)

// ParseKind returns s as a Kind, or an Invalid error. The empty text is refused,
// because the code that reads a request chooses the default.
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case Manual, Automatic:
		return k, nil
	}
	return "", Errorf(Invalid, "kind must be %q or %q", Manual, Automatic)
}
