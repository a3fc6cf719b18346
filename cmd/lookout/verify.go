package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/app"
)

func (p *program) verifyCommand() *cobra.Command {
	var quick, asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Read everything the server keeps, and say what of it is damaged",
		Long: `verify reads each block, each page of each footer and each record of the log, and compares its checksum; then what the
parts say of each other: footers with the blocks' events (times, sequences, levels, hosts, fields, forms, counts,
filters), the segments' ranges, the log and the state file with the segments, and the pages of the databases.

With DIR it reads a data folder that no server uses, and changes nothing in it. Without, or when a server has the folder
open, the server does it, while it runs.

It lists what is damaged: the file and the place in it, what it costs, and the mend. The exit code is 2 then, else 0.`,
		Example: `  lookout verify
  lookout verify --quick
  lookout verify /var/lib/lookout`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r *app.Report
			var err error
			if len(args) > 0 {
				r, err = p.verifyFolder(cmd.Context(), args[0], quick)
			} else {
				r, err = p.verifyServer(cmd.Context(), quick)
			}
			if err != nil {
				return err
			}
			return p.verified(r, asJSON)
		},
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "compare checksums only")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was found as one JSON object")
	return cmd
}

func (p *program) verifyServer(ctx context.Context, quick bool) (*app.Report, error) {
	c, err := p.client()
	if err != nil {
		return nil, err
	}
	params := url.Values{}
	if quick {
		params.Set("quick", "true")
	}
	var r app.Report
	return &r, p.explain(p.work(ctx, c, "verifying", "/api/v1/verify", params, &r))
}

func (p *program) verifyFolder(ctx context.Context, dir string, quick bool) (*app.Report, error) {
	b := p.progress("verifying")
	r, err := app.VerifyFolder(ctx, dir, quick, func(done, total int64) { b.set(done, total, "bytes") })
	b.end()
	if !errors.Is(err, app.ErrInUse) {
		return r, err
	}
	abs, absErr := filepath.Abs(dir)
	if absErr != nil {
		return nil, absErr
	}
	p.say("%s is in use by a running lookout, which does it", dir)
	if r, err = p.verifyServer(ctx, quick); err != nil {
		return nil, err
	}
	if r.Data != abs {
		return nil, fmt.Errorf("the server that was asked has its data in %s; set LOOKOUT_URL to the one that has %s", r.Data, abs)
	}
	return r, nil
}

// verified prints what was found.
func (p *program) verified(r *app.Report, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(p.inert())
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else {
		var out []byte
		for _, problem := range r.Problems {
			text := fmt.Sprintf("%s at byte %d: %s", problem.File, problem.Offset, problem.What)
			out = append(appendEscaped(out, text), '\n')
			out = append(appendEscaped(append(out, "  costs: "...), problem.Cost), '\n')
			out = append(appendEscaped(append(out, "  mend:  "...), problem.Mend), '\n')
		}
		if len(r.Problems) == 0 {
			out = fmt.Appendf(out, "ok: %s in %s of %s, %s in the log, %s; %s read\n", counted(r.Events, "event"), counted(int64(r.Blocks), "block"),
				counted(int64(r.Segments), "segment"), grouped(r.Logged), counted(int64(r.Databases), "database"), bytesText(r.Bytes))
		}
		if _, err := p.stdout.Write(out); err != nil {
			return err
		}
	}
	if n := len(r.Problems); n > 0 {
		return fmt.Errorf("%s of damage in %s", counted(int64(n), "place"), r.Data)
	}
	return nil
}
