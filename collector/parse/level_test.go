package parse

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
)

func name(l event.Level) string {
	if l == event.None {
		return "none"
	}
	return l.String()
}

// Each line is what a program really writes; the level is what that program means.
func TestLineLevel(t *testing.T) {
	for _, c := range []struct{ want, line string }{
		// Words at the start.
		{"error", "ERROR could not connect"},
		{"error", "ERROR: could not connect"},
		{"error", "error: could not connect"},
		{"error", "Error: could not connect"},
		{"error", "[error] could not connect"},
		{"error", "[ERROR] could not connect"},
		{"error", "(ERROR) could not connect"},
		{"error", "<error> could not connect"},
		{"error", "  ERROR could not connect"},
		{"error", "*** ERROR *** could not connect"},
		{"error", "ERROR"},
		{"warning", "WARN: disk nearly full"},
		{"warning", "WARNING: disk nearly full"},
		{"warning", "Warning: disk nearly full"},
		{"warning", "warning: disk nearly full"},
		{"warning", "[warn ] disk nearly full"},
		{"info", "INFO started"},
		{"info", "info: started"},
		{"debug", "TRACE entering f"},
		{"debug", "DEBUG: x"},
		{"critical", "FATAL: role \"x\" does not exist"},
		{"critical", "fatal: not a git repository"},
		{"critical", "CRITICAL disk gone"},
		{"emergency", "EMERG: no disk"},
		{"alert", "[ALERT] (1) : exiting"},
		{"notice", "[NOTICE] (1) : New worker forked"},
		{"warning", "level=warn and so on"},
		{"warning", `main.go:12 lvl="warning" at once`},
		{"none", "set log level=debug"}, // prose
		// klog, glog.
		{"error", "E1121 11:22:33.123456   12345 reflector.go:126] Failed to list *v1.Pod"},
		{"warning", "W1121 11:22:33.123456       1 client_config.go:543] Neither --kubeconfig"},
		{"info", "I20261121 11:22:33.123456 123 main.cc:12] started"},
		{"critical", "F1121 11:22:33.123456       1 main.go:12] exiting"},
		{"none", "E1121 is the room"},
		{"none", "I1234567 11:22:33 x"},
		// syslog's and sd-daemon's number.
		{"error", "<3>kernel panic averted"},
		{"notice", "<13>Nov 21 11:22:33 host app: x"},
		{"none", "<999>x"},
		{"none", "<3> x"},
		{"none", "<x>"},
		// Java.
		{"error", "2026-01-01 11:22:33,123 ERROR [main] com.example.Main - could not connect"},
		{"error", "2026-01-01 11:22:33.123 ERROR 1 --- [           main] o.s.b.SpringApplication : Application run failed"},
		{"warning", "2026-01-01T11:22:33.123Z  WARN 1 --- [nio-8080-exec-1] c.e.Shop : slow"},
		{"error", "11:22:33.123 [main] ERROR com.example.Main - could not connect"},
		{"error", "11:22:33,123 ERROR [org.jboss.as] (MSC service thread 1-1) WFLYSRV0026"},
		{"error", "2026-01-01 11:22:33,123 main ERROR Unable to locate appender \"x\""},
		{"error", "21-Nov-2026 11:22:33.123 SEVERE [main] org.apache.catalina.core.StandardService.initInternal x"},
		{"error", "SEVERE: Servlet.service() threw"},
		{"debug", "21-Nov-2026 11:22:33.123 FINE [main] org.apache.catalina x"},
		{"error", "[2026-01-01 11:22:33,000] ERROR [ReplicaManager broker=1] Error (kafka.server.ReplicaManager)"},
		{"warning", "[2026-01-01T11:22:33,000][WARN ][o.e.b.BootstrapChecks    ] [node] max virtual memory"},
		{"warning", "WARN  [main] 2026-01-01 11:22:33,000 StartupChecks.java:136 - jemalloc not found"},
		{"error", "0    [main] ERROR com.example.Main  - x"},
		{"error", "Exception in thread \"main\" java.lang.NullPointerException: x"},
		{"error", "java.lang.IllegalStateException: closed"},
		{"error", "org.postgresql.util.PSQLException: FATAL: x"},
		{"error", "com.example.BrokenException"},
		// Python.
		{"error", "ERROR:root:could not connect"},
		{"warning", "WARNING:django.request:Not Found: /x"},
		{"info", "INFO:     127.0.0.1:53010 - \"GET /error HTTP/1.1\" 500 Internal Server Error"},
		{"error", "2026-01-01 11:22:33,123 - myapp - ERROR - could not connect"},
		{"error", "[2026-01-01 11:22:33 +0000] [7] [ERROR] Exception in worker process"},
		{"error", "[2026-01-01 11:22:33,123: ERROR/MainProcess] consumer: Cannot connect"},
		{"error", "2026-01-01 11:22:33.123 | ERROR    | app.main:f:12 - could not connect"},
		{"info", "2026-01-01 11:22:33 [info     ] user logged in                 user=1"},
		{"error", "[2026-01-01T11:22:33.123+0000] {taskinstance.py:1824} ERROR - Task failed"},
		{"error", "2026-01-01 11:22:33.123 ERROR (MainThread) [homeassistant.core] x"},
		{"error", "Traceback (most recent call last):"},
		{"error", "ValueError: invalid literal for int() with base 10: 'x'"},
		{"critical", "2026-01-01 11:22:33,123 CRIT Supervisor is running as root."},
		// Go.
		{"critical", "panic: runtime error: index out of range [3] with length 3"},
		{"critical", "fatal error: all goroutines are asleep - deadlock!"},
		{"error", "goroutine 1 [running]:"},
		{"error", "2026-01-01T11:22:33.000Z\tERROR\tmain.go:12\tcould not connect"},
		{"info", "2026-01-01T11:22:33.000Z\tinfo\thttp\tserver running"},
		{"error", "2026-01-01T11:22:33.000000Z\terror\tads\tcould not push"},
		{"info", "INFO[0000] started"},
		{"error", "ERRO[0012] could not connect"},
		{"critical", "FATA[0012] could not connect"},
		{"error", "12:00AM ERR could not connect error=EOF"},
		{"info", "2026-01-01T11:22:33Z INF started"},
		{"error", "2026-01-01T11:22:33.000Z [ERROR] agent: could not connect"},
		{"warning", "    2026/01/01 11:22:33 [WARN] agent: x"},
		{"warning", "2026-09-28 04:30:30.123456 W | etcdserver: slow"},
		{"none", "2026/01/01 11:22:33 could not connect"},
		{"none", "2026/01/01 11:22:33 http: TLS handshake error from 10.0.0.1:5: EOF"},
		// Node.
		{"error", "TypeError: Cannot read properties of undefined (reading 'x')"},
		{"error", "TypeError [ERR_INVALID_ARG_TYPE]: The \"path\" argument must be"},
		{"error", "Uncaught Exception: x"},
		{"error", "npm ERR! code ELIFECYCLE"},
		{"warning", "npm WARN deprecated x@1"},
		{"error", "2026-01-01T11:22:33.000Z error: could not connect"},
		// Rust.
		{"error", "[2026-01-01T11:22:33Z ERROR shop::db] could not connect"},
		{"info", "2026-01-01T11:22:33.000000Z  INFO shop: started"},
		{"critical", "thread 'main' panicked at src/main.rs:2:5:"},
		{"critical", "thread 'main' (4711) panicked at src/main.rs:2:5:"},
		{"error", "thread 'tokio-runtime-worker' panicked at src/main.rs:2:5:"},
		{"none", "thread 'main' is waiting"},
		// Ruby.
		{"error", "E, [2026-01-01T11:22:33.123456 #12] ERROR -- : could not connect"},
		{"info", "I, [2026-01-01T11:22:33.123456 #12]  INFO -- : started"},
		{"warning", "W, [2026-01-01T11:22:33.123456 #12]  WARN -- shop: slow"},
		// .NET.
		{"error", "fail: Microsoft.Hosting.Internal.Host[9]"},
		{"critical", "crit: App.Shop[0]"},
		{"warning", "warn: Microsoft.AspNetCore.Server.Kestrel[0]"},
		{"debug", "dbug: App.Shop[0]"},
		{"info", "info: Microsoft.Hosting.Lifetime[14]"},
		{"error", "[11:22:33 ERR] could not connect"},
		{"info", "[11:22:33 INF] started"},
		{"error", "2026-01-01 11:22:33.0000|ERROR|App.Shop|could not connect"},
		{"error", "System.InvalidOperationException: x"},
		{"error", "Unhandled exception. System.InvalidOperationException: x"},
		{"none", "fail: to come"},
		{"none", "fail: App.Shop[]"},
		{"none", "fail: App.Shop[x1]"},
		{"none", "fail: the Shop[1]"},
		{"none", "oops: App.Shop[1]"},
		// PHP.
		{"critical", "PHP Fatal error:  Uncaught Exception: x in /app/x.php:3"},
		{"critical", "[21-Nov-2026 11:22:33 UTC] PHP Fatal error:  x"},
		{"warning", "PHP Warning:  Undefined variable $x in /app/x.php on line 3"},
		{"notice", "PHP Deprecated:  x"},
		{"error", "[2026-01-01 11:22:33] production.ERROR: x {\"exception\":\"[object]"},
		// Servers.
		{"error", "2026/01/01 11:22:33 [error] 31#31: *1 open() \"/x\" failed (2: No such file or directory)"},
		{"emergency", "2026/01/01 11:22:33 [emerg] 1#1: host not found in upstream"},
		{"error", "[Sun Dec 04 04:47:44 2005] [error] mod_jk child workerEnv in error state 6"},
		{"error", "[Sat Nov 21 11:22:33.123456 2026] [core:error] [pid 12:tid 34] [client 10.0.0.1:5] AH00124"},
		{"notice", "[Sat Nov 21 11:22:33.123456 2026] [mpm_event:notice] [pid 12:tid 34] AH00489: Apache"},
		{"none", `10.0.0.1 - - [21/Nov/2026:11:22:33 +0000] "GET /error HTTP/1.1" 500 12 "-" "ERROR"`},
		{"none", `10.0.0.1 - alice [21/Nov/2026:11:22:33 +0000] "GET / HTTP/1.1" 502 12`},
		{"error", "2026-01-01 11:22:33.123 UTC [123] ERROR:  relation \"x\" does not exist at character 15"},
		{"critical", "2026-01-01 11:22:33.123 UTC [123] shop@shop FATAL:  password authentication failed"},
		{"info", "2026-01-01 11:22:33.123 UTC [123] LOG:  checkpoint complete"},
		{"emergency", "2026-01-01 11:22:33.123 UTC [123] PANIC:  could not write"},
		{"none", "2026-01-01 11:22:33.123 UTC [123] STATEMENT:  SELECT 'ERROR: x'"},
		{"warning", "1:M 21 Nov 2026 11:22:33.123 # WARNING overcommit_memory is set to 0"},
		{"notice", "1:M 21 Nov 2026 11:22:33.123 * Ready to accept connections"},
		{"debug", "123:C 01 Jan 2026 11:22:33.123 - x"},
		{"warning", "2026-01-01T11:22:33.000000Z 0 [Warning] [MY-010068] [Server] CA certificate is self signed"},
		{"error", "2026-01-01T11:22:33.000000Z 0 [ERROR] [MY-010119] [Server] Aborting"},
		{"info", "2026-01-01 11:22:33 0 [Note] mariadbd: ready for connections."},
		{"info", "2026-01-01T11:22:33.000+0000 I NETWORK  [conn1] end connection"},
		{"error", "2026-01-01T11:22:33.000+0000 E STORAGE  [initandlisten] x"},
		{"error", "2026-01-01 11:22:33.000 [error] <0.1.0> x"},
		{"error", "=ERROR REPORT==== 21-Nov-2026::11:22:33 ==="},
		{"info", "11:22:33.123 [info] Running ShopWeb.Endpoint"},
		{"warning", "[2026-01-01 11:22:33.123][1][warning][config] [source/a.cc:12] x"},
		{"error", "1795260153: Error: Address already in use"},
		{"info", "21-Nov-2026 11:22:33.123 general: info: zone x loaded"},
		{"error", "Nov 21 11:22:33 host sshd[123]: error: Bind to port 22 failed"},
		{"critical", "Nov 21 11:22:33 host sshd[123]: fatal: Write failed"},
		{"none", "Nov 21 11:22:33 host sshd[123]: Failed password for root"},
		{"info", "nginx 11:22:33.44 INFO  ==> ** Starting NGINX **"},
		{"info", "\x1b[38;5;6mnginx \x1b[38;5;5m11:22:33.44 \x1b[0m\x1b[38;5;2mINFO \x1b[0m ==> ** Starting"},
		{"error", "web_1  | 2026-01-01 ERROR x"},
		{"error", "web  | ERROR x"},
		{"error", "[1121/112233.444555:ERROR:gpu_init.cc(523)] Passthrough is not supported"},
		{"debug", "11-21 11:22:33.123  1702  2395 D WindowManager: printFreezing"},
		{"error", "11-21 11:22:33.123 E/Tag: x"},
		{"error", "E/ActivityManager( 1234): ANR"},
		{"none", "E/mails(2) are not a log's tag"},
		// Colour.
		{"error", "\x1b[31mERROR\x1b[0m could not connect"},
		{"info", "\x1b[36mINFO\x1b[0m[0000] started"},
		{"warning", "\x1b[2m2026-01-01T11:22:33Z\x1b[0m \x1b[33m WARN\x1b[0m \x1b[2mshop\x1b[0m: x"},
		{"error", "\x1b[1;31mERROR"},
		// JSON that is none.
		{"error", `{"time":"2026-01-01T11:22:33Z","level":"error","msg":"cut her`},
		{"warning", `2026-01-01T11:22:33Z stdout F {"severity": "WARNING","message":"x"}`},
		{"none", `{"msg":"level","x":1,`},
		{"none", `{"level":30,"msg":"cut`},
		// Prose, and what only looks like a level.
		{"none", "no error found"},
		{"none", "No ERROR found"},
		{"none", "NO ERROR FOUND"},
		{"none", "2026-01-01 11:22:33 NO ERROR FOUND"},
		{"none", "0 errors"},
		{"none", "0 ERROR"},
		{"none", "0 error: all fine"},
		{"none", "error_count=0"},
		{"none", "errors: 0"},
		{"none", "errors: 0, error: 0"},
		{"none", "error: none"},
		{"error", "error: no such file or directory"},
		{"error", "error: 0 retries left"},
		{"none", "error: null"},
		{"none", "ERROR: 0"},
		{"none", "ERROR_COUNT=0"},
		{"none", "ERROR=0"},
		{"none", "the error was ignored"},
		{"none", "Error while connecting"},
		{"none", "error while connecting"},
		{"none", "warning signs"},
		{"none", "info about x"},
		{"none", "finished without ERROR"},
		{"none", "handled: no error"},
		{"none", "2026-01-01 11:22:33 the last ERROR was long ago"},
		{"none", "critical section entered"},
		{"none", "trace id 5"},
		{"none", "debug mode is on"},
		{"none", "fatality"},
		{"none", "INFORM me"},
		{"none", "warnings"},
		{"none", "re-trying, ERROR x"},
		{"none", "Done. ERROR x"},
		{"none", "ready=true error: none"},
		{"none", "GET /error 500"},
		{"none", "/var/log/error.log rotated"},
		{"none", "kernel[0]: IOPMPowerSource Information: onSleep"},
		{"none", "app [lvl=2] main() fetching"},
		{"none", "FINE work"},
		{"none", "NOTICE TO ALL"},
		{"none", "LOG OF DAYS"},
		{"none", "INF is no number"},
		{"none", "panicked a little"},
		{"none", "(error) said he"},
		{"none", "error(x) is a call"},
		{"none", "took 1117869876 ERROR"},
		{"error", "APP 1117869876 ERROR"},
		{"none", "[no error] x"},
		{"none", "\"ERROR\""},
		{"none", "'ERROR' it said"},
		{"none", "[ERROR"},
		{"none", "x"},
		{"none", ""},
		{"none", "   "},
		{"none", "\x1b["},
		{"none", strings.Repeat("a.b ", maxTokens) + "ERROR x"},
		{"none", "[" + strings.Repeat("x", maxHead) + "] ERROR x"},
	} {
		if got := name(lineLevel([]byte(c.line))); got != c.want {
			t.Errorf("%s, want %s: %q", got, c.want, c.line)
		}
	}
}

// testdata/levels holds lines of real systems, with the level their own column or prefix shows.
func TestLevelsOfRealSystems(t *testing.T) {
	files, err := filepath.Glob("testdata/levels/*.txt")
	if err != nil || len(files) != 17 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
		if len(lines) < 10 {
			t.Errorf("%s: only %d lines", file, len(lines))
		}
		for n, line := range lines {
			want, line, _ := bytes.Cut(line, []byte("|"))
			if got := lineLevel(line).String(); got != string(want) {
				t.Errorf("%s:%d: %q, want %q: %s", file, n+1, got, want, line)
			}
		}
	}
}

func TestLevelOfSeveralLines(t *testing.T) {
	for _, c := range []struct{ want, text string }{
		{"info", "INFO started\nERROR this line is text of the message"},
		{"error", "2026-01-01 INFO x\njava.lang.IllegalStateException: x\n\tat a.B.c(B.java:1)"},
		{"error", "2026-01-01 WARN x\n\tat a.B.c(B.java:1)"},
		{"error", "it broke\nTraceback (most recent call last):\n  File \"x.py\", line 1, in <module>"},
		{"critical", "it broke\npanic: x\n\ngoroutine 1 [running]:"},
		{"critical", "CRITICAL x\n\tat a.B.c(B.java:1)"},
		{"none", "a table\n  one\n  two"},
		{"none", "a\n"},
		{"none", strings.Repeat("x\n", traceLines) + "\tat a.B.c(B.java:1)"},
	} {
		if got := name(levelOf([]byte(c.text))); got != c.want {
			t.Errorf("%s, want %s: %q", got, c.want, c.text)
		}
	}
}

func TestNamedLevel(t *testing.T) {
	for _, c := range []struct {
		text, want string
		more       bool
	}{
		{"ERROR", "error", false}, {"err", "error", false}, {"Warn", "warning", false}, {"wrn", "warning", false},
		{"information", "info", false}, {"Notice", "notice", false}, {"3", "error", false},
		{"fatal", "critical", true}, {"FATAL", "critical", true}, {"dpanic", "critical", true}, {"panic", "emergency", true},
		{"TRACE", "debug", true}, {"verbose", "debug", true}, {"silly", "debug", true}, {"SEVERE", "error", true},
		{"success", "info", true}, {"LOG", "info", true}, {"DEBUG1", "debug", true},
		{"INFO+2", "info", true}, {"INFO-1", "debug", true}, {"WARN+4", "error", true}, {"DEBUG-4", "debug", true}, {"ERROR+4", "error", true},
		{"INFO+", "", false}, {"INFO+x", "", false}, {"INFO+1000", "", false}, {"x+1", "", false}, {"", "", false},
		{"DEFAULT", "", false}, {"it is an error of its own", "", false}, {"8", "", false},
	} {
		l, more, ok := namedLevel([]byte(c.text))
		if ok != (c.want != "") || l.String() != c.want || more != c.more {
			t.Errorf("namedLevel(%q) = %v, %v, %v; want %q, %v", c.text, l, more, ok, c.want, c.more)
		}
	}
}
