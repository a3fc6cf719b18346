package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) importCommand() *cobra.Command {
	var producer string
	var parse bool
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Bring events back that were exported, or NDJSON of another origin",
		Long: `import sends the events of files to the server: NDJSON as export writes it, plain, gzip or zstd; - is standard
input, and a folder is an export. Events keep their time, level and fields as they stand in the line; only what the server
gives itself (id, time of receipt) is new.

Importing a file again stores nothing twice: the server counts a file's lines under the hash of its content, for 30 days.
What comes from standard input is counted only with --producer. A line that cannot be read costs only itself; the first
20 are named, and the exit code is 2.

--parse has the server look for levels, times and fields in the messages, as it does with what services send.`,
		Example: `  lookout import ./export
  lookout import part-000001.ndjson.zst part-000002.ndjson.zst
  zcat old.ndjson.gz | lookout import --producer old -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.importFiles(cmd.Context(), args, producer, !parse)
		},
	}
	cmd.Flags().StringVar(&producer, "producer", "", "count the lines under this `name`: sending the same again under it stores nothing twice")
	cmd.Flags().BoolVar(&parse, "parse", false, "have the server read the messages, too")
	return cmd
}

func (p *program) importFiles(ctx context.Context, args []string, producer string, exact bool) error {
	var files []string
	for _, name := range args {
		if info, err := os.Stat(name); name == "-" || err != nil || !info.IsDir() {
			files = append(files, name)
			continue
		}
		parts, err := partsOf(name)
		if err != nil {
			return err
		}
		files = append(files, parts...)
	}
	if producer != "" && len(files) > 1 {
		return errors.New("--producer counts the lines of one file: import the files one by one, or leave it out")
	}
	c, err := p.client()
	if err != nil {
		return err
	}
	accepted, rejected := int64(0), int64(0)
	for _, name := range files {
		result, err := p.importFile(ctx, c, name, sdk.SendOptions{Producer: producer, First: 1, Exact: exact})
		for _, e := range result.Errors {
			p.say("%s, line %d: %s", name, e.Line, e.Message)
		}
		accepted, rejected = accepted+result.Accepted, rejected+result.Rejected
		if err != nil {
			if accepted > 0 {
				p.say("%s are stored; importing the same again goes on without storing them twice", counted(accepted, "event"))
			}
			return fmt.Errorf("%s: %w", name, p.explain(err))
		}
	}
	if rejected > 0 {
		return fmt.Errorf("imported %s; %s not taken", counted(accepted, "event"), counted(rejected, "line"))
	}
	if accepted == 0 {
		return errNothingToSend
	}
	p.say("imported %s; those of an import before are stored once", counted(accepted, "event"))
	return nil
}

func (p *program) importFile(ctx context.Context, c *sdk.Client, name string, o sdk.SendOptions) (result sdk.SendResult, err error) {
	in, total := p.stdin, int64(0)
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return result, err
		}
		defer file.Close()
		h := sha256.New()
		if total, err = io.Copy(h, file); err != nil {
			return result, err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return result, err
		}
		if in = file; o.Producer == "" {
			o.Producer = "import:" + hex.EncodeToString(h.Sum(nil))
		}
	}
	b := p.progress("importing")
	defer b.end()
	read := &readCounter{r: in, told: func(n int64) { b.set(n, total, "bytes") }}
	lines, done, err := decompressed(read)
	if err != nil {
		return result, err
	}
	defer func() {
		if ctx.Err() == nil { // else a read may be left behind
			done()
		}
	}()
	return c.SendNDJSON(ctx, lines, o)
}

// readCounter tells how much was read.
type readCounter struct {
	r    io.Reader
	n    atomic.Int64
	told func(n int64)
}

func (r *readCounter) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.told(r.n.Add(int64(n)))
	return n, err
}
