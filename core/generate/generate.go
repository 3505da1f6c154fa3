package generate

import (
	"io"

	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

const (
	// maxDraws bounds how often a value is drawn. In the worst policy (8
	// characters, all 28 symbols, one character left of each other class) one
	// draw in 113 has all classes; 16384 draws without one happen less than once
	// in 2^200 calls.
	maxDraws = 1 << 14
	// maxRejects bounds the bytes refused in a row for one character. At most half
	// of all bytes are refused, so a working source never gets there.
	maxRejects = 256
	// chunkSize is how many random bytes are read at a time.
	chunkSize = 256
)

// Generate returns a value of p.Length bytes made from the bytes of rand, which
// must be a cryptographic source. All texts that p allows are equally likely. A
// policy that Validate refuses is an Invalid error. A source that fails or is not
// random is an Internal error. The caller wipes the result. Generate wipes what it
// drew itself.
func (p Policy) Generate(rand io.Reader) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	classes := p.classes()
	alphabet := ""
	for _, c := range classes {
		alphabet += c.chars
	}
	s := sampler{rand: rand}
	defer s.wipe()
	value := make([]byte, p.Length)
	for range maxDraws {
		if err := s.fill(value, alphabet); err != nil {
			envelope.Wipe(value)
			return nil, err
		}
		if hasAll(value, classes) {
			return value, nil
		}
	}
	envelope.Wipe(value)
	return nil, errSource
}

var errSource = core.Errorf(core.Internal, "random source for a generated value is not random")

// hasAll reports whether value has a character of every class. Its time tells
// only how many draws were thrown away.
func hasAll(value []byte, classes []class) bool {
	for _, c := range classes {
		if !hasAny(value, c.chars) {
			return false
		}
	}
	return true
}

// hasAny is bytes.ContainsAny without making a string of the value, which
// could not be wiped.
func hasAny(value []byte, chars string) bool {
	var in [256]bool
	for _, c := range []byte(chars) {
		in[c] = true
	}
	for _, c := range value {
		if in[c] {
			return true
		}
	}
	return false
}

// sampler draws characters from a source of random bytes.
type sampler struct {
	rand  io.Reader
	chunk [chunkSize]byte
	rest  []byte // unused part of chunk
}

// fill draws every byte of value from alphabet, of 1 to 128 characters.
func (s *sampler) fill(value []byte, alphabet string) error {
	for i := range value {
		n, err := s.index(len(alphabet))
		if err != nil {
			return err
		}
		value[i] = alphabet[n]
	}
	return nil
}

// index returns a number below n, each equally likely: bytes above the largest
// multiple of n are thrown away, since taking them modulo n would favour small
// numbers.
func (s *sampler) index(n int) (int, error) {
	limit := 256 - 256%n
	for range maxRejects {
		if len(s.rest) == 0 {
			if _, err := io.ReadFull(s.rand, s.chunk[:]); err != nil {
				return 0, core.Wrap(core.Internal, err, "read random bytes for a generated value")
			}
			s.rest = s.chunk[:]
		}
		b := int(s.rest[0])
		s.rest = s.rest[1:]
		if b < limit {
			return b % n, nil
		}
	}
	return 0, errSource
}

func (s *sampler) wipe() { envelope.Wipe(s.chunk[:]) }
