package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/app"
	"github.com/lookoutlog/lookout/internal/config"
)

func (p *program) serveCommand() *cobra.Command {
	var file string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Collect, index, search and alert, in one process",
		Long: `serve collects logs (the containers of the Docker engine that is here, GELF over UDP, NDJSON over HTTP),
keeps them searchable, checks the addresses it is told to, and sends what the rules ask for to Slack and
Pushover. It needs no configuration; lookout.yaml in the working folder, LOOKOUT_CONFIG or --config names
one, and every setting can come from the environment (LOOKOUT_…).

With LOOKOUT_FORWARD_URL it is an agent: it collects, and forwards everything to that server.

It prints each address it listens on. Ctrl-C or SIGTERM stops it within 10 s; nothing acknowledged is lost.
SIGHUP reads the configuration again and puts its rules, routes, ways out, retention and probes in force, unless something
is wrong with it: then all stays as it was, and the log says why. Other settings need a restart; it names those that changed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, warnings, err := config.Load(file, p.env)
			for _, w := range warnings {
				p.say("warning: %s", w)
			}
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: level}))
			return p.serve(cmd.Context(), c, log, func() (*config.Config, error) {
				c, _, err := config.Load(file, p.env)
				return c, err
			})
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the configuration's `file`")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log what is done, not only what goes wrong")
	return cmd
}

// sparePlaces lets two goroutines more run than there are cores. Sealing and merging take milliseconds at a time; when they and a
// search have all of Go's places, a request that comes is not even seen until one of them is interrupted, after 10 ms. With places
// to spare the kernel shares the cores out, and it lets what has slept go first (docs/adr/0008-places.md). GOMAXPROCS overrides it.
func sparePlaces() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	}
}

func (p *program) serve(ctx context.Context, c *config.Config, log *slog.Logger, again func() (*config.Config, error)) error {
	sparePlaces()
	// Before anything says that it runs: a SIGHUP that is not waited for ends the process.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	info, _ := debug.ReadBuildInfo()
	name := release(version, info)
	a, err := app.New(app.Options{Config: c, Env: p.env, Version: name, Log: log})
	if err != nil {
		return err
	}
	// Stopping has its own time: ctx has ended by then.
	if err := a.Start(); err != nil {
		return errors.Join(err, a.Stop(context.Background()))
	}
	if err := p.welcome(a, c, name); err != nil {
		return errors.Join(err, a.Stop(context.Background()))
	}
	for {
		select {
		case <-ctx.Done():
			log.Info("stopping")
			return a.Stop(context.Background())
		case err := <-a.Failed():
			return errors.Join(err, a.Stop(context.Background()))
		case <-reload:
			a.Reread(again)
		}
	}
}

// welcome says where everything is; programs that start lookout on port 0 read the addresses from it.
func (p *program) welcome(a *app.App, c *config.Config, version string) error {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		data = c.Data
	}
	out := fmt.Appendf(nil, "lookout %s is running; Ctrl-C stops it\n", version)
	for _, l := range a.Listening() {
		out = fmt.Appendf(out, "  %-7s %s\n", l.Name, l.Address)
	}
	if address := a.Docker(); address != "" {
		out = fmt.Appendf(out, "  %-7s %s\n", "Docker", address)
	}
	out = fmt.Appendf(out, "  %-7s %s\n", "data", data)
	token, made := a.TokenFile()
	if made {
		token += "  (new: it is the key to everything in here)"
	}
	if token != "" {
		out = fmt.Appendf(out, "  %-7s %s\n", "token", token)
	}
	if c.Forward.On() {
		out = fmt.Appendf(out, "  %-7s %s\n", "forward", c.Forward.URL)
		_, err = p.stdout.Write(out)
		return err
	}
	out = fmt.Appendf(out, "  %-7s %s\n", "kept", a.Kept())
	out = fmt.Appendf(out, "  %-7s %s\n", "alerts", a.Alerts())
	if made {
		out = fmt.Appendf(out, "Open the page, once, within 15 minutes:  %s\n", a.LoginAddress())
	} else {
		out = append(out, "To log in to the page:  lookout ui\n"...)
	}
	out = append(out, "Try, in another terminal here:  lookout send hello  and then  lookout grep hello\n"...)
	_, err = p.stdout.Write(out)
	return err
}
