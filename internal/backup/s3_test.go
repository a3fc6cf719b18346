package backup

import (
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// s3Server is as much of S3 as a Target needs. It checks what a real one does: the signature, its age, and the content's hash.
type s3Server struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	objects map[string][]byte
	fail    int // so many requests are answered 503
	rot     bool
}

const (
	fakeKey, fakeSecret = "AKIDEXAMPLE", "wJalr/secret+key"
	fakeRegion          = "eu-test-1"
)

func fakeS3(t *testing.T) *s3Server {
	s := &s3Server{t: t, objects: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *s3Server) target(t *testing.T) *s3 {
	to, err := Open("s3://bucket/some prefix/x", S3Options{Endpoint: s.URL, Region: fakeRegion, AccessKey: fakeKey, SecretKey: fakeSecret, HTTP: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	to.(*s3).wait = func(int) time.Duration { return 0 }
	return to.(*s3)
}

func (s *s3Server) refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>no</Message><AWSAccessKeyId>%s</AWSAccessKeyId></Error>", code, fakeKey)
}

func (s *s3Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it broke off
	}
	if s.fail > 0 {
		s.fail--
		s.refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return
	}
	hash := r.Header.Get("X-Amz-Content-Sha256")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 15*time.Minute {
		s.refuse(w, http.StatusForbidden, "RequestTimeTooSkewed")
		return
	}
	again, err := http.NewRequest(r.Method, s.URL+r.URL.RequestURI(), nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	again.ContentLength = r.ContentLength
	again.Header.Set("X-Amz-Content-Sha256", hash)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	keys := aws.Credentials{AccessKeyID: fakeKey, SecretAccessKey: fakeSecret}
	if err := signer.SignHTTP(r.Context(), keys, again, hash, "s3", fakeRegion, at); err != nil {
		s.t.Error(err)
	}
	if again.Header.Get("Authorization") != r.Header.Get("Authorization") {
		s.refuse(w, http.StatusForbidden, "SignatureDoesNotMatch")
		return
	}
	if s.rot && len(body) > 0 {
		body[0] ^= 1
	}
	if hash != hashOf(body) {
		s.refuse(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
		return
	}
	key, ok := strings.CutPrefix(r.URL.Path, "/bucket/")
	if !ok {
		s.refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	switch {
	case r.Method == http.MethodPut:
		s.objects[key] = body
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case key == "":
		s.list(w, r)
	case s.objects[key] == nil:
		s.refuse(w, http.StatusNotFound, "NoSuchKey")
	default:
		_, _ = w.Write(s.objects[key])
	}
}

// list answers two keys at a time.
func (s *s3Server) list(w http.ResponseWriter, r *http.Request) {
	type content struct {
		Key  string
		Size int
	}
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Contents              []content
		IsTruncated           bool
		NextContinuationToken string
	}
	q := r.URL.Query()
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(key, q.Get("prefix")) || key <= q.Get("continuation-token") {
			continue
		}
		if len(page.Contents) == 2 {
			page.IsTruncated, page.NextContinuationToken = true, page.Contents[1].Key
			break
		}
		page.Contents = append(page.Contents, content{key, len(s.objects[key])})
	}
	_ = xml.NewEncoder(w).Encode(page)
}

func TestS3(t *testing.T) {
	s := fakeS3(t)
	to := s.target(t)
	data := []byte("some content")
	put := func(to Target) error {
		return to.Put(t.Context(), "objects/x", int64(len(data)), sha256.Sum256(data), opener(data))
	}
	s.fail = s3Tries - 1 // a busy service is asked again
	if err := put(to); err != nil {
		t.Fatal(err)
	}
	if string(s.objects["some prefix/x/objects/x"]) != string(data) {
		t.Error(s.objects)
	}
	s.fail = s3Tries
	if err := put(to); err == nil || !strings.Contains(err.Error(), "SlowDown") {
		t.Error(err)
	}
	s.fail, s.rot = 0, true // what arrives damaged is not stored
	if err := put(to); err == nil || !strings.Contains(err.Error(), "XAmzContentSHA256Mismatch") {
		t.Error(err)
	}
	s.rot = false
	if _, err := to.Get(t.Context(), "objects/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := to.Delete(t.Context(), "objects/none"); err != nil {
		t.Error(err)
	}
	if err := to.Put(t.Context(), "objects/big", maxObject+1, [32]byte{}, opener(nil)); err == nil || !strings.Contains(err.Error(), "5 GiB") {
		t.Error(err)
	}
	for i := range 7 {
		if err := to.Put(t.Context(), fmt.Sprint("objects/", i), int64(len(data)), sha256.Sum256(data), opener(data)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := to.List(t.Context(), objectDir)
	if err != nil || len(list) != 8 || list[0] != (Object{"objects/0", int64(len(data))}) || list[7].Name != "objects/x" {
		t.Error(list, err)
	}

	// Wrong keys, and no error has one.
	wrong, err := Open("s3://bucket/x", S3Options{Endpoint: s.URL, Region: fakeRegion, AccessKey: fakeKey, SecretKey: "another secret"})
	if err != nil {
		t.Fatal(err)
	}
	if err := put(wrong); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") || strings.Contains(err.Error(), "another secret") || strings.Contains(err.Error(), fakeKey) {
		t.Error(err)
	}
	gone := *to
	gone.base.Path = "/other/"
	if _, err := gone.List(t.Context(), objectDir); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Error(err)
	}
	s.Close()
	if err := put(to); err == nil || strings.Contains(err.Error(), fakeSecret) {
		t.Error(err)
	}
}

func TestS3FromEnv(t *testing.T) {
	env := map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session", "AWS_DEFAULT_REGION": "eu", "AWS_ENDPOINT_URL": "http://x"}
	getenv := func(name string) string { return env[name] }
	if got, want := (S3Options{}).S3FromEnv(getenv), (S3Options{Endpoint: "http://x", Region: "eu", AccessKey: "id", SecretKey: "secret", SessionToken: "session"}); got != want {
		t.Errorf("%+v", got)
	}
	set := S3Options{Endpoint: "http://y", Region: "us", AccessKey: "a", SecretKey: "b"}
	if got := set.S3FromEnv(getenv); got != set {
		t.Errorf("%+v", got)
	}
}

// TestS3RoundTrip backs up, checks, restores and prunes: on the server here, or with LOOKOUT_TEST_S3=s3://BUCKET/PREFIX on
// one that is there, which AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY name.
func TestS3RoundTrip(t *testing.T) {
	var to Target = fakeS3(t).target(t)
	if address := os.Getenv("LOOKOUT_TEST_S3"); address != "" {
		var err error
		if to, err = Open(address, S3Options{}.S3FromEnv(os.Getenv)); err != nil {
			t.Fatal(err)
		}
	}
	c := contents{"state.db": random(1, 70_000), "store/segments/a.seg": random(2, 30<<20), "store/empty": {}}
	sum, err := Run(t.Context(), to, Options{Files: c.files(time.Time{}), Sequence: 7})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Run(t.Context(), to, Options{Files: c.files(time.Time{}), Sequence: 7, Now: func() time.Time { return time.Now().Add(time.Minute) }})
	if err != nil || again.SentFiles != 0 {
		t.Fatalf("%+v, %v", again, err)
	}
	if found, err := Check(t.Context(), to, "", nil); err != nil || len(found.Damage) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	dir := t.TempDir()
	if _, err := Restore(t.Context(), to, sum.ID, dir, nil); err != nil || !equal(tree(t, dir), c) {
		t.Error(err)
	}
	if p, err := Prune(t.Context(), to, 1, time.Now()); err != nil {
		t.Errorf("%+v, %v", p, err)
	}
}
