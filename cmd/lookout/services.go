package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/sdk"
)

// match returns the services that each glob names. A glob that names none is an error with the nearest name.
func matchServices(all []sdk.Service, globs []string) ([]sdk.Service, error) {
	return servicesOf(all, globs, true)
}

// servicesOf is matchServices, for which a glob may name none unless it was typed: what is saved is of services that may send some day.
func servicesOf(all []sdk.Service, globs []string, typed bool) ([]sdk.Service, error) {
	if len(globs) == 0 {
		return all, nil
	}
	var found []sdk.Service
	taken := map[string]bool{}
	for _, glob := range globs {
		text, err := query.FromGrep(query.GrepOptions{Services: []string{glob}})
		if err != nil {
			return nil, err
		}
		q, err := query.Parse(text)
		if err != nil {
			return nil, err
		}
		any := false
		for _, s := range all {
			if q.Match(&event.Event{Service: []byte(s.Name)}) {
				any = true
				if !taken[s.Name] {
					taken[s.Name] = true
					found = append(found, s)
				}
			}
		}
		if !any && typed {
			return nil, noService(glob, all)
		}
	}
	return found, nil
}

// noService words that no service is called name.
func noService(name string, all []sdk.Service) error {
	if len(all) == 0 {
		return fmt.Errorf("no service %q: nothing has been received yet", name)
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("no service %q; did you mean %s?", name, near)
	}
	return fmt.Errorf("no service %q; `lookout services` lists them", name)
}

// nearest returns the name that was probably meant, empty when none is near: the one with the fewest slips, or one that
// contains what was typed.
func nearest(typed string, names []string) string {
	lower := strings.ToLower(strings.Trim(typed, "*?"))
	best, least := "", 1+max(1, min(len(lower), 12)/3)
	for _, name := range names {
		if d := distance(lower, strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	if best != "" || len(lower) < 3 {
		return best
	}
	for _, name := range names {
		if strings.Contains(strings.ToLower(name), lower) {
			return name
		}
	}
	return ""
}

// distance counts the slips between two names: a letter too many, too few, another one, or two swapped.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// completeServices completes names of services by asking the server, quietly and not for long.
func (p *program) completeServices(cmd *cobra.Command, toComplete string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel, c := p.ask(cmd)
	defer cancel()
	if c == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	services, err := c.Services(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range services {
		plain := string(appendEscaped(nil, s.Name)) == s.Name && !strings.ContainsAny(s.Name, " \t\n")
		if plain && strings.HasPrefix(s.Name, toComplete) {
			names = append(names, s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) servicesCommand() *cobra.Command {
	var f listFlags
	var tz string
	var utc bool
	cmd := &cobra.Command{
		Use:   "services [GLOB...]",
		Short: "List the services: hosts, events, bytes, last seen, levels",
		Example: `  lookout services
  lookout services 'pay*'
  lookout services -o json`,
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return p.completeServices(cmd, word)
		},
		RunE: func(cmd *cobra.Command, globs []string) error {
			color, err := f.check(p)
			if err != nil {
				return err
			}
			zone, err := parseZone(tz, utc)
			if err != nil {
				return err
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			all, err := c.Services(cmd.Context())
			if err != nil {
				return p.explain(err)
			}
			services, err := matchServices(all, globs)
			if err != nil {
				return err
			}
			slices.SortFunc(services, func(a, b sdk.Service) int { return strings.Compare(a.Name, b.Name) })
			if len(services) == 0 {
				p.say("nothing has been received yet")
				return errNoMatch
			}
			if f.form == formJSON {
				return p.printServicesJSON(services)
			}
			_, err = p.stdout.Write(p.servicesTable(color, services, zone).bytes())
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&tz, "tz", "", "time `zone` for printing times, such as Europe/Berlin")
	cmd.Flags().BoolVar(&utc, "utc", false, "the same as --tz UTC")
	return cmd
}

func (p *program) printServicesJSON(services []sdk.Service) error {
	type line struct {
		Name      string           `json:"name"`
		Hosts     []string         `json:"hosts"`
		Events    int64            `json:"events"`
		Bytes     int64            `json:"bytes"`
		FirstSeen time.Time        `json:"first_seen"`
		LastSeen  time.Time        `json:"last_seen"`
		Levels    map[string]int64 `json:"levels"`
	}
	return p.printJSON(len(services), func(i int) any { return line(services[i]) })
}

func (p *program) servicesTable(color bool, services []sdk.Service, zone *time.Location) *table {
	t := p.newTable(color, "SERVICE", "HOSTS", "EVENTS", "BYTES", "LAST SEEN", "LEVELS")
	for _, s := range services {
		hosts := strings.Join(s.Hosts, ",")
		if n := len(s.Hosts); n > 3 {
			hosts = fmt.Sprintf("%s,… (%d)", strings.Join(s.Hosts[:3], ","), n)
		}
		t.add(cell{s.Name, serviceColor(s.Name)}, cell{text: hosts}, cell{text: grouped(s.Events)}, cell{text: bytesText(s.Bytes)},
			cell{s.LastSeen.In(zone).Format("2006-01-02 15:04:05"), colorTime}, cell{text: levelsText(s)})
	}
	return t
}

// levelsText is the mix of levels, worst first.
func levelsText(s sdk.Service) string {
	var parts []string
	for l := event.Emergency; l <= event.Debug; l++ {
		if n := s.Levels[l.String()]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", shortLevel(l.String()), grouped(n)))
		}
	}
	return strings.Join(parts, ", ")
}

// grouped writes a number with commas.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytesText writes a size with three digits or so.
func bytesText(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	units := []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	for f /= 1000; f >= 999.5; f /= 1000 {
		units = units[1:]
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %s", f, units[0])
	}
	return fmt.Sprintf("%.0f %s", f, units[0])
}

// counted writes a number and a word in the right number: 1 event, 2 events.
func counted(n int64, word string) string {
	if n != 1 {
		switch {
		case strings.HasSuffix(word, "ch"):
			word += "e"
		}
		word += "s"
	}
	return grouped(n) + " " + word
}
