package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// S3Options say how to reach S3-compatible storage.
type S3Options struct {
	// Endpoint is the address of another service than Amazon's, such as https://minio.example:9000; buckets are then in the path.
	Endpoint string
	Region   string // us-east-1 unless set
	// The keys. SessionToken goes with temporary ones.
	AccessKey, SecretKey, SessionToken string
	// HTTP is the client, for tests.
	HTTP *http.Client
}

// S3FromEnv fills what is empty from the variables that Amazon's tools read.
func (o S3Options) S3FromEnv(getenv func(name string) string) S3Options {
	set := func(p *string, names ...string) {
		for _, name := range names {
			if *p == "" {
				*p = getenv(name)
			}
		}
	}
	set(&o.Endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	set(&o.Region, "AWS_REGION", "AWS_DEFAULT_REGION")
	if o.AccessKey == "" { // a session's token belongs to its keys
		set(&o.AccessKey, "AWS_ACCESS_KEY_ID")
		set(&o.SecretKey, "AWS_SECRET_ACCESS_KEY")
		set(&o.SessionToken, "AWS_SESSION_TOKEN")
	}
	return o
}

const (
	// maxObject is the most that S3 takes in one request.
	maxObject = 5 << 30
	s3Tries   = 5
	// s3Idle is how long S3 may take to begin its answer.
	s3Idle = time.Minute
)

// s3 is a [Target] in S3-compatible storage. Uploads are one request each, signed over the content's hash, which the service compares with
// what came: it stores what is right, or nothing.
type s3 struct {
	base   url.URL // of the bucket
	bucket string
	prefix string // "" or ends with a slash
	region string
	keys   aws.Credentials
	http   *http.Client
	signer *v4.Signer
	// wait is the pause before try n, from 1; tests make none.
	wait func(n int) time.Duration
}

func openS3(place string, o S3Options) (Target, error) {
	bucket, prefix, _ := strings.Cut(place, "/")
	if bucket == "" || strings.ContainsAny(bucket, "?#@:") {
		return nil, fmt.Errorf("s3://%s names no bucket; write s3://BUCKET/PREFIX", place)
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		return nil, errors.New("s3: there are no keys; set backup.s3_access_key and backup.s3_secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, where this runs: at the server for `lookout backup`")
	}
	t := &s3{
		bucket: bucket, region: o.Region, http: o.HTTP,
		keys: aws.Credentials{AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey, SessionToken: o.SessionToken},
		// S3 signs paths as they are sent.
		signer: v4.NewSigner(func(s *v4.SignerOptions) { s.DisableURIPathEscaping = true }),
		wait:   func(n int) time.Duration { return 200 * time.Millisecond << n },
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		t.prefix = prefix + "/"
	}
	if t.region == "" {
		t.region = "us-east-1"
	}
	if o.Endpoint == "" {
		t.base = url.URL{Scheme: "https", Host: bucket + ".s3." + t.region + ".amazonaws.com", Path: "/"}
	} else {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, errors.New("s3: the endpoint is not an address; write it like https://minio.example:9000")
		}
		t.base = url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/") + "/" + bucket + "/"}
	}
	if t.http == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.ResponseHeaderTimeout = s3Idle
		// A signature is for one address.
		t.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return t, nil
}

func (t *s3) String() string { return "s3://" + t.bucket + "/" + strings.TrimSuffix(t.prefix, "/") }

// emptyHash is the SHA-256 of nothing.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// s3Error is what the service answered.
type s3Error struct {
	status  int
	Code    string
	Message string
}

func (e *s3Error) Error() string {
	switch {
	case e.Code == "" && e.Message == "":
		return fmt.Sprintf("the storage answered %d %s", e.status, http.StatusText(e.status))
	case e.status == http.StatusForbidden:
		return fmt.Sprintf("the storage refuses it (%s: %s): are the keys and the region right, and may they use the bucket", e.Code, e.Message)
	}
	return fmt.Sprintf("the storage answered %d (%s: %s)", e.status, e.Code, e.Message)
}

// Is makes what is missing an fs.ErrNotExist.
func (e *s3Error) Is(target error) bool {
	return target == fs.ErrNotExist && e.status == http.StatusNotFound && e.Code != "NoSuchBucket"
}

// do makes a request, again when the service or the way to it fails.
func (t *s3) do(ctx context.Context, method, name string, query url.Values, size int64, hash string, open func() (io.ReadCloser, error)) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := t.once(ctx, method, name, query, size, hash, open)
		var answered *s3Error
		if err == nil || ctx.Err() != nil || try == s3Tries || errors.As(err, &answered) && answered.status < 500 && answered.status != http.StatusTooManyRequests {
			return resp, err
		}
		var local *localError
		if errors.As(err, &local) {
			return nil, local.error
		}
		select {
		case <-time.After(t.wait(try)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// localError is one of reading what is to be sent: no other try helps.
type localError struct{ error }

func (t *s3) once(ctx context.Context, method, name string, query url.Values, size int64, hash string, open func() (io.ReadCloser, error)) (*http.Response, error) {
	u := t.base
	if name != "" {
		u.Path += t.prefix + name
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	var body io.ReadCloser
	if open != nil {
		var err error
		if body, err = open(); err != nil {
			return nil, &localError{err}
		}
		defer body.Close()
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, &localError{err}
	}
	if body != nil && size > 0 {
		req.Body, req.ContentLength = io.NopCloser(body), size
	}
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if err := t.signer.SignHTTP(ctx, t.keys, req, hash, "s3", t.region, time.Now()); err != nil {
		return nil, &localError{err}
	}
	resp, err := t.http.Do(req)
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err // without the address, which the caller names
		}
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &s3Error{status: resp.StatusCode}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = xml.Unmarshal(data, e) // the status says enough
	return nil, e
}

func (t *s3) call(ctx context.Context, method, name string, size int64, hash string, open func() (io.ReadCloser, error)) error {
	resp, err := t.do(ctx, method, name, nil, size, hash, open)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return errors.Join(err, resp.Body.Close())
}

// Put is [Target]'s.
func (t *s3) Put(ctx context.Context, name string, size int64, sum [sha256.Size]byte, open func() (io.ReadCloser, error)) error {
	if size > maxObject {
		return fmt.Errorf("%d bytes are more than S3 takes at once (5 GiB); back up to a folder", size)
	}
	return t.call(ctx, http.MethodPut, name, size, hex.EncodeToString(sum[:]), open)
}

// Get is [Target]'s.
func (t *s3) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	resp, err := t.do(ctx, http.MethodGet, name, nil, 0, emptyHash, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Delete is [Target]'s.
func (t *s3) Delete(ctx context.Context, name string) error {
	err := t.call(ctx, http.MethodDelete, name, 0, emptyHash, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List is [Target]'s.
func (t *s3) List(ctx context.Context, dir string) ([]Object, error) {
	var list []Object
	query := url.Values{"list-type": {"2"}, "prefix": {t.prefix + dir}}
	for {
		resp, err := t.do(ctx, http.MethodGet, "", query, 0, emptyHash, nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Contents []struct {
				Key  string
				Size int64
			}
			IsTruncated           bool
			NextContinuationToken string
		}
		err = xml.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("the storage's list cannot be read: %w", err)
		}
		for _, c := range page.Contents {
			if name, ok := strings.CutPrefix(c.Key, t.prefix); ok && strings.HasPrefix(name, dir) {
				list = append(list, Object{name, c.Size})
			}
		}
		if !page.IsTruncated || page.NextContinuationToken == "" {
			return list, nil
		}
		query.Set("continuation-token", page.NextContinuationToken)
	}
}
