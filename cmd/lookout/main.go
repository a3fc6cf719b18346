// Command lookout is the log collector, its server and its command line in one binary.
//
//	lookout serve                       collect, index, alert
//	lookout grep timeout 'pay*'         search, newest last
//	lookout tail payments               follow
//	lookout send --service shop hello   send an event
//
// `lookout help` lists the commands. The commands that read talk to a server over HTTP: LOOKOUT_URL and LOOKOUT_TOKEN say
// which and by what right; on the server's own machine both are found without.
//
// Exit codes: 0 for a match or success, 1 for no match, 2 for an error and for a result that is not complete, 130 after
// Ctrl-C. A closed pipe ends a command quietly.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // --tz works where no zones are installed: in a container, on Windows
)

func main() {
	// A closed pipe then is an error of a write, after which the command ends in order, and with success.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends the process, whatever it waits for
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
}
