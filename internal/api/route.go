package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lookoutlog/lookout/internal/auth"
)

// route is one path, or all below one, or all that differ in one part ("{id}"), with the token it needs, the methods it takes, and its handler; the checks of these are part of
// the handler.
type route struct {
	pattern string
	role    auth.Role
	methods []string // nil for what is not built
	handler http.Handler
}

const public auth.Role = 0

// maxPath is the longest path, in bytes as they came.
const maxPath = 2048

// canonicalPath decodes a path once and refuses what another reader could take for something else.
func canonicalPath(u *url.URL) (string, error) {
	raw, path := u.EscapedPath(), u.Path
	why := ""
	switch lower := strings.ToLower(raw); {
	case len(raw) > maxPath:
		return "", &apiError{Status: http.StatusRequestURITooLong, Code: "bad_path", Message: fmt.Sprintf("the path is longer than %d bytes", maxPath), Mend: "use a path of the API"}
	case !strings.HasPrefix(path, "/"):
		why = "does not begin with a slash"
	case strings.Contains(path, "//"):
		why = "has two slashes in a row"
	case strings.Contains(lower, "%2f"), strings.Contains(path, `\`):
		why = "has a slash that is encoded or turned round"
	case strings.Contains(path, "%"):
		why = "is encoded twice"
	case !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		why = "has bytes that are no text"
	case slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool { return part == "." || part == ".." }):
		why = "has . or .. in it"
	}
	if why != "" {
		return "", &apiError{Status: http.StatusBadRequest, Code: "bad_path", Message: "the path " + why, Mend: "write the path as the API's reference has it"}
	}
	return path, nil
}

// find returns the route of a path that canonicalPath returned.
func (a *API) find(path string) *route {
	if rt := a.exact[path]; rt != nil {
		return rt
	}
	for _, rt := range a.templates {
		if rt.fits(path) {
			return rt
		}
	}
	for _, rt := range a.prefixes {
		if strings.HasPrefix(path, rt.pattern) {
			return rt
		}
	}
	return a.unknown
}

// anyPart stands in a pattern for one part of a path.
const anyPart = "{id}"

// fits tells whether a path is the pattern with something in the place of its {id}.
func (rt *route) fits(path string) bool {
	before, behind, _ := strings.Cut(rt.pattern, anyPart)
	part, ok := strings.CutPrefix(path, before)
	if !ok {
		return false
	}
	part, ok = strings.CutSuffix(part, behind)
	return ok && part != "" && !strings.Contains(part, "/")
}

// later are the names that are reserved for what is not built yet; one that ends with a slash has everything below it.
var later = []struct {
	path, what string
	role       auth.Role
}{
	{"/api/v1/patterns/", "one pattern (patterns lists them)", auth.Read},
	{"/api/v1/fields/", "one field (fields lists them, values?field=NAME its values)", auth.Read},
	{"/api/v1/rules/", "rules over HTTP", auth.Read},
	{"/loki/", "Loki's API", auth.Read},
	{"/elastic", "Elasticsearch's API", auth.Write},
	{"/elastic/", "Elasticsearch's API", auth.Write},
	{"/_bulk", "Elasticsearch's _bulk", auth.Write},
	{"/v1/logs", "OpenTelemetry's OTLP over HTTP", auth.Write},
	{"/services/collector", "Splunk's HTTP event collector", auth.Write},
	{"/services/collector/", "Splunk's HTTP event collector", auth.Write},
	{"/gelf", "GELF over HTTP", auth.Write},
	{"/upload", "systemd-journal-upload", auth.Write},
	{"/page", "the public status page", auth.Read},
	{"/page/", "the public status page", auth.Read},
}

// routes fills the tables. It is the one list of what the server answers.
func (a *API) routes() {
	a.exact = map[string]*route{}
	read := []string{http.MethodGet, http.MethodHead}
	get, post := []string{http.MethodGet}, []string{http.MethodPost}
	both := []string{http.MethodGet, http.MethodPost}
	a.add("/", public, nil, a.root(a.o.Auth.Middleware(auth.Read)(http.HandlerFunc(a.rootAPI))))
	if a.o.UI != nil {
		a.add("/assets/", public, read, a.o.UI.ServeHTTP)
	}
	a.add("/status", public, read, a.status)
	a.add("/healthz", public, read, a.healthz)
	a.add("/readyz", public, read, a.readyz)
	a.add("/metrics", auth.Read, read, promhttp.HandlerFor(a.o.Registry, promhttp.HandlerOpts{}).ServeHTTP)
	a.add("/api/v1/openapi.json", auth.Anyone, read, a.openapi)
	a.add("/api/v1/query", auth.Read, both, a.stored(a.query))
	a.add("/api/v1/stats", auth.Read, both, a.stored(a.stats))
	a.add("/api/v1/top", auth.Read, both, a.stored(a.top))
	a.add("/api/v1/export", auth.Read, both, a.stored(a.export))
	a.add("/api/v1/explain", auth.Read, both, a.stored(a.explain))
	a.add(tailPath, auth.Read, get, a.stored(a.tail))
	a.add("/api/v1/services", auth.Read, get, a.stored(a.services))
	a.add("/api/v1/patterns", auth.Read, both, a.stored(a.patterns))
	a.add("/api/v1/fields", auth.Read, both, a.stored(a.fields))
	a.add("/api/v1/values", auth.Read, both, a.stored(a.values))
	a.add("/api/v1/retention", auth.Read, get, a.stored(a.retention))
	a.add("/api/v1/catalog", auth.Read, get, a.stored(a.catalogStatus))
	a.add("/api/v1/catalog/rebuild", auth.Admin, post, a.stored(a.rebuildCatalog))
	a.add("/api/v1/check", auth.Read, both, a.check)
	a.add("/api/v1/context", auth.Read, get, a.stored(a.context))
	a.add("/api/v1/containers", auth.Read, get, list("containers", surely(a.o.Fleet.Containers)))
	a.add("/api/v1/probes", auth.Read, get, list("probes", surely(a.o.Fleet.Probes)))
	a.add("/api/v1/inputs", auth.Read, get, list("inputs", surely(a.o.Inputs)))
	a.add(alertsPath, auth.Read, get, list("alerts", a.o.Alerts))
	a.add(alertsPath+"/explain", auth.Read, get, a.stored(a.explainAlert))
	a.add(alertsPath+"/"+anyPart, auth.Read, get, a.alert)
	a.add(alertsPath+"/"+anyPart+"/ack", auth.Admin, post, a.acknowledge)
	a.add(alertsPath+"/"+anyPart+"/resolve", auth.Admin, post, a.resolve)
	a.add(silencesPath, auth.Read, both, a.silences)
	a.add(silencesPath+"/", auth.Read, []string{http.MethodGet, http.MethodDelete}, a.silence)
	a.add(marksPath, auth.Anyone, both, a.marks)
	a.add("/api/v1/notify/test", auth.Read, both, a.notifyTest)
	a.add("/api/v1/rules", auth.Read, get, list("rules", a.rules))
	a.add("/api/v1/rules/backtest", auth.Read, post, a.stored(a.backtest))
	a.add("/api/v1/rules/test", auth.Read, post, a.ruleTest)
	a.add(savedPath, auth.Read, get, a.stored(func(w http.ResponseWriter, r *http.Request) { list("saved", a.o.Saved.List)(w, r) }))
	a.add(savedPath+"/", auth.Read, []string{http.MethodGet, http.MethodPut, http.MethodDelete}, a.stored(a.savedSearch))
	a.add(deletesPath, auth.Admin, both, a.stored(a.deletes))
	a.add(deletesPath+"/", auth.Admin, []string{http.MethodGet, http.MethodDelete}, a.stored(a.deletion))
	a.add("/api/v1/backups", auth.Admin, post, a.stored(a.backups))
	a.add("/api/v1/verify", auth.Admin, post, a.stored(a.verify))
	a.add("/api/v1/login", public, post, a.login)
	a.add("/api/v1/logout", auth.Anyone, post, a.logout)
	a.add("/api/v1/me", auth.Anyone, get, a.me)
	a.add(tokensPath, auth.Admin, both, a.tokens)
	a.add(tokensPath+"/", auth.Admin, []string{http.MethodDelete}, a.token)
	a.add("/api/v1/login-codes", auth.Admin, post, a.loginCodes)
	if a.o.Events != nil {
		a.add("/api/v1/events", auth.Write, post, a.o.Events.ServeHTTP)
	} else {
		a.add("/api/v1/events", auth.Write, nil, notBuilt("taking events over HTTP in this server"))
	}
	if a.o.Alertmanager != nil {
		a.add(v2Path, auth.Anyone, nil, a.v2)
	} else {
		a.add(v2Path, auth.Write, nil, notBuilt("Alertmanager's API in this server"))
	}
	for _, l := range later {
		a.add(l.path, l.role, nil, notBuilt(l.what))
	}
	a.unknown = &route{pattern: "unknown", handler: a.o.Auth.Middleware(auth.Read)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &apiError{Status: http.StatusNotFound, Code: "not_found", Message: "there is nothing at this address",
			Mend: "the API is at /api/v1/, and /api/v1/openapi.json describes it"})
	}))}
}

// add mounts a route. Without methods it looks at them itself.
func (a *API) add(pattern string, role auth.Role, methods []string, h http.HandlerFunc) {
	if methods != nil {
		h = only(h, methods...)
	}
	rt := &route{pattern: pattern, role: role, methods: methods, handler: h}
	if role != public {
		rt.handler = a.o.Auth.Middleware(role)(h)
	}
	if strings.Contains(pattern, anyPart) {
		a.templates = append(a.templates, rt)
		return
	}
	if pattern != "/" && strings.HasSuffix(pattern, "/") {
		a.prefixes = append(a.prefixes, rt)
		return
	}
	a.exact[pattern] = rt
}

// only lets the methods through.
func only(h http.HandlerFunc, methods ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			writeError(w, &apiError{Status: http.StatusMethodNotAllowed, Code: "bad_method", Message: "this address does not take this method", Mend: "use " + strings.Join(methods, " or ")})
			return
		}
		h(w, r)
	}
}

// stored is for what reads the store, which an agent does not have.
func (a *API) stored(h http.HandlerFunc) http.HandlerFunc {
	if a.o.Store != nil {
		return h
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, errAgent)
	}
}

var errAgent = &apiError{Status: http.StatusNotImplemented, Code: "agent", Message: "this lookout is an agent: it forwards what it collects and keeps nothing", Mend: "ask its server"}

func notBuilt(what string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &apiError{Status: http.StatusNotImplemented, Code: "not_implemented", Message: what + " is not built yet",
			Mend: "send events to /api/v1/events or by GELF, search with /api/v1/query"})
	}
}

// root is where the page is, for everybody, and where CloudWatch's clients post.
func (a *API) root(others http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if a.o.UI != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			a.o.UI.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	}
}

func (a *API) rootAPI(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "lookout "+a.o.Version+"\n\nThis server has no page.\n\n    lookout grep QUERY     search\n    lookout tail           follow\n    lookout services       what sends\n")
	case r.Method == http.MethodPost && r.Header.Get("X-Amz-Target") != "":
		notBuilt("the API of CloudWatch Logs")(w, r)
	default:
		only(nil, http.MethodGet, http.MethodHead)(w, r)
	}
}

// status is for probes of other tools: up or down, nothing more.
func (a *API) status(w http.ResponseWriter, _ *http.Request) {
	if err := a.o.Ready(); err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "down", "message": err.Error(), "version": a.o.Version})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": a.o.Version})
}

// healthz says that the process answers.
func (a *API) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz says whether it can be used.
func (a *API) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := a.o.Ready(); err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "message": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // what can fail is the connection
}

// Routes lists the paths that the server answers, for tests that walk all of them; one that ends with a slash has everything
// below it, and {id} stands for any part.
func (a *API) Routes() []string {
	list := slices.Sorted(maps.Keys(a.exact))
	for _, rt := range slices.Concat(a.templates, a.prefixes) {
		list = append(list, rt.pattern)
	}
	return list
}
