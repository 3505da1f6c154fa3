package kmstest

import (
	"crypto/aes"
	"crypto/cipher"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// request is the union of the members of every operation done here.
type request struct {
	KeyID                        string            `json:"KeyId"`
	KeySpec                      string            `json:"KeySpec"`
	NumberOfBytes                *int              `json:"NumberOfBytes"`
	EncryptionAlgorithm          string            `json:"EncryptionAlgorithm"`
	EncryptionContext            map[string]string `json:"EncryptionContext"`
	Plaintext                    []byte            `json:"Plaintext"`
	CiphertextBlob               []byte            `json:"CiphertextBlob"`
	SourceKeyID                  string            `json:"SourceKeyId"`
	SourceEncryptionContext      map[string]string `json:"SourceEncryptionContext"`
	DestinationKeyID             string            `json:"DestinationKeyId"`
	DestinationEncryptionContext map[string]string `json:"DestinationEncryptionContext"`
}

// The limits of AWS.
const (
	maxCiphertext = 6144
	maxContext    = 8192
	maxPlaintext  = 4096
)

const algorithm = "SYMMETRIC_DEFAULT"

func (s *Server) operate(op string, in *request) (map[string]any, *fail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range []map[string]string{in.EncryptionContext, in.SourceEncryptionContext, in.DestinationEncryptionContext} {
		if len(canonical(c)) > maxContext {
			return nil, refuse("ValidationException", "the encryption context is too long")
		}
	}
	if in.EncryptionAlgorithm != "" && in.EncryptionAlgorithm != algorithm {
		return nil, refuse("InvalidKeyUsageException", "")
	}
	switch op {
	case "GenerateDataKey":
		return s.generateDataKey(in)
	case "Encrypt":
		return s.encrypt(in)
	case "Decrypt":
		return s.decrypt(in)
	case "ReEncrypt":
		return s.reEncrypt(in)
	case "DescribeKey":
		return s.describeKey(in)
	}
	return nil, refuse("UnknownOperationException", "")
}

// find returns the key a caller names, in whatever state.
func (s *Server) find(name string) (*key, *fail) {
	if name == "" {
		return nil, refuse("ValidationException", "Value null at 'keyId' failed to satisfy constraint: Member must not be null")
	}
	id, arn := name, false
	if rest, ok := strings.CutPrefix(name, "arn:"); ok {
		parts := strings.SplitN(rest, ":", 5)
		if len(parts) != 5 || parts[0] != "aws" || parts[1] != "kms" {
			return nil, refuse("InvalidArnException", "Invalid arn "+name)
		}
		if parts[2] != Region || parts[3] != Account {
			return nil, refuse("NotFoundException", "Invalid arn "+parts[2])
		}
		id, arn = parts[4], true
	}
	if strings.HasPrefix(id, "alias/") {
		target, ok := s.aliases[id]
		if !ok {
			return nil, refuse("NotFoundException", "Alias arn:aws:kms:"+Region+":"+Account+":"+id+" is not found.")
		}
		return s.keys[target], nil
	}
	if arn {
		id = strings.TrimPrefix(id, "key/")
	}
	if k := s.keys[id]; k != nil {
		return k, nil
	}
	return nil, refuse("NotFoundException", "Key 'arn:aws:kms:"+Region+":"+Account+":key/"+id+"' does not exist")
}

// usable returns the key a caller names, or why it cannot be used now.
func (s *Server) usable(name string) (*key, *fail) {
	k, bad := s.find(name)
	if bad != nil {
		return nil, bad
	}
	return k, k.check()
}

func (k *key) check() *fail {
	switch k.state {
	case Disabled:
		return refuse("DisabledException", k.arn+" is disabled.")
	case PendingDeletion:
		return refuse("KMSInvalidStateException", k.arn+" is pending deletion.")
	}
	return nil
}

func (s *Server) generateDataKey(in *request) (map[string]any, *fail) {
	n := 0
	switch {
	case in.KeySpec == "AES_256" && in.NumberOfBytes == nil:
		n = 32
	case in.KeySpec == "AES_128" && in.NumberOfBytes == nil:
		n = 16
	case in.KeySpec == "" && in.NumberOfBytes != nil && *in.NumberOfBytes >= 1 && *in.NumberOfBytes <= 1024:
		n = *in.NumberOfBytes
	default:
		return nil, refuse("ValidationException", "Please specify either number of bytes or key spec.")
	}
	k, bad := s.usable(in.KeyID)
	if bad != nil {
		return nil, bad
	}
	plain := random(n)
	return map[string]any{"KeyId": k.arn, "Plaintext": plain, "CiphertextBlob": k.seal(plain, in.EncryptionContext)}, nil
}

func (s *Server) encrypt(in *request) (map[string]any, *fail) {
	if len(in.Plaintext) == 0 || len(in.Plaintext) > maxPlaintext {
		return nil, refuse("ValidationException", "plaintext is "+strconv.Itoa(len(in.Plaintext))+" bytes")
	}
	k, bad := s.usable(in.KeyID)
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"KeyId": k.arn, "CiphertextBlob": k.seal(in.Plaintext, in.EncryptionContext), "EncryptionAlgorithm": algorithm}, nil
}

func (s *Server) decrypt(in *request) (map[string]any, *fail) {
	k, plain, bad := s.openBlob(in.KeyID, in.CiphertextBlob, in.EncryptionContext)
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"KeyId": k.arn, "Plaintext": plain, "EncryptionAlgorithm": algorithm}, nil
}

func (s *Server) reEncrypt(in *request) (map[string]any, *fail) {
	to, bad := s.usable(in.DestinationKeyID)
	if bad != nil {
		return nil, bad
	}
	from, plain, bad := s.openBlob(in.SourceKeyID, in.CiphertextBlob, in.SourceEncryptionContext)
	if bad != nil {
		return nil, bad
	}
	return map[string]any{
		"KeyId": to.arn, "SourceKeyId": from.arn, "CiphertextBlob": to.seal(plain, in.DestinationEncryptionContext),
		"SourceEncryptionAlgorithm": algorithm, "DestinationEncryptionAlgorithm": algorithm,
	}, nil
}

func (s *Server) describeKey(in *request) (map[string]any, *fail) {
	k, bad := s.find(in.KeyID)
	if bad != nil {
		return nil, bad
	}
	return map[string]any{"KeyMetadata": map[string]any{
		"KeyId": k.id, "Arn": k.arn, "AWSAccountId": Account, "Enabled": k.state == Enabled, "KeyState": k.state,
		"KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": algorithm, "CustomerMasterKeySpec": algorithm,
		"EncryptionAlgorithms": []string{algorithm}, "KeyManager": "CUSTOMER", "Origin": "AWS_KMS", "MultiRegion": false,
		"CreationDate": 1700000000.5,
	}}, nil
}

// A blob is one byte version, the 36-byte key id, a 12-byte nonce and the sealed plaintext.
const (
	blobVersion = 0x5a
	idLen       = 36
	nonceLen    = 12
)

func (k *key) seal(plain []byte, context map[string]string) []byte {
	nonce := random(nonceLen)
	out := append([]byte{blobVersion}, k.id...)
	out = append(out, nonce...)
	return k.aead().Seal(out, nonce, plain, canonical(context))
}

// openBlob judges in the order of AWS: a blob that names no key of ours is invalid whatever key was asked for.
func (s *Server) openBlob(name string, blob []byte, context map[string]string) (*key, []byte, *fail) {
	if len(blob) == 0 || len(blob) > maxCiphertext {
		return nil, nil, refuse("ValidationException", "ciphertext is "+strconv.Itoa(len(blob))+" bytes")
	}
	var asked *key
	if name != "" {
		var bad *fail
		if asked, bad = s.find(name); bad != nil {
			return nil, nil, bad
		}
	}
	if len(blob) < 1+idLen+nonceLen || blob[0] != blobVersion || s.keys[string(blob[1:1+idLen])] == nil {
		return nil, nil, refuse("InvalidCiphertextException", "")
	}
	k := s.keys[string(blob[1:1+idLen])]
	if asked != nil && asked != k {
		return nil, nil, refuse("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
	}
	if bad := k.check(); bad != nil {
		return nil, nil, bad
	}
	nonce := blob[1+idLen : 1+idLen+nonceLen]
	plain, err := k.aead().Open(nil, nonce, blob[1+idLen+nonceLen:], canonical(context))
	if err != nil {
		return nil, nil, refuse("InvalidCiphertextException", "")
	}
	return k, plain, nil
}

func (k *key) aead() cipher.AEAD {
	b, err := aes.NewCipher(k.material)
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		panic(err)
	}
	return a
}

// canonical writes a context in one way only.
func canonical(context map[string]string) []byte {
	var b []byte
	for _, k := range slices.Sorted(maps.Keys(context)) {
		b = append(b, strconv.Quote(k)+"="+strconv.Quote(context[k])+","...)
	}
	return b
}
