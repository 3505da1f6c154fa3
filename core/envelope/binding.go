package envelope

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/hyperiondb/hyperion-vault/core"
)

// aadLabel starts the associated data: it keeps seals of this purpose and format
// apart from anything else that is ever sealed under the same key.
const aadLabel = "hyperion-vault/secret/v1"

const (
	contextSecretID = "hyperion-vault:secret-id"
	contextVersion  = "hyperion-vault:version"
)

// Binding says what a sealed value belongs to: a secret's id and name, one of its
// versions, and a content type. It contains nothing of a cluster, so a dump that
// is restored elsewhere opens with the same keys. Seal refuses the zero Binding.
type Binding struct {
	ID          core.SecretID
	Name        core.Name
	Version     uint64 // from 1 to the largest SQL bigint
	ContentType core.ContentType
}

// AAD returns the associated data of envelope version 1:
//
//	"hyperion-vault/secret/v1" 0x00 id[16]
//	u32be(len(name)) name u64be(version) u32be(len(content type)) content type
//
// Every part has a fixed length or its length in front. So two different bindings
// never share one text ("a"+"12" is not "a1"+"2"). Nothing in it is secret.
func (b Binding) AAD() []byte {
	size := len(aadLabel) + 1 + len(b.ID) + 4 + len(b.Name) + 8 + 4 + len(b.ContentType)
	aad := make([]byte, 0, size)
	aad = append(aad, aadLabel...)
	aad = append(aad, 0)
	aad = append(aad, b.ID[:]...)
	aad = binary.BigEndian.AppendUint32(aad, uint32(len(b.Name)))
	aad = append(aad, b.Name...)
	aad = binary.BigEndian.AppendUint64(aad, b.Version)
	aad = binary.BigEndian.AppendUint32(aad, uint32(len(b.ContentType)))
	aad = append(aad, b.ContentType...)
	return aad
}

// KMSContext returns the encryption context under which the version's data key is
// wrapped. It holds the secret id and the version number, so a wrapped key is
// useless for any other version. It leaves out names, because contexts appear in
// the key service's logs. The map is the caller's.
func (b Binding) KMSContext() map[string]string {
	return map[string]string{
		contextSecretID: b.ID.String(),
		contextVersion:  strconv.FormatUint(b.Version, 10),
	}
}

// check refuses bindings that no stored version can have, with code Invalid. A
// seal under one of them would be lost: nothing could name it again.
func (b Binding) check() error {
	if b.ID.IsZero() {
		return core.Errorf(core.Invalid, "secret id is zero")
	}
	if _, err := core.ParseName(string(b.Name)); err != nil {
		return err
	}
	if b.Version == 0 || b.Version > math.MaxInt64 {
		return core.Errorf(core.Invalid, "version %d is not between 1 and %d", b.Version, int64(math.MaxInt64))
	}
	ct, err := core.ParseContentType(string(b.ContentType))
	if err != nil {
		return err
	}
	if ct != b.ContentType {
		return core.Errorf(core.Invalid, "content type %s is not in canonical form", core.Quote(string(b.ContentType)))
	}
	return nil
}
