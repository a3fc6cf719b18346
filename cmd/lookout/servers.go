package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lookoutlog/lookout/sdk"
)

// servers are the named servers of a person, and which of them is asked when none is named.
type servers struct {
	file string // where they were read, or would stand

	Current  string                  `yaml:"current,omitempty"`
	Contexts map[string]*namedServer `yaml:"contexts,omitempty"`

	comments bool // the file has some, which writing it anew would lose
}

// namedServer is one server: its address, and the token or the file with it.
type namedServer struct {
	URL       string `yaml:"url"`
	TokenFile string `yaml:"token_file,omitempty"`
	Token     string `yaml:"token,omitempty"`
}

// maxServersFile is the longest file of named servers, in bytes.
const maxServersFile = 1 << 20

// serverName is what a server may be called: a word that needs no quotes anywhere.
var serverName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// serversFile returns where the named servers stand; empty when this user has no folder for settings.
func (p *program) serversFile() string {
	dir := p.getenv("XDG_CONFIG_HOME")
	switch home := p.getenv("HOME"); {
	case filepath.IsAbs(dir):
	case runtime.GOOS == "windows":
		dir = p.getenv("AppData")
	case home != "":
		dir = filepath.Join(home, ".config")
	default:
		dir = ""
	}
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "lookout", "config.yaml")
}

// readServers returns the named servers; none when there is no file.
func (p *program) readServers() (*servers, error) {
	s := &servers{file: p.serversFile(), Contexts: map[string]*namedServer{}}
	if s.file == "" {
		return s, nil
	}
	f, err := os.Open(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the named servers: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxServersFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the named servers: %w", err)
	}
	if len(text) > maxServersFile {
		return nil, fmt.Errorf("%s is longer than %s; is it the file of named servers?", s.file, bytesText(maxServersFile))
	}
	if err := s.parse(text); err != nil {
		return nil, err
	}
	if s.holdsTokens() && othersCanRead(f) {
		return nil, fmt.Errorf("%s holds a token, and other users can read it; chmod 600 %s, or use token_file", s.file, s.file)
	}
	return s, nil
}

func (s *servers) holdsTokens() bool {
	for _, one := range s.Contexts {
		if one.Token != "" {
			return true
		}
	}
	return false
}

// othersCanRead tells whether users beside the owner may read or write a file.
func othersCanRead(f *os.File) bool {
	if runtime.GOOS == "windows" {
		return false // its mode bits say nothing
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0
}

var yamlErrorLine = regexp.MustCompile(`^line (\d+): `)

// parse reads the file's text. Its errors name the line, and never quote a value: it may be a token.
func (s *servers) parse(text []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		line, what := 1, strings.TrimPrefix(err.Error(), "yaml: ")
		if m := yamlErrorLine.FindStringSubmatch(what); m != nil {
			line, _ = strconv.Atoi(m[1])
			what = what[len(m[0]):]
		}
		if strings.HasPrefix(what, "unknown anchor") {
			what = "a value begins with * and is no alias" // the parser's own words quote the value
		}
		return s.bad(line, "is not YAML: %s", what)
	}
	if doc.Kind == 0 {
		return nil // empty
	}
	s.comments = hasComments(&doc)
	root := doc.Content[0]
	if err := s.mapping(root, "", map[string]func(*yaml.Node) error{
		"current": func(n *yaml.Node) error { return s.text(n, "current", &s.Current) },
		"contexts": func(n *yaml.Node) error {
			return s.mapping(n, "contexts", nil)
		},
	}); err != nil {
		return err
	}
	if _, ok := s.Contexts[s.Current]; s.Current != "" && !ok {
		return s.bad(lineOf(root, "current"), "current: %w", s.unknown(s.Current))
	}
	return nil
}

// lineOf returns the line of a key of a mapping.
func lineOf(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i].Line
		}
	}
	return n.Line
}

func hasComments(n *yaml.Node) bool {
	return n.HeadComment+n.LineComment+n.FootComment != "" || slices.ContainsFunc(n.Content, hasComments)
}

func (s *servers) bad(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", s.file, line, fmt.Errorf(format, args...))
}

// mapping reads the entries of a mapping: those of known, or without it the servers by their names.
func (s *servers) mapping(n *yaml.Node, path string, known map[string]func(*yaml.Node) error) error {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil // "contexts:" with nothing below it
	}
	if n.Kind != yaml.MappingNode {
		return s.bad(n.Line, "%s: names with values belong here, each as name: value", orWord(path, "the file"))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		switch {
		case key.Kind != yaml.ScalarNode:
			return s.bad(key.Line, "%s: a key is a word", orWord(path, "the file"))
		case seen[key.Value]:
			return s.bad(key.Line, "%s stands here twice; keep one of them", at)
		}
		seen[key.Value] = true
		read := known[key.Value]
		if known == nil {
			read = func(n *yaml.Node) error { return s.server(key, n, at) }
		}
		if read == nil {
			return s.bad(key.Line, "%s: %w", at, unknownKey(key.Value, known))
		}
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

func unknownKey(key string, known map[string]func(*yaml.Node) error) error {
	var names []string
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := nearest(key, names); near != "" {
		return fmt.Errorf("there is no such key; did you mean %s?", near)
	}
	return fmt.Errorf("there is no such key; there are %s", strings.Join(names, ", "))
}

func orWord(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}

// server reads one named server.
func (s *servers) server(key, n *yaml.Node, at string) error {
	if !serverName.MatchString(key.Value) {
		return s.bad(key.Line, "%s: %w", at, badName(key.Value))
	}
	one := &namedServer{}
	text := func(name string, to *string) func(*yaml.Node) error {
		return func(n *yaml.Node) error { return s.text(n, at+"."+name, to) }
	}
	if err := s.mapping(n, at, map[string]func(*yaml.Node) error{
		"url": text("url", &one.URL), "token_file": text("token_file", &one.TokenFile), "token": text("token", &one.Token),
	}); err != nil {
		return err
	}
	if one.Token != "" && one.TokenFile != "" {
		return s.bad(key.Line, "%s: there is token and token_file; keep one of them", at)
	}
	if err := checkServerURL(one.URL); err != nil {
		return s.bad(key.Line, "%s.url: %w", at, err)
	}
	s.Contexts[key.Value] = one
	return nil
}

func (s *servers) text(n *yaml.Node, at string, to *string) error {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return s.bad(n.Line, "%s: a text belongs here", at)
	}
	*to = n.Value
	return nil
}

func badName(name string) error {
	return fmt.Errorf("%q is no name for a server: use letters, digits, . _ and -, at most 64", name)
}

// checkServerURL finds what is wrong with a server's address.
func checkServerURL(address string) error {
	if address == "" {
		return errors.New("the address is missing; write it like https://logs.example.com")
	}
	if u, err := url.Parse(address); err == nil && u.User != nil {
		return errors.New("an address holds no password; name the token's file by token_file")
	}
	_, err := sdk.New(sdk.Options{URL: address})
	return err
}

// names returns the servers' names in order.
func (s *servers) names() []string {
	var names []string
	for name := range s.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// unknown words that there is no server of this name.
func (s *servers) unknown(name string) error {
	names := s.names()
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("no server %q; did you mean %s?", name, near)
	}
	if len(names) == 0 {
		return fmt.Errorf("no server %q: none has a name yet; `lookout config set %s --url ADDRESS` gives it one", name, name)
	}
	return fmt.Errorf("no server %q; there are %s", name, strings.Join(names, ", "))
}

// token returns a named server's token, empty when it has none, and where it came from.
func (s *servers) token(p *program, name string) (token, from string, err error) {
	one := s.Contexts[name]
	switch {
	case one.Token != "":
		token = strings.TrimSpace(one.Token)
		if strings.ContainsAny(token, " \t\r\n") {
			return "", "", fmt.Errorf("%s: contexts.%s.token does not hold a token", s.file, name)
		}
		return token, s.file + " (contexts." + name + ".token)", nil
	case one.TokenFile != "":
		file := s.path(p, one.TokenFile)
		if token, err = readToken(file); err != nil {
			return "", "", fmt.Errorf("%s: contexts.%s.token_file: %w", s.file, name, err)
		}
		return token, file, nil
	}
	return "", "", nil
}

// path is a file's name as the file of servers has it: ~ is the home folder, and a relative name begins at the file's own.
func (s *servers) path(p *program, name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		home := p.getenv("HOME")
		if home == "" {
			home = p.getenv("USERPROFILE")
		}
		return filepath.Join(home, rest)
	}
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(s.file), name)
}

// write replaces the file as a whole, readable by its user only: after a crash there is the old one or the new one.
func (s *servers) write() error {
	if s.file == "" {
		return errors.New("there is no folder for settings: set HOME or XDG_CONFIG_HOME")
	}
	text, err := yaml.Marshal(s)
	if err != nil {
		return err
	}
	// A link into a folder of somebody's dotfiles stays one.
	file := s.file
	if to, err := filepath.EvalSymlinks(file); err == nil {
		file = to
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".config-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
