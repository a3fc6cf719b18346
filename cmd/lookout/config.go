package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Name the servers that commands ask",
		Long: `config keeps names for servers in ~/.config/lookout/config.yaml (below $XDG_CONFIG_HOME, or %AppData%
on Windows), each with its address and its token:

  current: prod
  contexts:
    prod: { url: https://logs.example.com, token_file: prod.token }
    stage: { url: http://10.0.0.7:7171, token: lkt_… }

A token may stand in the file itself when nobody else can read it (mode 0600). A token_file is
meant from the folder of config.yaml; ~ is the home folder.

Which server a command asks, the first of: --server or --url, LOOKOUT_URL, LOOKOUT_CONTEXT, current, and
else this machine's. With --server only the server's own token is used, or --token-file; otherwise
LOOKOUT_TOKEN and LOOKOUT_TOKEN_FILE come before it.`,
		Example: `  lookout config set prod --url https://logs.example.com --token < prod.token
  lookout config use prod
  lookout grep timeout --server stage`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.configListCommand(), p.configUseCommand(), p.configSetCommand(), p.configRemoveCommand())
	return cmd
}

func (p *program) configListCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the named servers; * is the one that is asked",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			color, err := f.check(p)
			if err != nil {
				return err
			}
			s, err := p.readServers()
			if err != nil {
				return err
			}
			if len(s.Contexts) == 0 {
				p.say("no server has a name yet; `lookout config set NAME --url ADDRESS` gives it one")
				return errNoMatch
			}
			if address := p.getenv("LOOKOUT_URL"); address != "" {
				p.say("LOOKOUT_URL is set: commands ask %s", address)
			}
			asked := p.currentServer(s)
			t := p.newTable(color, "CURRENT", "NAME", "ADDRESS", "TOKEN")
			enc := json.NewEncoder(p.inert())
			enc.SetEscapeHTML(false)
			for _, name := range s.names() {
				one := s.Contexts[name]
				token := "none"
				switch {
				case one.Token != "":
					token = "in " + s.file
				case one.TokenFile != "":
					token = one.TokenFile
				}
				if f.form == formJSON {
					if err := enc.Encode(struct {
						Name    string `json:"name"`
						URL     string `json:"url"`
						Token   string `json:"token"`
						Current bool   `json:"current"`
					}{name, one.URL, token, name == asked}); err != nil {
						return err
					}
					continue
				}
				mark := ""
				if name == asked {
					mark = "*"
				}
				t.add(cell{text: mark}, cell{text: name}, cell{text: one.URL}, cell{text: token})
			}
			if f.form == formJSON {
				return nil
			}
			_, err = p.stdout.Write(t.bytes())
			return err
		},
	}
	f.add(cmd)
	return cmd
}

// currentServer is the name of the server that commands ask by themselves, empty when it has none.
func (p *program) currentServer(s *servers) string {
	if p.getenv("LOOKOUT_URL") != "" {
		return ""
	}
	if name := p.getenv("LOOKOUT_CONTEXT"); name != "" {
		return name
	}
	return s.Current
}

func (p *program) configUseCommand() *cobra.Command {
	var none bool
	cmd := &cobra.Command{
		Use:   "use NAME",
		Short: "Make a named server the one that commands ask",
		Example: `  lookout config use prod
  lookout config use --none        # this machine's again`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeOneServer,
		RunE: func(_ *cobra.Command, args []string) error {
			if none == (len(args) == 1) {
				return errors.New("which server? give a name of `lookout config list`, or --none for this machine's")
			}
			s, err := p.readServers()
			if err != nil {
				return err
			}
			s.Current = ""
			if !none {
				s.Current = args[0]
				if s.Contexts[s.Current] == nil {
					return s.unknown(s.Current)
				}
			}
			if err := p.keepServers(s); err != nil {
				return err
			}
			for _, name := range []string{"LOOKOUT_URL", "LOOKOUT_CONTEXT"} {
				if p.getenv(name) != "" {
					p.say("%s is set and still comes first", name)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&none, "none", false, "none of them: this machine's")
	return cmd
}

func (p *program) configSetCommand() *cobra.Command {
	var token, use bool
	cmd := &cobra.Command{
		Use:   "set NAME [--url ADDRESS] [--token-file FILE | --token]",
		Short: "Give a server a name, or change what is kept under one",
		Long: `set keeps an address, and a token or the file with it, under a name. What is not given stays as it was.
The file is written anew: comments in it are lost, which is said.`,
		Example: `  lookout config set prod --url https://logs.example.com --token-file ~/secrets/prod --use
  lookout token new ann --role reader --server prod | lookout config set prod --token`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeOneServer,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if !serverName.MatchString(name) {
				return badName(name)
			}
			if p.server != "" {
				return errors.New("--server does not belong here: the name is the argument")
			}
			if token && p.tokenFile != "" {
				return errors.New("--token and --token-file do not go together")
			}
			s, err := p.readServers()
			if err != nil {
				return err
			}
			one := s.Contexts[name]
			if one == nil {
				one = &namedServer{}
				s.Contexts[name] = one
			}
			if p.url != "" {
				one.URL = strings.TrimRight(p.url, "/")
			}
			if err := checkServerURL(one.URL); err != nil {
				return fmt.Errorf("--url: %w", err)
			}
			if p.tokenFile != "" {
				file, err := filepath.Abs(p.tokenFile)
				if err != nil {
					return err
				}
				if _, err := readToken(file); err != nil {
					return fmt.Errorf("--token-file: %w", err)
				}
				one.TokenFile, one.Token = file, ""
			}
			if token {
				if one.Token, err = p.tokenFromInput(); err != nil {
					return err
				}
				one.TokenFile = ""
			}
			if use {
				s.Current = name
			}
			if err := p.keepServers(s); err != nil {
				return err
			}
			if s.Current == "" {
				p.say("`lookout config use %s` makes it the one that commands ask; --server %s asks it once", name, name)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&token, "token", false, "read the token from standard input into the file of names, which only you can read")
	cmd.Flags().BoolVar(&use, "use", false, "make it the one that commands ask, too")
	return cmd
}

// tokenFromInput reads a token: an argument would stand in the list of processes and in the shell's history.
func (p *program) tokenFromInput() (string, error) {
	if terminal(p.stdin) {
		fmt.Fprint(p.stderr, "Token: ")
	}
	line, err := bufio.NewReader(io.LimitReader(p.stdin, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("--token: %w", err)
	}
	token := strings.TrimSpace(line)
	if token == "" || strings.ContainsAny(token, " \t") {
		return "", errors.New("--token: standard input does not hold a token; it is one line without spaces")
	}
	return token, nil
}

func (p *program) configRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "remove NAME",
		Short:             "Forget a named server; the server itself and files of tokens stay",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeOneServer,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := p.readServers()
			if err != nil {
				return err
			}
			if s.Contexts[args[0]] == nil {
				return s.unknown(args[0])
			}
			delete(s.Contexts, args[0])
			if s.Current == args[0] {
				s.Current = ""
				p.say("%s was the one that commands ask; now they ask this machine's", args[0])
			}
			return p.keepServers(s)
		},
	}
}

// keepServers writes the file of names.
func (p *program) keepServers(s *servers) error {
	if err := s.write(); err != nil {
		return fmt.Errorf("keeping the named servers: %w", err)
	}
	if s.comments {
		p.say("the comments in %s are lost", s.file)
	}
	return nil
}

// completeServerNames completes the names of servers.
func (p *program) completeServerNames(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	s, err := p.readServers()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, name := range s.names() {
		if strings.HasPrefix(name, word) {
			names = append(names, cobra.CompletionWithDesc(name, s.Contexts[name].URL))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeOneServer completes the name that is a command's only argument.
func (p *program) completeOneServer(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.completeServerNames(cmd, args, word)
}
