package console

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	idleLimit      = 15 * time.Minute // without a request a session ends
	lifeLimit      = 8 * time.Hour    // after its log-in a session ends in any case
	maxSessions    = 1024             // of this process
	maxOfAddress   = 64               // of one client address
	followPrimary  = 10 * time.Second // after a change without a position, reads of the session query the primary
	sessionIDBytes = 32
	tokenKeyInfo   = "hyperion-vault/console/token/v1"
)

// session is one log-in. Its token is sealed under a key made of the id, which only the browser has: between requests
// this process cannot act for the user. All fields but those below mu are constant.
type session struct {
	addr    netip.Addr
	agent   [sha256.Size]byte
	name    string // of the token, for people
	role    string // that it acts as
	own     bool   // the token was issued by the log-in, and ends with the session
	started time.Time

	mu      sync.Mutex
	sealed  []byte // wiped when the session ends
	used    time.Time
	at      core.Position // of the last change: what is shown next includes it
	primary time.Time     // until when reads query the primary
}

// end says why a session is no longer there.
type end string

const (
	endNone     end = ""
	endNoCookie end = "none"  // there was none
	endGone     end = "ended" // idle, too old, or of another process
	endMoved    end = "moved" // used from another address or browser
)

// sessions are the sessions of this process, by the hash of their id. Safe for concurrent use.
type sessions struct {
	clock vault.Clock

	mu  sync.Mutex
	all map[[sha256.Size]byte]*session
}

func newSessions(clock vault.Clock) *sessions {
	return &sessions{clock: clock, all: map[[sha256.Size]byte]*session{}}
}

// start makes a session for a request and returns its id, which is stored nowhere. TooMany when there are enough.
func (s *sessions) start(made *session, r *http.Request, token vault.Bearer) (id string, err error) {
	raw := make([]byte, sessionIDBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", core.Wrap(core.Internal, err, "draw a session id")
	}
	defer clear(raw)
	aead, err := tokenCipher(raw)
	if err != nil {
		return "", err
	}
	made.sealed = aead.Seal(nil, nil, []byte(token), nil)
	made.agent = agentOf(r)
	made.started = s.clock()
	made.used = made.started
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	if len(s.all) >= maxSessions || s.of(made.addr) >= maxOfAddress {
		made.wipe()
		return "", core.Errorf(core.TooMany, "there are too many sessions; log out of one, or wait until one ends")
	}
	s.all[sha256.Sum256(raw)] = made
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// find returns the session of an id and its token, if it is used as it was started. A session that is used from another
// address or by another browser ends, since its cookie was stolen.
func (s *sessions) find(id string, addr netip.Addr, r *http.Request) (*session, vault.Bearer, end) {
	raw, ok := parseSessionID(id)
	if !ok {
		return nil, "", endGone
	}
	defer clear(raw)
	key := sha256.Sum256(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.all[key]
	if x == nil {
		return nil, "", endGone
	}
	if s.over(x) {
		s.drop(key)
		return nil, "", endGone
	}
	if x.addr != addr || x.agent != agentOf(r) {
		s.drop(key)
		return nil, "", endMoved
	}
	token, ok := x.open(raw, s.clock())
	if !ok {
		s.drop(key)
		return nil, "", endGone
	}
	return x, token, endNone
}

// stop ends the session of an id, if there is one.
func (s *sessions) stop(id string) {
	raw, ok := parseSessionID(id)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(sha256.Sum256(raw))
}

// sweepNow wipes what has ended.
func (s *sessions) sweepNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
}

// stopAll ends every session.
func (s *sessions) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.all {
		s.drop(key)
	}
}

func (s *sessions) sweep() {
	for key, x := range s.all {
		if s.over(x) {
			s.drop(key)
		}
	}
}

func (s *sessions) drop(key [sha256.Size]byte) {
	if x := s.all[key]; x != nil {
		x.wipe()
		delete(s.all, key)
	}
}

func (s *sessions) over(x *session) bool {
	now := s.clock()
	x.mu.Lock()
	defer x.mu.Unlock()
	return now.Sub(x.used) >= idleLimit || now.Sub(x.started) >= lifeLimit
}

func (s *sessions) of(addr netip.Addr) (n int) {
	for _, x := range s.all {
		if x.addr == addr {
			n++
		}
	}
	return n
}

// open returns the token and notes that the session is in use.
func (x *session) open(raw []byte, now time.Time) (vault.Bearer, bool) {
	aead, err := tokenCipher(raw)
	if err != nil {
		return "", false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	plain, err := aead.Open(nil, nil, x.sealed, nil)
	if err != nil {
		return "", false
	}
	defer envelope.Wipe(plain)
	x.used = now
	return vault.Bearer(plain), true
}

func (x *session) wipe() {
	x.mu.Lock()
	defer x.mu.Unlock()
	envelope.Wipe(x.sealed)
}

// freshness is what the session's reads must see: its own changes.
func (x *session) freshness(now time.Time) vault.Freshness {
	x.mu.Lock()
	defer x.mu.Unlock()
	return vault.Freshness{Position: x.at, Primary: now.Before(x.primary)}
}

// changed notes a change; the zero Position is one of which no position is known.
func (x *session) changed(at core.Position, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if at == (core.Position{}) {
		x.primary = now.Add(followPrimary)
		return
	}
	x.at = at
}

func parseSessionID(id string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	return raw, err == nil && len(raw) == sessionIDBytes
}

// tokenCipher is made of the id alone, and seals one token, so that a stored hash of the id opens nothing.
func tokenCipher(id []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, id, nil, tokenKeyInfo, 32)
	if err != nil {
		return nil, core.Wrap(core.Internal, err, "derive a session key")
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, core.Wrap(core.Internal, err, "make a cipher")
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, core.Wrap(core.Internal, err, "make a cipher")
	}
	return aead, nil
}

// agentOf is the class of the browser: its User-Agent without the numbers, which an update in the middle of a session
// changes.
func agentOf(r *http.Request) [sha256.Size]byte {
	return sha256.Sum256([]byte(strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c == '.' {
			return -1
		}
		return c
	}, r.UserAgent())))
}
