package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

type deleteFlags struct {
	since, until, cancel                         string
	all, everything, yes, dry, list, wait, audit bool
}

func (p *program) deleteCommand() *cobra.Command {
	var f deleteFlags
	cmd := &cobra.Command{
		Use:   "delete QUERY",
		Short: "Delete the events that match a query, for good",
		Long: `delete shows first what it would delete: how many events, of which services, and the newest of them. On a terminal it asks
then; elsewhere it needs --yes. What arrives after that first look is not deleted.

The server deletes in the background: from its files and its log, from alerts that wait to be sent or are open, and from
the ledger of patterns. That goes on after a restart. Searches meanwhile show all that stays. Backups, messages that were
sent, and what an agent still holds are not reached.

The range has to be named: --since, --until, or --all. It needs the admin token. That somebody deletes, and how much,
becomes an event of service lookout; what was asked for is in it only with --audit-query, since it may be the secret.`,
		Example: `  lookout delete 'service:shop "card number"' --all
  lookout delete 'user=anna@example.com' --since 90d --wait
  lookout delete --list
  lookout delete --cancel 3`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.explain(p.delete(cmd.Context(), args, &f)) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.since, "since", "s", "", "events from this `time` on")
	fl.StringVarP(&f.until, "until", "u", "", "events before this `time`")
	fl.BoolVar(&f.all, "all", false, "events of any time")
	fl.BoolVar(&f.everything, "everything", false, "let a query match every event")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	fl.BoolVarP(&f.dry, "dry-run", "n", false, "only show what would be deleted")
	fl.BoolVarP(&f.wait, "wait", "w", false, "wait until it is done")
	fl.BoolVar(&f.audit, "audit-query", false, "keep the query in the list of deletions and in their audit")
	fl.BoolVar(&f.list, "list", false, "list the deletions, the newest first")
	fl.StringVar(&f.cancel, "cancel", "", "end the deletion of this `ID`; what is gone stays gone")
	return cmd
}

func (p *program) delete(ctx context.Context, args []string, f *deleteFlags) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	switch {
	case (f.list || f.cancel != "") && len(args) > 0:
		return errors.New("--list and --cancel take no query")
	case f.list:
		return p.listDeletions(ctx, c)
	case f.cancel != "":
		id, err := strconv.ParseUint(f.cancel, 10, 64)
		if err != nil {
			return fmt.Errorf("--cancel: %q is no deletion's ID; see `lookout delete --list`", f.cancel)
		}
		d, err := c.CancelDelete(ctx, id)
		if err != nil {
			return err
		}
		if d.Over() {
			return p.deletionEnded(d)
		}
		_, err = fmt.Fprintf(p.stdout, "deletion %d ends; %s by now\n", d.ID, gone(d.Deleted))
		return err
	case len(args) == 0:
		return errors.New("delete what? give a query; see `lookout delete --help`")
	case f.since == "" && f.until == "" && !f.all:
		return errors.New("of which time? give --since, --until or --all")
	}
	r := sdk.DeleteRequest{Query: args[0], Everything: f.everything, KeepQuery: f.audit}
	span, err := parseRange(f.since, f.until, f.all || f.since == "", p.now(), time.Local)
	if err != nil {
		return err
	}
	r.Since, r.Until = span.since, span.until
	preview, err := c.PreviewDelete(ctx, r)
	if err != nil {
		return err
	}
	if err := p.showPreview(preview); err != nil {
		return err
	}
	switch {
	case preview.Events == 0 && preview.Complete:
		return errNoMatch
	case f.dry:
		return nil
	case f.yes:
	case !terminal(p.stdin):
		return errors.New("nothing was deleted: add --yes to delete without a question")
	default:
		if err := p.confirm(fmt.Sprintf("Delete %s at %s for good? Type yes: ", counted(preview.Events, "event"), c.URL())); err != nil {
			return err
		}
	}
	r.Confirm = preview.Confirm
	d, err := c.Delete(ctx, r)
	if err != nil {
		return err
	}
	if !f.wait {
		_, err = fmt.Fprintf(p.stdout, "deletion %d has begun; see `lookout delete --list`\n", d.ID)
		return err
	}
	return p.awaitDeletion(ctx, c, d)
}

// confirm asks a person.
func (p *program) confirm(question string) error {
	fmt.Fprint(p.stderr, question)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if strings.TrimSpace(strings.ToLower(answer)) != "yes" || err != nil {
		return errors.New("nothing was deleted")
	}
	return nil
}

func (p *program) showPreview(d *sdk.DeletePreview) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s match, about %s", counted(d.Events, "event"), bytesText(d.Bytes))
	from, to := "the first", "now"
	if !d.Since.IsZero() {
		from = d.Since.Local().Format("2006-01-02 15:04:05")
	}
	if !d.Until.IsZero() {
		to = d.Until.Local().Format("2006-01-02 15:04:05")
	}
	fmt.Fprintf(&b, ", from %s to %s\n", from, to)
	names := slices.SortedFunc(maps.Keys(d.Services), func(a, b string) int {
		if n := d.Services[b] - d.Services[a]; n != 0 {
			return int(n)
		}
		return strings.Compare(a, b)
	})
	const most = 10
	for i, name := range names {
		if i == most {
			fmt.Fprintf(&b, "  … and %s\n", counted(int64(len(names)-most), "service"))
			break
		}
		if name == "" {
			name = "(no service)"
		}
		fmt.Fprintf(&b, "  %10s  %s\n", grouped(d.Services[names[i]]), oneLineText(name, 60))
	}
	if len(d.Samples) > 0 {
		b.WriteString("the newest:\n")
	}
	for i := range d.Samples {
		e := &d.Samples[i]
		fmt.Fprintf(&b, "  %s %s %s\n", e.Time.Local().Format("2006-01-02 15:04:05"), oneLineText(e.Service, 40), oneLineText(e.Message, 160))
	}
	for _, reason := range d.Reasons {
		fmt.Fprintf(&b, "part of the store cannot be read, and nothing there will be deleted: %s\n", oneLineText(reason, 300))
	}
	_, err := p.stdout.Write(appendEscaped(nil, b.String()))
	return err
}

// oneLineText is the beginning of a text, in one line.
func oneLineText(s string, most int) string {
	r := []rune(strings.Join(strings.Fields(s), " "))
	if len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return string(r)
}

// deletionPoll is how often a deletion is asked how it stands.
const deletionPoll = 250 * time.Millisecond

func (p *program) awaitDeletion(ctx context.Context, c *sdk.Client, d *sdk.Deletion) error {
	b := p.progress("deleting")
	defer b.end()
	for said := ""; !d.Over(); {
		if d.Segments > 0 {
			b.set(int64(d.Looked), int64(d.Segments), "files")
		}
		if d.Error != "" && d.Error != said {
			said = d.Error
			b.end()
			p.say("deletion %d does not come on, and is tried again: %s", d.ID, d.Error)
		}
		select {
		case <-ctx.Done():
		case <-time.After(deletionPoll):
		}
		now, err := c.Deletion(ctx, d.ID)
		switch {
		case ctx.Err() != nil:
			b.end()
			p.say("deletion %d goes on without you; `lookout delete --cancel %d` ends it", d.ID, d.ID)
			return ctx.Err()
		case err != nil:
			return err
		}
		d = now
	}
	b.end()
	return p.deletionEnded(d)
}

// gone says how many events were deleted.
func gone(n int64) string {
	if n == 1 {
		return "1 event is gone"
	}
	return counted(n, "event") + " are gone"
}

// deletionEnded says how a deletion ended; only one that is done is no error.
func (p *program) deletionEnded(d *sdk.Deletion) error {
	text := fmt.Sprintf("deletion %d is %s: %s", d.ID, d.State, gone(d.Deleted))
	if d.Error != "" {
		text += "; " + d.Error
	}
	for _, s := range d.Skipped {
		text += "\n  cannot be read, and was left as it is: " + s
	}
	if d.State == "done" || d.State == "cancelled" {
		_, err := p.stdout.Write(append(appendEscaped(nil, text), '\n'))
		return err
	}
	return errors.New(text)
}

func (p *program) listDeletions(ctx context.Context, c *sdk.Client) error {
	list, err := c.Deletions(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		p.say("nothing was deleted by query")
		return errNoMatch
	}
	t := p.newTable(false, "ID", "STATE", "DELETED", "ASKED", "BY", "QUERY")
	for i := range list {
		d := &list[i]
		state, what := d.State, d.Query
		if d.State == "running" {
			state += fmt.Sprintf(" %d/%d", d.Looked, d.Segments)
		}
		if what == "" {
			what = "#" + d.QueryHash[:min(8, len(d.QueryHash))]
			if len(d.Fields) > 0 {
				what += " of " + strings.Join(d.Fields, ", ")
			}
		}
		if d.Error != "" {
			what += " (" + d.Error + ")"
		}
		t.add(cell{text: strconv.FormatUint(d.ID, 10)}, cell{text: state}, cell{text: grouped(d.Deleted)}, cell{text: d.Created.Local().Format("2006-01-02 15:04:05")},
			cell{text: oneLineText(d.By, 30)}, cell{text: oneLineText(what, 80)})
	}
	_, err = p.stdout.Write(t.bytes())
	return err
}
