// Package sdk is the Go client of a lookout server: it sends events, searches them and follows them as they arrive.
//
// # Use
//
//	c, err := sdk.New(sdk.Options{URL: "http://logs:7171", Token: token})
//	rows, err := c.Query(ctx, sdk.QueryRequest{Query: `level>=error service:pay*`, Since: time.Now().Add(-time.Hour)})
//	for row, err := range rows.All() {
//		…
//	}
//
// A search that is to go on live takes the sequence of its summary and follows behind it; together they miss nothing and
// repeat nothing:
//
//	for row, err := range c.Tail(ctx, sdk.TailRequest{Query: q, After: new(rows.Summary().Sequence)}) {
//		…
//	}
//
// # What it guarantees
//
// An answer is never silently short: one that breaks off, that the server ends with an error, or that the server says is
// incomplete (then a [*IncompleteError], behind the rows there are) ends with an error. A request that the server turned
// away for load (429, 503) is repeated after the time it asked for. Events are sent again after a lost answer only when a
// [SendOptions.Producer] counts them, so that the server can drop what it has. [Client.Tail] goes on after a lost
// connection behind the last event it saw.
//
// A Client is safe for concurrent use. The package needs nothing but the standard library.
package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultURL is where a server listens when nothing was configured.
const DefaultURL = "http://localhost:7171"

// Options configure a [Client].
type Options struct {
	// URL is the server's address, http or https, a path before /api included; empty for [DefaultURL].
	URL string
	// Token is sent as a bearer token; everything but the server's health needs one.
	Token string
	// HTTP makes the requests; nil for a client of its own. Its Timeout would cut long answers and must be 0: the
	// contexts bound the requests.
	HTTP *http.Client
	// Patience is how long a call goes on repeating a request that the server turns away for load (429, 503) or, where
	// repeating is harmless, that got no answer; 0 for a minute, negative for never.
	Patience time.Duration
}

// Client talks to one server.
type Client struct {
	base     string
	token    string
	http     *http.Client
	patience time.Duration
	local    bool // the server is on this machine
}

// New returns a client. It connects to nothing yet; the error is about o.URL.
func New(o Options) (*Client, error) {
	base := o.URL
	if base == "" {
		base = DefaultURL
	}
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%q is not a server's address; write it like %s", base, DefaultURL)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not a server's address: nothing may follow the path", base)
	}
	c := &Client{base: strings.TrimRight(base, "/"), token: o.Token, http: o.HTTP, patience: o.Patience}
	if c.http == nil {
		c.http = &http.Client{}
	}
	ip := net.ParseIP(u.Hostname())
	c.local = u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if c.patience == 0 {
		c.patience = time.Minute
	}
	return c, nil
}

// URL returns the server's address.
func (c *Client) URL() string { return c.base }

// request is one HTTP request, so described that it can be made again.
type request struct {
	method, path string
	params       url.Values // of the address, or of the body of a POST without one
	body         []byte
	header       http.Header
	// again tells that the request may be repeated when it is not known whether the server took it.
	again bool
	// whole reads the answer's body to its end before it counts as an answer.
	whole bool
}

// get makes a request whose answer is one JSON value.
func (c *Client) get(ctx context.Context, r request, to any) error {
	r.whole = true
	resp, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(to); err != nil {
		return c.notOurs("an answer that is not the API's")
	}
	return nil
}

// do makes the request, again and again while the server is under pressure and patience lasts. A response it returns has
// status 200; the caller closes its body.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	var waited time.Duration
	for try := 0; ; try++ {
		resp, err := c.once(ctx, r)
		if err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		wait, ok := retryWait(err, try, r.again)
		if !ok || waited+wait > c.patience {
			return nil, err
		}
		waited += wait
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// retryWait says whether a request that failed with err may be repeated, and when. again is true when repeating is
// harmless even if the server took the request.
func retryWait(err error, try int, again bool) (time.Duration, bool) {
	var e *Error
	if !errors.As(err, &e) {
		return 0, false
	}
	switch {
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusServiceUnavailable:
	case again && (e.Code == CodeNoAnswer || e.Status == http.StatusBadGateway || e.Status == http.StatusGatewayTimeout):
	default:
		return 0, false
	}
	if e.RetryAfter > 0 {
		return e.RetryAfter, true
	}
	return backoff(try), true
}

// backoff doubles from 200 ms to 10 s.
func backoff(try int) time.Duration {
	return min(200*time.Millisecond<<min(try, 10), 10*time.Second)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (c *Client) once(ctx context.Context, r request) (*http.Response, error) {
	address := c.base + r.path
	var body io.Reader
	form := r.method == http.MethodPost && r.body == nil
	switch {
	case form:
		body = strings.NewReader(r.params.Encode())
	case r.body != nil:
		body = bytes.NewReader(r.body)
	}
	if !form && len(r.params) > 0 {
		address += "?" + r.params.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, body)
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if form {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.local && req.Header.Get("Accept-Encoding") == "" {
		// net/http asks for gzip by itself and takes it off again: over a network it pays, on one machine it is work for nothing.
		req.Header.Set("Accept-Encoding", "identity")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, c.answerError(resp)
	}
	if r.whole {
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, c.transportError(err)
		}
		resp.Body = io.NopCloser(bytes.NewReader(answer))
	}
	return resp, nil
}

// Service is what a server knows of one service.
type Service struct {
	Name      string
	Hosts     []string
	Events    int64
	Bytes     int64
	FirstSeen time.Time // of the events' times
	LastSeen  time.Time
	Levels    map[string]int64 // events by level's name; those without a level are not counted
}

// Services returns the services the server has seen, in the server's order.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	var answer struct {
		Services *[]struct {
			Name      string           `json:"name"`
			Hosts     []string         `json:"hosts"`
			Events    int64            `json:"events"`
			Bytes     int64            `json:"bytes"`
			FirstSeen time.Time        `json:"first_seen"`
			LastSeen  time.Time        `json:"last_seen"`
			Levels    map[string]int64 `json:"levels"`
		} `json:"services"`
	}
	if err := c.get(ctx, request{method: http.MethodGet, path: "/api/v1/services"}, &answer); err != nil {
		return nil, err
	}
	if answer.Services == nil {
		return nil, c.notOurs("an answer without services")
	}
	list := make([]Service, 0, len(*answer.Services))
	for _, s := range *answer.Services {
		list = append(list, Service(s))
	}
	return list, nil
}

// Call makes a request of the API that has no method of its own here, such as GET /api/v1/containers, and decodes its
// answer, one JSON value, into to. The parameters of a POST are its body.
func (c *Client) Call(ctx context.Context, method, path string, params url.Values, to any) error {
	return c.get(ctx, request{method: method, path: path, params: params, again: method == http.MethodGet}, to)
}

// parseRetryAfter reads a Retry-After header: seconds, or a date.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(value); err == nil && n > 0 {
		return min(time.Duration(n), 3600) * time.Second
	}
	if t, err := http.ParseTime(value); err == nil {
		return min(max(t.Sub(now), 0), time.Hour)
	}
	return 0
}
