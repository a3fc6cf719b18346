package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/sdk"
)

// The exit codes.
const (
	exitOK          = 0
	exitNoMatch     = 1
	exitError       = 2
	exitInterrupted = 130
)

// errNoMatch ends a search that found nothing. It is not printed.
var errNoMatch = errors.New("no match")

// program is one run of the command line: what it reads, writes and knows of the world.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(name string) (string, bool)
	now            func() time.Time

	url, server, tokenFile string // --url, --server, --token-file

	held io.Writer // takes what is said while a pager has the terminal; nil when none has
}

// run is the whole program but for the exit: it returns the code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) (string, bool)) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, env: env, now: time.Now}
	return p.run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		p.completeRest(root)
	}
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	var misread error
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, words []string) {
		if misread = misreadHelp(args); misread == nil {
			help(cmd, words)
		}
	})
	err := root.ExecuteContext(ctx)
	if err != nil {
		err = unknownCommand(err)
	}
	return p.exit(ctx, cmp.Or(err, misread))
}

// exit says what went wrong, and returns the exit code.
func (p *program) exit(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitOK
	case closedPipe(err):
		return exitOK
	case errors.Is(err, errNoMatch):
		return exitNoMatch
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	p.complain(err)
	return exitError
}

// closedPipe tells whether whoever read standard output has gone.
func closedPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, fs.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, errWindowsPipe)
}

// complain prints an error; one of the query language with a caret under the place.
func (p *program) complain(err error) {
	p.say("%v", err)
	var q *query.Error
	var e *sdk.Error
	switch {
	case errors.As(err, &q):
	case errors.As(err, &e) && e.Text != "":
		q = &query.Error{Text: e.Text, Pos: e.Position, End: e.End}
	default:
		return
	}
	for line := range strings.Lines(q.Caret()) {
		fmt.Fprintf(p.stderr, "    %s\n", strings.TrimSuffix(line, "\n"))
	}
}

// say writes a line to standard error: everything that is not data goes there. It may quote what came from elsewhere, and
// so is made safe for a terminal.
func (p *program) say(format string, args ...any) {
	text := append(appendEscaped([]byte("lookout: "), fmt.Sprintf(format, args...)), '\n')
	if p.held != nil {
		p.held.Write(text)
		return
	}
	p.stderr.Write(text)
}

// terminal tells whether a stream is one.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (p *program) getenv(name string) string {
	value, _ := p.env(name)
	return value
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "lookout",
		Short: "Collect, search and watch logs",
		Long: `lookout collects the logs of a fleet of services, keeps them searchable and tells what matters.

  lookout serve                        collect, index and alert on this machine
  lookout grep timeout                 the last hour's lines with "timeout", of all services
  lookout grep 'level>=error' 'pay*'   a query of the language, over services by name
  lookout tail payments                the last 10 lines, then live

The commands that read ask the server at LOOKOUT_URL (http://localhost:7171) with the
token in LOOKOUT_TOKEN; on the server's own machine the token is found without. Servers
may have names: see lookout config.`,
		Example: `  docker logs web 2>&1 | lookout send --service web
  lookout grep -c timeout -s today
  lookout grep --stdin 'level>=error' < app.log`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	flags := root.PersistentFlags()
	flags.StringVar(&p.url, "url", "", "the server's `address` (LOOKOUT_URL; else "+sdk.DefaultURL+")")
	flags.StringVar(&p.server, "server", "", "the `name` of a server in the file of `lookout config` (LOOKOUT_CONTEXT)")
	flags.StringVar(&p.tokenFile, "token-file", "", "the `file` with the token (LOOKOUT_TOKEN_FILE, or the token itself in LOOKOUT_TOKEN)")
	root.AddCommand(p.serveCommand(), p.grepCommand(), p.tailCommand(), p.contextCommand(), p.countCommand(), p.topCommand(), p.sendCommand(), p.patternsCommand(), p.servicesCommand(), p.fieldsCommand(), p.containersCommand(), p.probesCommand(), p.alertsCommand(), p.silenceCommand(), p.markCommand(), p.ruleCommand(), p.uiCommand(), p.queryCommand(), p.checkCommand(), p.retentionCommand(), p.statusCommand(), p.newTokenCommand(), p.savedCommand(), p.exportCommand(), p.importCommand(), p.catalogCommand(), p.backupCommand(), p.restoreCommand(), p.verifyCommand(), p.deleteCommand(), p.versionCommand())
	root.AddCommand(p.configCommand(), p.tokenCommand(), p.inputsCommand(), p.parseCommand(), p.completionCommand(), p.completeBashCommand(), p.manCommand())
	root.CompletionOptions.DisableDefaultCmd = true // ours has scripts of its own
	if err := root.RegisterFlagCompletionFunc("server", p.completeServerNames); err != nil {
		panic(err) // a slip of the pen that every run would show
	}
	root.AddCommand(p.foreignCommands()...)
	return root
}
