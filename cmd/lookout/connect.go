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

// connection is which server is asked, and by what right.
type connection struct {
	address string
	from    string // what named the address, for an error
	token   string
	// tokenFrom is what the token came from, for an error; empty when there is none or it was found by itself.
	tokenFrom string
	named     string // the server's name, when it has one
}

// client returns a client for the server that flags, environment and the file of named servers say, or for this machine's.
func (p *program) client() (*sdk.Client, error) {
	to, err := p.connect()
	if err != nil {
		return nil, err
	}
	c, err := sdk.New(sdk.Options{URL: to.address, Token: to.token})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", to.from, err)
	}
	return c, nil
}

// connect finds out which server is asked: --url or --server, LOOKOUT_URL, LOOKOUT_CONTEXT, the current one of the file, this
// machine's. The file is not read when an address is given.
func (p *program) connect() (connection, error) {
	if p.url != "" && p.server != "" {
		return connection{}, errors.New("--url and --server do not go together")
	}
	to := connection{address: p.url, from: "LOOKOUT_URL or --url"}
	if to.address == "" && p.server == "" {
		to.address = p.getenv("LOOKOUT_URL")
	}
	if to.address != "" {
		return p.withToken(to, nil)
	}
	s, err := p.readServers()
	if err != nil {
		return to, err
	}
	switch context := p.getenv("LOOKOUT_CONTEXT"); {
	case p.server != "":
		to.named, to.from = p.server, "--server"
	case context != "":
		to.named, to.from = context, "LOOKOUT_CONTEXT"
	case s.Current != "":
		to.named, to.from = s.Current, s.file
	default:
		to.address = sdk.DefaultURL
		return p.withToken(to, nil)
	}
	one := s.Contexts[to.named]
	if one == nil {
		return to, fmt.Errorf("%s: %w", to.from, s.unknown(to.named))
	}
	to.address = one.URL
	return p.withToken(to, s)
}

// withToken adds the token: that of --token-file, of the environment, of the server's name, which --server puts before the environment:
// that one may be meant for another server. Without one it is taken out of the data folder, but only for a server on this machine: a token found by itself
// must not go to whoever an address happens to name.
func (p *program) withToken(to connection, s *servers) (connection, error) {
	file := func(name, from string) (connection, error) {
		var err error
		if to.token, err = readToken(name); err != nil {
			return to, fmt.Errorf("%s: %w", from, err)
		}
		to.tokenFrom = fmt.Sprintf("the token in %s (%s)", name, from)
		return to, nil
	}
	if p.tokenFile != "" {
		return file(p.tokenFile, "--token-file")
	}
	if p.server == "" {
		if token := p.getenv("LOOKOUT_TOKEN"); token != "" {
			to.token, to.tokenFrom = strings.TrimSpace(token), "LOOKOUT_TOKEN"
			return to, nil
		}
		if name := p.getenv("LOOKOUT_TOKEN_FILE"); name != "" {
			return file(name, "LOOKOUT_TOKEN_FILE")
		}
	}
	if s != nil {
		token, from, err := s.token(p, to.named)
		if token != "" || err != nil {
			to.token, to.tokenFrom = token, "the token in "+from
			return to, err
		}
	}
	if local(to.address) {
		to.token, _ = readToken(p.dataToken()) // else the server says 401, and then explain says where a token may come from
	}
	return to, nil
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

// explain adds to a server's 401 where the token came from, or could have come from, and to an address where nobody
// answers what named it.
func (p *program) explain(err error) error {
	var e *sdk.Error
	if !errors.As(err, &e) || e.Status != http.StatusUnauthorized && e.Code != sdk.CodeUnreachable {
		return err
	}
	to, problem := p.connect()
	if problem != nil {
		return err
	}
	said := *e
	if e.Code == sdk.CodeUnreachable {
		if to.named != "" {
			said.Mend = fmt.Sprintf("is `lookout serve` running there? the address is that of %s, see `lookout config list`", to.named)
		}
		return &said
	}
	said.Mend = "set LOOKOUT_TOKEN or LOOKOUT_TOKEN_FILE; the server keeps its token in <data>/token"
	if to.named != "" {
		said.Mend = fmt.Sprintf("give %s one: `lookout config set %s --token`; the server keeps its token in <data>/token", to.named, to.named)
	}
	if to.tokenFrom != "" {
		said.Mend = "is " + to.tokenFrom + " this server's?"
		return &said
	}
	switch _, err := readToken(p.dataToken()); {
	case err == nil && to.token != "":
		said.Mend = "the token in " + p.dataToken() + " is another server's; set LOOKOUT_TOKEN"
	case local(to.address) && errors.Is(err, fs.ErrPermission):
		said.Mend = "the token in " + p.dataToken() + " may only be read by the server's user; use sudo, or set LOOKOUT_TOKEN"
	}
	return &said
}
