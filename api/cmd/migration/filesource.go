package migration

import (
	"fmt"
	"io"
	"os"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
	"github.com/hyperiondb/hyperion-vault/core/envelope"
)

// fileSource opens a file of values, which may be sealed.
func (f *importFlags) fileSource() (s migrate.Source, done func(), err error) {
	file, err := os.Open(f.file)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	var identity []byte
	if f.identity != "" {
		identity, err = readPrivate(f.identity)
		defer func() { envelope.Wipe(identity) }()
		if err != nil {
			return nil, nil, err
		}
	}
	in, err := migrate.Opened(file, identity)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.file, err)
	}
	var wipe func()
	if f.from == "json" {
		s, wipe, err = migrate.ReadJSON(in, info.Size())
	} else {
		s, wipe, err = f.dotenv(in, info.Size())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", f.file, err)
	}
	return s, func() { wipe(); _ = file.Close() }, nil
}

func (f *importFlags) dotenv(in io.Reader, size int64) (migrate.Source, func(), error) {
	text, err := migrate.ReadFile(in, size)
	defer func() { envelope.Wipe(text) }()
	if err != nil {
		return nil, nil, err
	}
	object, err := migrate.Dotenv(text)
	if err != nil {
		return nil, nil, err
	}
	return migrate.One(f.name, object), func() { envelope.Wipe(object) }, nil
}
