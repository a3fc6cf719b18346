// Customers is one of the demo shop's two services: it knows who the customers are.
//
//	GET /customers/17   {"id":17,"name":"Ada"}; customer 0 is an error
//	GET /status         what a probe asks
//
// It logs JSON to standard output, each line with the request_id that came in X-Request-Id.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var names = [...]string{"Ada", "Grace", "Edsger", "Barbara", "Tony", "Margaret"}

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"status":"ok"}`) })
	mux.HandleFunc("GET /customers/{id}", func(w http.ResponseWriter, r *http.Request) {
		log := log.With("request_id", r.Header.Get("X-Request-Id"), "customer", r.PathValue("id"))
		id, err := strconv.ParseUint(r.PathValue("id"), 10, 32)
		switch {
		case err != nil:
			log.Warn("no such customer")
			http.Error(w, "no such customer", http.StatusNotFound)
			return
		case id == 0:
			log.Error("the register of customers has no page 0", "error", "index out of range")
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		name := names[id%uint64(len(names))]
		log.Info("customer found", "name", name)
		_ = json.NewEncoder(w).Encode(map[string]any{"id": id, "name": name}) // who asked may have gone
	})

	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	log.Info("customers is up", "address", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Error("customers cannot listen", "error", err)
		os.Exit(1)
	}
	log.Info("customers stops")
}
