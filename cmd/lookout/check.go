package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/config"
)

func (p *program) checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Read the configuration and say what is wrong with it",
		Long: `check reads what serve would read: the file (LOOKOUT_CONFIG, else lookout.yaml if it is there)
and the environment. It prints every problem with its place and the mend, and warnings.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if file != "" {
					return errors.New("name one file, by --config or as the argument")
				}
				file = args[0]
			}
			c, warnings, err := config.Load(file, p.env)
			for _, w := range warnings {
				p.say("warning: %s", w)
			}
			if err != nil {
				var all *config.Error
				if !errors.As(err, &all) {
					return err
				}
				for _, problem := range all.Problems {
					p.say("%s", problem)
				}
				return fmt.Errorf("the configuration has %s", counted(int64(len(all.Problems)), "problem"))
			}
			from := "defaults and environment"
			if c.File != "" {
				from = c.File
			}
			_, err = fmt.Fprintf(p.stdout, "ok: %s; %s, %s\n", from, counted(int64(len(c.Rules)), "rule"), counted(int64(len(c.Probes)), "probe"))
			return err
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the configuration's `file`")
	return cmd
}
