package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) uiCommand() *cobra.Command {
	var open bool
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Print an address that logs a browser in",
		Long: `ui prints the address of the server's page with a code that logs a browser in. The code works once,
for 15 minutes; the browser stays logged in for 90 days, or until it has not been used for 30.

--open hands the address to this machine's browser. Other users of the machine can see it in the list
of processes until the browser has used it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			var answer struct {
				Code    string
				Expires time.Time
			}
			if err := c.Call(cmd.Context(), http.MethodPost, "/api/v1/login-codes", nil, &answer); err != nil {
				return p.explain(err)
			}
			if answer.Code == "" {
				return fmt.Errorf("%s gave no code; is it a lookout server of a version that fits?", c.URL())
			}
			// Behind # it is sent to no server, and stands in no log.
			address := c.URL() + "/#login=" + answer.Code
			if _, err := fmt.Fprintln(p.stdout, address); err != nil {
				return err
			}
			p.say("it works once, until %s", answer.Expires.Local().Format("15:04"))
			if open {
				if err := openBrowser(cmd.Context(), address); err != nil {
					p.say("no browser could be opened (%v); open the address yourself", err)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&open, "open", false, "open it in the browser")
	return cmd
}

// openerTime is how long the program that opens browsers may take to say that it cannot. Some stay as long as the browser. It is a
// variable for the tests, in which a slow machine must not change what is said.
var openerTime = 3 * time.Second

func openBrowser(ctx context.Context, address string) error {
	args := []string{"xdg-open", address}
	switch runtime.GOOS {
	case "darwin":
		args[0] = "open"
	case "windows":
		args = []string{"rundll32", "url.dll,FileProtocolHandler", address}
	}
	opener := exec.Command(args[0], args[1:]...) // it outlives this process
	if err := opener.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- opener.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(openerTime):
	case <-ctx.Done():
	}
	return nil
}
