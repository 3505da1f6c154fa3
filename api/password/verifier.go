package password

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strconv"

	"golang.org/x/crypto/argon2"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// Verifier is what is stored of a password: a PHC string of argon2id, with its parameters and its salt. "" is none. It does
// not log in, but passwords can be guessed at with it, so it is treated as a secret: every way of printing it shows a
// constant.
type Verifier string

const redacted = "REDACTED"

// String returns a constant.
func (Verifier) String() string { return redacted }

// GoString returns a constant.
func (Verifier) GoString() string { return redacted }

// LogValue returns a constant.
func (Verifier) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format writes a constant, whatever the verb.
func (Verifier) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns a constant.
func (Verifier) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Cost is the parameters of argon2id. The zero Cost is none.
type Cost struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// Current is the cost of new verifiers: what OWASP names as the least for argon2id. A verifier of another cost is replaced
// when its user logs in.
var Current = Cost{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1}

// What a stored verifier may cost. A row that was put there by other means must not take the server's memory.
const (
	maxMemoryKiB = 256 << 10
	maxPasses    = 16
	maxLanes     = 16
)

func (c Cost) valid() bool {
	return c.Passes >= 1 && c.Passes <= maxPasses && c.Lanes >= 1 && c.Lanes <= maxLanes &&
		c.MemoryKiB >= 8*uint32(c.Lanes) && c.MemoryKiB <= maxMemoryKiB
}

// The lengths of new verifiers, in bytes. RFC 9106 recommends these.
const saltLen, tagLen = 16, 32

var phc = regexp.MustCompile(`^\$argon2id\$v=19\$m=([1-9][0-9]{0,6}),t=([1-9][0-9]?),p=([1-9][0-9]?)\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})$`)

// PHC strings have base64 without padding. Each has one spelling.
var b64 = base64.RawStdEncoding.Strict()

// parsed is a Verifier taken apart.
type parsed struct {
	cost      Cost
	salt, tag []byte
}

// parse takes a verifier apart. The error is Corrupt, and has nothing of the verifier.
func parse(v Verifier) (p parsed, err error) {
	malformed := core.Errorf(core.Corrupt, "a stored verifier of a password is malformed")
	m := phc.FindStringSubmatch(string(v))
	if m == nil {
		return p, malformed
	}
	memory, _ := strconv.ParseUint(m[1], 10, 32)
	passes, _ := strconv.ParseUint(m[2], 10, 32)
	lanes, _ := strconv.ParseUint(m[3], 10, 8)
	p.cost = Cost{MemoryKiB: uint32(memory), Passes: uint32(passes), Lanes: uint8(lanes)}
	var serr, terr error
	p.salt, serr = b64.DecodeString(m[4])
	p.tag, terr = b64.DecodeString(m[5])
	if !p.cost.valid() || serr != nil || terr != nil {
		return parsed{}, malformed
	}
	return p, nil
}

func (p parsed) verifier() Verifier {
	return Verifier(fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.cost.MemoryKiB, p.cost.Passes, p.cost.Lanes,
		b64.EncodeToString(p.salt), b64.EncodeToString(p.tag)))
}

// matches hashes text and compares the result in constant time.
func (p parsed) matches(text []byte) bool {
	tag := argon2.IDKey(text, p.salt, p.cost.Passes, p.cost.MemoryKiB, p.cost.Lanes, uint32(len(p.tag)))
	defer envelope.Wipe(tag)
	return subtle.ConstantTimeCompare(tag, p.tag) == 1
}
