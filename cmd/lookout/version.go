package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set when a release is built: -ldflags "-X main.version=1.2.3".
var version string

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info, _ := debug.ReadBuildInfo()
			_, err := fmt.Fprintln(p.stdout, versionText(version, info))
			return err
		},
	}
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
