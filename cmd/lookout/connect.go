package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/lookoutlog/lookout/sdk"
)

// client returns a client for the server that flags and environment name, or for this machine's.
func (p *program) client() (*sdk.Client, error) {
	address := p.url
	if address == "" {
		address = p.getenv("LOOKOUT_URL")
	}
	if address == "" {
		address = sdk.DefaultURL
	}
	token, err := p.token(address)
	if err != nil {
		return nil, err
	}
	c, err := sdk.New(sdk.Options{URL: address, Token: token})
	if err != nil {
		return nil, fmt.Errorf("LOOKOUT_URL or --url: %w", err)
	}
	return c, nil
}

// token returns the token that was named. Without one it is taken out of the data folder, but only for a server on this
// machine: a token found by itself must not go to whoever LOOKOUT_URL happens to name.
func (p *program) token(address string) (string, error) {
	file, from := p.tokenFile, "--token-file"
	if file == "" {
		if token := p.getenv("LOOKOUT_TOKEN"); token != "" {
			return strings.TrimSpace(token), nil
		}
		file, from = p.getenv("LOOKOUT_TOKEN_FILE"), "LOOKOUT_TOKEN_FILE"
	}
	if file != "" {
		token, err := readToken(file)
		if err != nil {
			return "", fmt.Errorf("%s: %w", from, err)
		}
		return token, nil
	}
	if !local(address) {
		return "", nil
	}
	token, err := readToken(p.dataToken())
	if err != nil {
		return "", nil // the server says 401, and then [program.unauthorized] says where a token may come from
	}
	return token, nil
}

// dataToken is where a server on this machine keeps its token.
func (p *program) dataToken() string {
	data := p.getenv("LOOKOUT_DATA")
	if data == "" {
		data = "lookout-data"
	}
	return filepath.Join(data, "token")
}

func readToken(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s does not hold a token", file)
	}
	return token, nil
}

// local tells whether an address is this machine's loopback.
func local(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// explain adds to a server's 401 where the token came from, or could have come from.
func (p *program) explain(err error) error {
	var e *sdk.Error
	if !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
		return err
	}
	said := *e
	said.Mend = "set LOOKOUT_TOKEN or LOOKOUT_TOKEN_FILE; the server keeps its token in <data>/token"
	switch _, err := readToken(p.dataToken()); {
	case p.tokenFile != "":
		said.Mend = "is the token in " + p.tokenFile + " (--token-file) this server's?"
	case p.getenv("LOOKOUT_TOKEN") != "":
		said.Mend = "is LOOKOUT_TOKEN this server's?"
	case p.getenv("LOOKOUT_TOKEN_FILE") != "":
		said.Mend = "is the token in " + p.getenv("LOOKOUT_TOKEN_FILE") + " (LOOKOUT_TOKEN_FILE) this server's?"
	case err == nil:
		said.Mend = "the token in " + p.dataToken() + " is another server's; set LOOKOUT_TOKEN"
	case errors.Is(err, fs.ErrPermission):
		said.Mend = "the token in " + p.dataToken() + " may only be read by the server's user; use sudo, or set LOOKOUT_TOKEN"
	}
	return &said
}
