// Package kmstest is a stand-in for AWS KMS for tests. It is an HTTP server that speaks the real protocol, AWS JSON 1.1
// with Signature Version 4. So tests drive the SDK and the keeper over a socket, as in production.
//
// It serves GenerateDataKey (AES_256), Encrypt, Decrypt, ReEncrypt and DescribeKey on symmetric keys, named by id, ARN
// or alias. It recomputes every signature, and enforces the encryption context and the key that the caller names. It
// knows disabled keys and keys pending deletion, and answers with the codes and shapes of AWS. Tests script its faults:
// throttling, 5xx, hanging, slow bodies, resets, malformed and false answers, a closed port.
//
// It speaks TLS on request. It does not support IAM and key policies, so tests script a refusal. It has no grants, no
// key creation or administration over the wire, no automatic rotation, no dry runs and no Nitro attestation. It knows
// neither asymmetric, HMAC and multi-region keys nor custom key stores, and neither AWS's real ciphertext format nor
// FIPS endpoints. It has one region and one account. It keeps everything in memory and wipes nothing, so no product
// code may import it.
package kmstest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"crypto/rand"
)

// The account, region and credentials of every Server.
const (
	Region          = "eu-test-1"
	Account         = "123456789012"
	AccessKeyID     = "AKIATESTTESTTESTTEST"
	SecretAccessKey = "test-secret-access-key-of-kmstest"
	SessionToken    = "test-session-token-of-kmstest"
)

// State is the state of a key.
type State string

// The states that matter to the supported operations.
const (
	Enabled         State = "Enabled"
	Disabled        State = "Disabled"
	PendingDeletion State = "PendingDeletion"
)

// Call is one request that was answered or failed. It contains no data key.
type Call struct {
	Op      string // "Decrypt"
	KeyID   string // as the caller named it; "" when it did not
	Context map[string]string
	Code    string // "" = answered with success
}

// Server is one fake KMS. Safe for concurrent use.
type Server struct {
	addr string
	tls  *tls.Config // nil = plain HTTP

	mu      sync.Mutex
	http    *http.Server // nil while stopped
	served  chan struct{}
	gone    chan struct{} // closed when the running http server stops: what hangs ends
	keys    map[string]*key
	aliases map[string]string // "alias/x" → key id
	calls   []Call
	next    []Fault
	always  []Fault
	latency time.Duration
	open    int // requests being answered
}

type key struct {
	id       string
	arn      string
	material []byte
	state    State
}

// New returns a Server that listens on a loopback port, in plain HTTP. The caller closes it.
func New() (*Server, error) { return listen(nil) }

func listen(conf *tls.Config) (*Server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{addr: ln.Addr().String(), tls: conf, keys: map[string]*key{}, aliases: map[string]string{}}
	s.serve(ln)
	return s, nil
}

func (s *Server) serve(ln net.Listener) {
	h := &http.Server{
		Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0), // failed handshakes are what some tests want
	}
	if s.tls != nil {
		ln = tls.NewListener(ln, s.tls)
	}
	served, gone := make(chan struct{}), make(chan struct{})
	s.mu.Lock()
	s.http, s.served, s.gone = h, served, gone
	s.mu.Unlock()
	go func() { defer close(served); _ = h.Serve(ln) }()
}

// Stop closes the port and every connection, so that connections are refused from now on. A second Stop does nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	h, served, gone := s.http, s.served, s.gone
	s.http = nil
	s.mu.Unlock()
	if h == nil {
		return
	}
	close(gone)
	_ = h.Close()
	<-served
}

// Start listens again on the same port after Stop, with the same keys. The error is that of listening.
func (s *Server) Start() error {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		return err
	}
	s.serve(ln)
	return nil
}

// Close is Stop. Do not call Start after it.
func (s *Server) Close() { s.Stop() }

// URL returns the endpoint.
func (s *Server) URL() string {
	if s.tls != nil {
		return "https://" + s.addr
	}
	return "http://" + s.addr
}

// Environ returns the environment in which the SDK finds this server and its credentials, and nothing of the machine.
func (s *Server) Environ() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL_KMS": s.URL(), "AWS_REGION": Region, "AWS_ACCESS_KEY_ID": AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": SecretAccessKey, "AWS_SESSION_TOKEN": SessionToken,
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_CA_BUNDLE": "", "AWS_PROFILE": "", "AWS_MAX_ATTEMPTS": "", "AWS_RETRY_MODE": "",
	}
}

// CreateKey makes an enabled key and returns its ARN.
func (s *Server) CreateKey() string {
	id := newUUID()
	k := &key{id: id, arn: "arn:aws:kms:" + Region + ":" + Account + ":key/" + id, material: random(32), state: Enabled}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id] = k
	return k.arn
}

// SetAlias points an alias ("alias/x") at a key. It panics when there is no such key.
func (s *Server) SetAlias(alias, arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliases[alias] = s.mustKey(arn).id
}

// SetState changes the state of a key. It panics when there is no such key.
func (s *Server) SetState(arn string, state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustKey(arn).state = state
}

func (s *Server) mustKey(arn string) *key {
	k := s.keys[arn[strings.LastIndex(arn, "/")+1:]]
	if k == nil {
		panic("kmstest: no such key: " + arn)
	}
	return k
}

// SetLatency delays every answer from now on by d.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// Calls returns the calls since the last TakeCalls, of one operation or, for "", of all.
func (s *Server) Calls(op string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Call
	for _, c := range s.calls {
		if op == "" || c.Op == op {
			out = append(out, c)
		}
	}
	return out
}

// TakeCalls returns every call and forgets them.
func (s *Server) TakeCalls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.calls
	s.calls = nil
	return out
}

// Open returns the number of requests in progress, hanging ones included.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func random(n int) []byte {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return b
}

func newUUID() string {
	b := random(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
