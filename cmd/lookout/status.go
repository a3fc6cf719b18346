package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// statusPatience is how long a server may take to say that it is up. Docker's own limit for a health check is longer.
const statusPatience = 4 * time.Second

func (p *program) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Tell whether the server is up",
		Long: `status asks the server's /status, which needs no token, and prints its answer. It exits 0 when the server is up
and 1 when it is not, or does not answer: what a HEALTHCHECK wants.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			version, err := serverStatus(cmd.Context(), c.URL())
			if err != nil {
				if _, err := fmt.Fprintf(p.stdout, "down: %s\n", appendEscaped(nil, err.Error())); err != nil {
					return err
				}
				return errNoMatch
			}
			_, err = fmt.Fprintf(p.stdout, "up: lookout %s at %s\n", appendEscaped(nil, version), c.URL())
			return err
		},
	}
}

// serverStatus asks once: who wants to know whether a server is up does not want to wait until it is.
func serverStatus(ctx context.Context, address string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/status", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct{ Status, Version, Message string }
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("reading the answer of %s: %w", address, err)
	}
	switch err := json.Unmarshal(text, &answer); {
	case err != nil || answer.Status == "":
		return "", fmt.Errorf("%s answers %s, and not as lookout does", address, resp.Status)
	case resp.StatusCode != http.StatusOK || answer.Status != "ok":
		return "", fmt.Errorf("%s says %s: %s", address, answer.Status, answer.Message)
	}
	return answer.Version, nil
}
