package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/app"
	"github.com/lookoutlog/lookout/internal/backup"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) backupCommand() *cobra.Command {
	var data, throttle, file string
	var tokens bool
	cmd := &cobra.Command{
		Use:   "backup TO",
		Short: "Save everything the server keeps, while it runs",
		Long: `backup has the server copy its data folder to TO: a folder of the server's machine, or s3://BUCKET/PREFIX (any
S3-compatible storage). What is there already is not sent again. Events come in and segments are merged
meanwhile; the backup is the state of one moment.

It saves the events, the log with every sender's position, open incidents and messages that are not sent yet,
and the ledger of patterns. It does not save the tokens, because whoever reads the backup could use them
(--with-tokens does), nor the configuration, nor the catalogue, which is built again.

For S3 the server needs backup.s3_endpoint, s3_region, s3_access_key and s3_secret_key in its configuration, or the
AWS_… variables. With --data it saves a data folder whose server does not run.`,
		Example: `  lookout backup /mnt/backup/lookout
  lookout backup s3://backups/lookout --throttle 20MB
  lookout backup list /mnt/backup/lookout
  lookout backup prune /mnt/backup/lookout --keep 14
  lookout backup verify /mnt/backup/lookout
  lookout restore /mnt/backup/lookout --data /var/lib/lookout`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := app.BackupOptions{To: args[0], Tokens: tokens}
			if throttle != "" {
				rate, err := config.ParseSize(throttle)
				if err != nil || rate < 1 {
					return fmt.Errorf("--throttle: %q is no rate; write it as 20MB, for so much a second", throttle)
				}
				o.Rate = int64(rate)
			}
			var sum backup.Summary
			var err error
			if data != "" {
				sum, err = p.backupFolder(cmd.Context(), data, file, o)
			} else {
				sum, err = p.backupServer(cmd.Context(), o)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.stdout, "backup %s: %s, %s, of which %s (%s) were sent; %s\n", sum.ID, counted(int64(sum.Files), "file"), bytesText(sum.Bytes),
				grouped(int64(sum.SentFiles)), bytesText(sum.SentBytes), counted(int64(sum.Sequence), "event"))
			return err
		},
	}
	cmd.Flags().BoolVar(&tokens, "with-tokens", false, "save the admin token, too")
	cmd.Flags().StringVar(&throttle, "throttle", "", "read and send at most so many bytes a second, such as `20MB`")
	cmd.Flags().StringVar(&data, "data", "", "save this `folder`, whose server does not run")
	p.storageFlag(cmd, &file)
	cmd.AddCommand(p.backupListCommand(), p.backupPruneCommand(), p.backupVerifyCommand())
	return cmd
}

func (p *program) backupServer(ctx context.Context, o app.BackupOptions) (sum backup.Summary, err error) {
	c, err := p.client()
	if err != nil {
		return sum, err
	}
	if !strings.Contains(o.To, "://") && local(c.URL()) { // the same machine: the folder may be named from here
		if o.To, err = filepath.Abs(o.To); err != nil {
			return sum, err
		}
	}
	params := url.Values{"to": {o.To}}
	if o.Tokens {
		params.Set("tokens", "true")
	}
	if o.Rate > 0 {
		params.Set("rate", strconv.FormatInt(o.Rate, 10))
	}
	err = p.work(ctx, c, "backing up", "/api/v1/backups", params, &sum)
	var e *sdk.Error
	if errors.As(err, &e) && e.Code == sdk.CodeUnreachable {
		return sum, fmt.Errorf("%w; when no server runs, --data names the folder to save", err)
	}
	return sum, p.explain(err)
}

func (p *program) backupFolder(ctx context.Context, data, file string, o app.BackupOptions) (sum backup.Summary, err error) {
	if o.S3, err = p.storage(o.To, file); err != nil {
		return sum, err
	}
	info, _ := debug.ReadBuildInfo()
	o.Version = release(version, info)
	b := p.progress("backing up")
	defer b.end()
	sum, err = app.BackupFolder(ctx, data, o, func(done, total int64) { b.set(done, total, "bytes") })
	if errors.Is(err, app.ErrInUse) {
		return sum, fmt.Errorf("%w: leave --data out, and the server saves it", err)
	}
	return sum, err
}

// storageFlag adds the flag that says where the keys of S3 may stand.
func (p *program) storageFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "config", "", "the configuration's `file`, for the backup.s3_… settings")
}

// storage is how S3 is reached from here.
func (p *program) storage(to, file string) (backup.S3Options, error) {
	if !strings.HasPrefix(to, "s3://") {
		return backup.S3Options{}, nil
	}
	c, _, err := config.Load(file, p.env)
	if err != nil {
		return backup.S3Options{}, err
	}
	return app.S3(&c.Backup, p.getenv), nil
}

// target opens what holds backups.
func (p *program) target(to, file string) (backup.Target, error) {
	s3, err := p.storage(to, file)
	if err != nil {
		return nil, err
	}
	return backup.Open(to, s3)
}

func (p *program) backupListCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "list FROM",
		Short: "List the backups at a place, oldest first",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := p.target(args[0], file)
			if err != nil {
				return err
			}
			list, err := backup.List(cmd.Context(), from)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				p.say("there is no backup at %s", from)
				return errNoMatch
			}
			t := p.newTable(false, "BACKUP", "CREATED", "EVENTS", "FILES", "BYTES", "LOOKOUT")
			var bad error
			for _, l := range list {
				if l.Err != nil {
					bad = errors.Join(bad, l.Err)
					continue
				}
				t.add(cell{text: l.ID}, cell{text: l.Created.Local().Format("2006-01-02 15:04:05")}, cell{text: grouped(int64(l.Sequence))},
					cell{text: grouped(int64(len(l.Files)))}, cell{text: bytesText(l.Bytes())}, cell{text: l.Lookout})
			}
			if _, err := p.stdout.Write(t.bytes()); err != nil {
				return err
			}
			return bad
		},
	}
	p.storageFlag(cmd, &file)
	return cmd
}

func (p *program) backupPruneCommand() *cobra.Command {
	var file string
	var keep int
	cmd := &cobra.Command{
		Use:   "prune AT --keep N",
		Short: "Keep the newest backups, and remove the others and what only they need",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keep < 1 {
				return errors.New("--keep says how many backups stay: at least 1")
			}
			at, err := p.target(args[0], file)
			if err != nil {
				return err
			}
			done, err := backup.Prune(cmd.Context(), at, keep, p.now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.stdout, "removed %s and %s (%s)\n", counted(int64(done.Backups), "backup"), counted(int64(done.Objects), "object"), bytesText(done.Bytes))
			return err
		},
	}
	cmd.Flags().IntVar(&keep, "keep", 0, "how many `backups` stay, the newest ones")
	p.storageFlag(cmd, &file)
	return cmd
}

func (p *program) backupVerifyCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "verify AT [BACKUP]",
		Short: "Read the backups at a place, and say what of them is damaged",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := p.target(args[0], file)
			if err != nil {
				return err
			}
			id := ""
			if len(args) > 1 {
				id = args[1]
			}
			b := p.progress("reading")
			done, err := backup.Check(cmd.Context(), at, id, func(done, total int64) { b.set(done, total, "bytes") })
			b.end()
			if err != nil {
				return err
			}
			if done.Backups == 0 {
				return fmt.Errorf("there is no backup at %s", at)
			}
			for _, d := range done.Damage {
				if _, err := fmt.Fprintln(p.stdout, d); err != nil {
					return err
				}
			}
			if n := len(done.Damage); n > 0 {
				return fmt.Errorf("%s of damage in %s", counted(int64(n), "place"), at)
			}
			_, err = fmt.Fprintf(p.stdout, "ok: %s, %s (%s)\n", counted(int64(done.Backups), "backup"), counted(int64(done.Objects), "object"), bytesText(done.Bytes))
			return err
		},
	}
	p.storageFlag(cmd, &file)
	return cmd
}

func (p *program) restoreCommand() *cobra.Command {
	var data, file string
	cmd := &cobra.Command{
		Use:   "restore FROM [BACKUP]",
		Short: "Bring a backup back into an empty folder",
		Long: `restore writes the files of a backup, the newest one unless another is named, into a folder that is empty or not
there. Every file is compared with the hash it was saved under. After an interruption the same command goes
on; until it is done the server refuses the folder.`,
		Example: `  lookout restore /mnt/backup/lookout --data /var/lib/lookout
  lookout restore s3://backups/lookout 20261121T201500.000Z --data ./restored
  lookout verify ./restored`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if data == "" {
				return errors.New("--data names the folder to restore into: one that is empty or not there")
			}
			from, err := p.target(args[0], file)
			if err != nil {
				return err
			}
			id := ""
			if len(args) > 1 {
				id = args[1]
			}
			b := p.progress("restoring")
			done, err := backup.Restore(cmd.Context(), from, id, data, func(done, total int64) { b.set(done, total, "bytes") })
			b.end()
			if err != nil {
				return err
			}
			tokens := "the next start makes a new admin token"
			if done.Tokens {
				tokens = "the admin token is the one that was saved"
			}
			_, err = fmt.Fprintf(p.stdout, "restored backup %s into %s: %s, %s, %s; %s\n", done.ID, data, counted(int64(done.Files), "file"), bytesText(done.Bytes),
				counted(int64(done.Sequence), "event"), tokens)
			return err
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "the `folder` to restore into")
	p.storageFlag(cmd, &file)
	return cmd
}
