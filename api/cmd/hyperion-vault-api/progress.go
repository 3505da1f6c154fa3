package main

import (
	"context"
	"fmt"
	"io"

	"github.com/hyperiondb/hyperion-vault/api/migrate"
	"github.com/hyperiondb/hyperion-vault/api/progress"
)

// move runs an import or an export. It says how far that is: by a bar on a terminal, which wants the names to be counted
// first, and by a line for each secret elsewhere.
func (p program) move(ctx context.Context, what string, source migrate.Source, steps *io.Writer,
	run func(context.Context) (migrate.Report, error),
) (migrate.Report, error) {
	*steps = p.errOut
	if progress.IsTerminal(p.errOut) {
		total, err := migrate.Count(ctx, source)
		if err != nil {
			return migrate.Report{}, fmt.Errorf("count the secrets: %w", err)
		}
		bar := progress.New(p.errOut, what, total)
		defer bar.Close()
		*steps = bar
	}
	return run(ctx)
}
