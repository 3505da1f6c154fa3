package migration

import (
	"context"
	"fmt"
	"io"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
	"github.com/hyperiondb/hyperion-vault/api/progress"
)

// move runs an import or an export. It says how far that is: by a bar on a terminal, which wants the names to be counted
// first, and by a line for each secret elsewhere.
func (h Host) move(ctx context.Context, what string, source migrate.Source, steps *io.Writer,
	run func(context.Context) (migrate.Report, error),
) (migrate.Report, error) {
	*steps = h.ErrOut
	if progress.IsTerminal(h.ErrOut) {
		total, err := migrate.Count(ctx, source)
		if err != nil {
			return migrate.Report{}, fmt.Errorf("count the secrets: %w", err)
		}
		bar := progress.New(h.ErrOut, what, total)
		defer bar.Close()
		*steps = bar
	}
	return run(ctx)
}
