package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/app"
)

// version is set when a release is built: -ldflags "-X main.version=1.2.3".
var version string

func (p *program) versionCommand() *cobra.Command {
	var formats bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `version prints one line; with --formats also every kind of file that lookout keeps, the version it writes and those it
reads. A file of a later version is refused, and nothing is changed: start the lookout that wrote it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info, _ := debug.ReadBuildInfo()
			out := append([]byte(versionText(version, info)), '\n')
			if formats {
				t := p.newTable(false, "FORMAT", "FILE", "WRITES", "READS", "NOTE")
				for _, f := range append(app.Formats(), app.Format{Name: "export", File: "<folder>/" + exportState, Writes: exportVersion, Oldest: exportVersion}) {
					reads := fmt.Sprint(f.Oldest)
					if f.Oldest != f.Writes {
						reads = fmt.Sprintf("%d to %d", f.Oldest, f.Writes)
					}
					t.add(cell{text: f.Name}, cell{text: f.File}, cell{text: fmt.Sprint(f.Writes)}, cell{text: reads}, cell{text: f.Note})
				}
				out = append(out, t.bytes()...)
			}
			_, err := p.stdout.Write(out)
			return err
		},
	}
	cmd.Flags().BoolVar(&formats, "formats", false, "also the formats of files")
	return cmd
}

// versionText is one line: version, commit, Go, system.
func versionText(version string, info *debug.BuildInfo) string {
	revision, modified := "", ""
	if info != nil {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = " (" + s.Value[:min(len(s.Value), 12)]
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = ", changed"
			}
		}
	}
	if revision != "" {
		revision += modified + ")"
	}
	return fmt.Sprintf("lookout %s%s %s %s/%s", release(version, info), revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// release is the version alone.
func release(version string, info *debug.BuildInfo) string {
	switch {
	case version != "":
		return version
	case info != nil && info.Main.Version != "":
		return info.Main.Version
	}
	return "(devel)"
}
