package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) newTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "new-token [FILE]",
		Hidden: true, // lookout token has what servers make; this one needs none
		Short:  "Make a token for agents and senders",
		Long: `new-token prints a new random token. With FILE it goes there, readable by its user only, unless there
is a token already: none is ever replaced.

The server takes it as LOOKOUT_WRITE_TOKEN[_FILE], an agent as LOOKOUT_FORWARD_TOKEN[_FILE]: it brings
events in and reads nothing. Nobody else has to know it.`,
		Example: `  lookout new-token /run/lookout/write-token`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			token := newToken()
			if len(args) == 0 {
				_, err := fmt.Fprintln(p.stdout, token)
				return err
			}
			made, err := keepToken(args[0], token)
			if err == nil {
				note := "holds a token already"
				if made {
					note = "has a new token"
				}
				p.say("%s %s", args[0], note)
			}
			return err
		},
	}
}

// newToken is 256 bits of chance, recognisable as a token of lookout.
func newToken() string { return "lkt_" + strings.ToLower(rand.Text()+rand.Text()) }

// keepToken writes a token into a file that has none.
func keepToken(file, token string) (made bool, err error) {
	switch _, err := readToken(file); {
	case err == nil:
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	// The file is there as a whole or not at all, also after a power cut.
	tmp, err := os.CreateTemp(filepath.Dir(file), ".token-") // mode 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(tmp.Name())
	_, err = io.WriteString(tmp, token+"\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return false, err
	}
	// Unlike a rename, a link replaces nothing that somebody else has made meanwhile.
	if err := os.Link(tmp.Name(), file); err != nil {
		return false, err
	}
	return true, nil
}
