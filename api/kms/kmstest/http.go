package kmstest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	maxBody   = 64 << 10
	maxSkew   = 15 * time.Minute
	mediaType = "application/x-amz-json-1.1"
)

// fail is an error of AWS's.
type fail struct {
	status  int
	code    string
	message string
}

func refuse(code, message string) *fail { return &fail{http.StatusBadRequest, code, message} }

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.open++
	latency := s.latency
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.open--; s.mu.Unlock() }()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return
	}
	op, call, answer, bad := s.act(r, body)
	f, faulty := s.fault(op)
	if faulty {
		call.Code = "fault"
	}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	if latency > 0 && !s.wait(r, latency) {
		return
	}
	if faulty && (bad == nil || !f.changesAnswer()) {
		s.misbehave(w, r, f, answer)
		return
	}
	if bad != nil {
		writeFail(w, bad)
		return
	}
	write(w, http.StatusOK, encode(answer))
}

// act checks the request as a whole and does what it asks.
func (s *Server) act(r *http.Request, body []byte) (op string, call Call, answer map[string]any, bad *fail) {
	op = strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	call = Call{Op: op}
	defer func() {
		if bad != nil {
			call.Code = bad.code
		}
	}()
	if bad = verifySignature(r, body); bad != nil {
		return op, call, nil, bad
	}
	if r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != mediaType {
		return op, call, nil, refuse("UnknownOperationException", "")
	}
	var in request
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields() // AWS ignores what it does not know; a test would rather hear of it
	if err := dec.Decode(&in); err != nil {
		return op, call, nil, refuse("SerializationException", "the request is not what this server knows")
	}
	call.KeyID, call.Context = in.KeyID, in.EncryptionContext
	answer, bad = s.operate(op, &in)
	return op, call, answer, bad
}

func (s *Server) misbehave(w http.ResponseWriter, r *http.Request, f Fault, answer map[string]any) {
	switch {
	case f.Hang:
		s.wait(r, -1)
	case f.Reset:
		reset(w)
	case f.SlowBody:
		text := encode(answer)
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(text[:len(text)/2])
		_ = http.NewResponseController(w).Flush()
		s.wait(r, -1)
		panic(http.ErrAbortHandler) // the answer stays half
	case f.Body != "":
		write(w, max(f.Status, http.StatusOK), []byte(f.Body))
	case f.Code != "":
		writeFail(w, &fail{f.Status, f.Code, f.Message})
	default:
		if f.Change != nil {
			f.Change(answer)
		}
		write(w, http.StatusOK, encode(answer))
	}
}

func writeFail(w http.ResponseWriter, f *fail) {
	write(w, f.status, encode(map[string]any{"__type": f.code, "message": f.message}))
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("X-Amzn-Requestid", newUUID())
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// verifySignature signs the request again with the SDK's own signer and compares.
func verifySignature(r *http.Request, body []byte) *fail {
	got := r.Header.Get("Authorization")
	if got == "" {
		return refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	if !strings.HasPrefix(got, "AWS4-HMAC-SHA256 Credential="+AccessKeyID+"/") || r.Header.Get("X-Amz-Security-Token") != SessionToken {
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return refuse("IncompleteSignatureException", "no date")
	}
	if skew := time.Since(at); skew > maxSkew || skew < -maxSkew {
		return refuse("InvalidSignatureException", "Signature expired")
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return refuse("IncompleteSignatureException", "no request")
	}
	for _, name := range signedHeaders(got) {
		if v := r.Header.Values(name); len(v) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	sum := sha256.Sum256(body)
	creds := aws.Credentials{AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey, SessionToken: SessionToken}
	err = v4.NewSigner().SignHTTP(r.Context(), creds, again, hex.EncodeToString(sum[:]), "kms", Region, at)
	if err != nil || !hmac.Equal([]byte(got), []byte(again.Header.Get("Authorization"))) {
		// As AWS does, the message repeats the canonical request, with the session token in it.
		return refuse("InvalidSignatureException", "The request signature we calculated does not match. The Canonical String should have been\n"+
			"x-amz-security-token:"+r.Header.Get("X-Amz-Security-Token"))
	}
	return nil
}

func signedHeaders(authorization string) []string {
	_, rest, _ := strings.Cut(authorization, "SignedHeaders=")
	list, _, _ := strings.Cut(rest, ",")
	return strings.Split(list, ";")
}
