package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke the tokens with which programs and people ask the server",
		Long: `token gives each person and each program a token of its own, which can be revoked alone. A reader searches,
follows and logs into the page; a writer sends events; an admin may do everything. It needs the admin token, which is in
<data>/token on the server's machine.

The server keeps no token, only what it needs to recognise one. A write token that server and agents share before
the server runs is made by lookout new-token FILE, and taken from LOOKOUT_WRITE_TOKEN_FILE.`,
		Example: `  lookout token new ann
  lookout token new ci --role writer > ci.token
  lookout token revoke ann`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.tokenListCommand(), p.tokenNewCommand(), p.tokenRevokeCommand())
	return cmd
}

// tokenJSON is a token as the API lists it.
type tokenJSON struct {
	Name    string     `json:"name"`
	Role    string     `json:"role"`
	From    string     `json:"from"`
	Created *time.Time `json:"created,omitempty"`
	By      string     `json:"by,omitempty"`
	Used    *time.Time `json:"used,omitempty"`
}

func (p *program) tokenListCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens: role, who made it, when it was used last",
		Long:  `list shows each token's name, never the token. USED is to an hour; those of data folder and configuration have none.`,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fetch := func(ctx context.Context) ([]tokenJSON, error) { return fetchList[tokenJSON](ctx, p, "tokens") }
			return printList(cmd.Context(), p, &f, "", fetch, []string{"NAME", "ROLE", "FROM", "CREATED", "BY", "USED"}, func(one *tokenJSON) []cell {
				created, used := "", ""
				if one.Created != nil {
					created = one.Created.Local().Format("2006-01-02 15:04:05")
				}
				if one.Used != nil {
					used = ageText(p.now().Sub(*one.Used)) + " ago"
				}
				return []cell{{text: one.Name}, {text: one.Role}, {text: one.From}, {text: created}, {text: one.By}, {text: used}}
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (p *program) tokenNewCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Make a token, and print it: this once",
		Example: `  lookout token new ann | ssh ann@host 'umask 77; cat > token'
  lookout token new agent-7 --role writer`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch role {
			case "reader", "writer", "admin", "read", "write":
			default:
				return fmt.Errorf("--role: there is no role %q; use reader, writer or admin", role)
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			var made struct{ Name, Role, Token string }
			if err := c.Call(cmd.Context(), http.MethodPost, "/api/v1/tokens", url.Values{"name": {args[0]}, "role": {role}}, &made); err != nil {
				return p.explain(err)
			}
			if made.Token == "" {
				return fmt.Errorf("%s gave no token; is it a lookout server of a version that fits?", c.URL())
			}
			if _, err := fmt.Fprintln(p.inert(), made.Token); err != nil {
				return err
			}
			p.say("the token of %s, which may %s; it is shown this once", made.Name, may[made.Role])
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", "reader", "what it may do, a `role`: reader, writer, admin")
	complete(cmd, "role", "reader", "writer", "admin")
	return cmd
}

// may says what a role may do.
var may = map[string]string{"read": "search and follow", "write": "send events", "admin": "do everything"}

func (p *program) tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME...",
		Short: "Revoke tokens: at once, also for what still reads with them",
		Args:  cobra.MinimumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return p.completeTokens(cmd, word), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			for _, name := range args {
				var answer struct{ Revoked string }
				if err := c.Call(cmd.Context(), http.MethodDelete, "/api/v1/tokens/"+url.PathEscape(name), nil, &answer); err != nil {
					return fmt.Errorf("%s: %w", name, p.explain(err))
				}
				if _, err := fmt.Fprintf(p.stdout, "revoked %s\n", appendEscaped(nil, name)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// completeTokens completes the names of tokens that can be revoked.
func (p *program) completeTokens(cmd *cobra.Command, word string) (names []string) {
	ctx, cancel, c := p.ask(cmd)
	defer cancel()
	if c == nil {
		return nil
	}
	var answer struct{ Tokens []tokenJSON }
	_ = c.Call(ctx, http.MethodGet, "/api/v1/tokens", nil, &answer) // what came is offered, all else is silent
	for _, t := range answer.Tokens {
		if t.From == "server" && strings.HasPrefix(t.Name, word) {
			names = append(names, t.Name)
		}
	}
	return names
}
