package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// ageIntro is how every age file begins.
const ageIntro = "age-encryption.org/"

// Sealed returns a writer of an age file for recipients (age1…), which is whole once it is closed. Closing it leaves w
// open. An error quotes no recipient: the user may have given the private key.
func Sealed(w io.Writer, recipients []string) (io.WriteCloser, error) {
	var all []age.Recipient
	for _, text := range recipients {
		r, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(r) != 1 {
			return nil, errors.New("a recipient is a public key of age, which begins with age1")
		}
		all = append(all, r...)
	}
	out, err := age.Encrypt(w, all...)
	if err != nil {
		return nil, fmt.Errorf("seal the export: %w", err)
	}
	return out, nil
}

// Opened returns what a file holds: the file itself, or what is sealed in it if it is an age file. identity is an identity
// file as age-keygen writes it, nil if there is none; age keeps a copy that no code can wipe. A file that was cut off or
// changed fails when that part is read.
func Opened(file io.Reader, identity []byte) (io.Reader, error) {
	start := make([]byte, len(armor.Header))
	n, err := io.ReadFull(file, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	start = start[:n]
	whole := io.MultiReader(bytes.NewReader(start), file)
	switch {
	case string(start) == armor.Header:
		whole = armor.NewReader(whole)
	case !bytes.HasPrefix(start, []byte(ageIntro)):
		return whole, nil
	}
	if identity == nil {
		return nil, errors.New("the file is sealed: --identity names the file with the private key")
	}
	ids, err := age.ParseIdentities(bytes.NewReader(identity))
	if err != nil || len(ids) == 0 {
		return nil, errors.New("the identity file holds no identity of age (AGE-SECRET-KEY-...)") // the cause may quote it
	}
	opened, err := age.Decrypt(whole, ids...)
	if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
		return nil, errors.New("the file is sealed for another recipient")
	}
	if err != nil {
		return nil, errors.New("the file begins as a sealed one, and is damaged")
	}
	return opened, nil
}
