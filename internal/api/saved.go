package api

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/saved"
)

// Searches keeps searches with a name; a *saved.Store does.
type Searches interface {
	List() ([]saved.Search, error)
	// Get and Remove return nil for a name that there is not.
	Get(name string) (*saved.Search, error)
	Put(s saved.Search) error
	Remove(name string) (*saved.Search, error)
}

const savedPath = "/api/v1/saved"

var savedName = regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9][A-Za-z0-9._-]{0,%d}$`, saved.MaxName-1))

// savedSearch shows the search of a name, saves it, or removes it: GET, PUT and DELETE /api/v1/saved/NAME. Reading needs the token that
// searches need; changing what others search by, the admin's.
func (a *API) savedSearch(w http.ResponseWriter, r *http.Request) {
	s, err := a.editSaved(w, r, strings.TrimPrefix(r.URL.Path, savedPath+"/"))
	switch {
	case errors.Is(err, saved.ErrFull):
		err = &apiError{Status: http.StatusConflict, Code: "full", Message: err.Error(), Mend: "remove one"}
	case err == nil && s == nil:
		err = &apiError{Status: http.StatusNotFound, Code: "not_found", Message: "there is no saved search of this name", Mend: "GET " + savedPath + " lists them"}
	}
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s)
}

func (a *API) editSaved(w http.ResponseWriter, r *http.Request, name string) (*saved.Search, error) {
	if r.Method != http.MethodGet && !auth.From(r.Context()).May(auth.Admin) {
		return nil, auth.ErrRole
	}
	if r.Method == http.MethodPut {
		s, err := readSaved(w, r, name, a.o.Clock())
		if err != nil {
			return nil, err
		}
		return s, a.o.Saved.Put(*s)
	}
	if _, err := readParams(w, r); err != nil {
		return nil, err
	}
	if r.Method == http.MethodDelete {
		return a.o.Saved.Remove(name)
	}
	return a.o.Saved.Get(name)
}

func readSaved(w http.ResponseWriter, r *http.Request, name string, now time.Time) (*saved.Search, error) {
	p, err := readParams(w, r, "q", "since", "until", "services", "description")
	if err != nil {
		return nil, err
	}
	for _, bound := range []struct {
		name string
		most int
	}{{"q", saved.MaxQuery}, {"since", saved.MaxTime}, {"until", saved.MaxTime}, {"description", saved.MaxDescription}} {
		if len(p[bound.name]) > bound.most {
			return nil, badParameter(bound.name, "is too long", fmt.Sprintf("the most is %d bytes", bound.most))
		}
	}
	s := &saved.Search{Name: name, Query: p["q"], Since: p["since"], Until: p["until"], Description: p["description"], By: auth.From(r.Context()).Name, Changed: now.UTC()}
	if p["services"] != "" {
		s.Services = strings.Split(p["services"], ",")
	}
	for _, check := range []func() error{
		func() error {
			if !savedName.MatchString(name) {
				return badParameter("name", "is no name", fmt.Sprintf("use up to %d letters, digits, dots, - and _, a letter or a digit first", saved.MaxName))
			}
			return nil
		},
		func() error { _, err := query.Parse(s.Query); return err },
		func() error { _, _, err := p.timeRange(now); return err },
		func() error {
			if len(s.Services) > saved.MaxServices {
				return badParameter("services", "are too many", fmt.Sprintf("the most is %d", saved.MaxServices))
			}
			for _, name := range s.Services {
				if _, err := query.ServiceGlob(name); err != nil || name == "" || len(name) > saved.MaxService {
					return badParameter("services", "has a name that is none", "write the names of services, with * and ? for any characters, separated by commas")
				}
			}
			return nil
		},
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return s, nil
}
