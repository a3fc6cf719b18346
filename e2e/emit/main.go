// Command emit is the program in the containers of the Docker tests: it writes lines, fails, and answers, as it is told.
// It is built without cgo and is all there is in its image.
//
//	emit awkward -run ID           the awkward lines, once
//	emit count -run ID -n N        N numbered lines (0: without end), -rate a second (0: as fast as it goes), -size bytes each,
//	                               -at the unix time to begin at
//	emit long -run ID -n BYTES     one line of so many bytes
//	emit trace -run ID             a Java stack trace between two lines, line by line
//	emit crash -n CODE             a line, then exit CODE
//	emit oom                       uses memory until it is killed
//	emit sleep                     waits for a signal
//	emit http                      GET /status on :8080 is 200, and 503 while /sick exists
//	emit sick | well | health      makes /sick; removes it; exits 1 while it exists (a health check)
//
// SIGTERM ends count, sleep and http with exit code 0. Each line of count is "RUN bBOOT N"; the boot is counted in the file
// /boots, which a container keeps over its restarts. The last line of a boot is "RUN bBOOT end N".
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lookoutlog/lookout/e2e/emit/awkward"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "emit: no mode; see its package doc")
		os.Exit(2)
	}
	flags := flag.NewFlagSet("emit", flag.ExitOnError)
	run := flags.String("run", "run", "what the lines are told apart by")
	n := flags.Int("n", 0, "so many")
	rate := flags.Int("rate", 0, "lines a second")
	size := flags.Int("size", 0, "bytes a line")
	at := flags.Int64("at", 0, "unix time to begin at")
	if err := flags.Parse(os.Args[2:]); err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if *at > 0 {
		wait(ctx, time.Until(time.Unix(*at, 0)))
	}
	code, err := emit(ctx, os.Args[1], *run, *n, *rate, *size)
	if err != nil {
		fmt.Fprintln(os.Stderr, "emit:", err)
		os.Exit(2)
	}
	os.Exit(code)
}

func emit(ctx context.Context, mode, run string, n, rate, size int) (code int, err error) {
	switch mode {
	case "awkward":
		return 0, writeAwkward(run)
	case "count":
		return 0, count(ctx, run, n, rate, size)
	case "long":
		line := run + strings.Repeat(" 0123456789abcde", n/16+1)
		_, err := io.WriteString(os.Stdout, line[:n]+"\n")
		return 0, err
	case "trace":
		return 0, trace(run)
	case "crash":
		fmt.Printf("%s about to exit with %d\n", run, n)
		return n, nil
	case "oom":
		fmt.Println(run, "using memory")
		oom()
	case "sleep":
		fmt.Println(run, "waiting")
		<-ctx.Done()
	case "http":
		return 0, serve(ctx)
	case "sick":
		return 0, os.WriteFile("/sick", nil, 0o644)
	case "well":
		return 0, os.Remove("/sick")
	case "health":
		if sick() {
			fmt.Println("feeling sick")
			return 1, nil
		}
	default:
		return 2, fmt.Errorf("no mode %q", mode)
	}
	return 0, nil
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// writeAwkward writes each line with a write of its own, but those that belong together.
func writeAwkward(run string) error {
	var together string
	for _, l := range awkward.Lines(run) {
		to := os.Stdout
		if l.Stderr {
			to = os.Stderr
		}
		together += l.Text
		if !l.Open {
			together += "\n"
		}
		if l.Joined {
			continue
		}
		if _, err := io.WriteString(to, together); err != nil {
			return err
		}
		together = ""
	}
	return nil
}

func count(ctx context.Context, run string, n, rate, size int) error {
	boot := 1
	if b, err := os.ReadFile("/boots"); err == nil {
		last, err := strconv.Atoi(string(b))
		if err != nil {
			return err
		}
		boot = last + 1
	}
	if err := os.WriteFile("/boots", []byte(strconv.Itoa(boot)), 0o644); err != nil {
		return err
	}
	pad := strings.Repeat("x", size)
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	begin := time.Now()
	i := 0
	for ; (n == 0 || i < n) && ctx.Err() == nil; i++ {
		if rate > 0 {
			if err := out.Flush(); err != nil {
				return err
			}
			wait(ctx, time.Until(begin.Add(time.Duration(i)*time.Second/time.Duration(rate))))
		}
		line := fmt.Sprintf("%s b%d %d ", run, boot, i+1)
		if len(line) < size {
			line += pad[len(line):]
		}
		if _, err := fmt.Fprintln(out, strings.TrimSpace(line)); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s b%d end %d\n", run, boot, i)
	return out.Flush()
}

func trace(run string) error {
	for _, l := range []string{
		"INFO " + run + " serving",
		"ERROR " + run + " the payment failed",
		"java.lang.IllegalStateException: " + run + " no such cart",
		"\tat shop.Cart.pay(Cart.java:42)",
		"\tat shop.Main.main(Main.java:7)",
		"Caused by: java.io.IOException: connection reset",
		"\tat shop.Net.read(Net.java:11)",
		"\t... 2 more",
		"INFO " + run + " serving on",
	} {
		if _, err := io.WriteString(os.Stdout, l+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// oom uses memory, a MiB at a time: each page of it is written to.
func oom() {
	var all [][]byte
	for {
		p := make([]byte, 1<<20)
		for i := 0; i < len(p); i += 4096 {
			p[i] = 1
		}
		all = append(all, p)
		if len(all) > 4096 { // no limit holds: do not take the machine down
			return
		}
	}
}

func sick() bool {
	_, err := os.Stat("/sick")
	return err == nil
}

func serve(ctx context.Context) error {
	s := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sick() {
			http.Error(w, "feeling sick", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "well")
	})}
	failed := make(chan error, 1)
	go func() { failed <- s.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return s.Close()
	}
}
