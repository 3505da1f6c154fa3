package migrate

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hyperiondb/hyperion-vault/api/jsonscan"
	"github.com/hyperiondb/hyperion-vault/core"
)

// File is a source that was read from a file. It belongs to the text of the file, which the caller wipes.
type File struct{ objects map[string][]byte }

// ReadFile reads a file as a whole, up to a bound.
func ReadFile(r io.Reader, size int64) ([]byte, error) { return readAll(r, size, maxAnswer) }

// JSON takes apart a JSON object whose members are secrets: a name, and an object.
func JSON(text []byte) (*File, error) {
	objects, err := jsonscan.Object(text, nil)
	if err != nil {
		// Its text can quote a name that is given twice, and no value.
		return nil, fmt.Errorf("the file is no JSON object of secrets: %s", core.MessageOf(err))
	}
	return &File{objects: objects}, nil
}

// One is a source with one secret.
func One(name string, object []byte) *File { return &File{objects: map[string][]byte{name: object}} }

// Names implements Source.
func (s *File) Names(_ context.Context, f func(string) error, skip func(name, why string)) error {
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		if _, err := core.ParseName(name); err != nil {
			skip(name, core.MessageOf(err))
			continue
		}
		if err := f(name); err != nil {
			return err
		}
	}
	return nil
}

// Fetch implements Source.
func (s *File) Fetch(_ context.Context, name string) (*Secret, error) {
	object := s.objects[name]
	if len(object) == 0 || object[0] != '{' {
		return &Secret{refused: "its value is no JSON object"}, nil
	}
	return &Secret{values: [][]byte{slices.Clone(object)}}, nil
}
