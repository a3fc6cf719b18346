// Sales is the other of the demo shop's two services: it takes orders, and asks customers who ordered.
//
//	GET  /orders/17         an order of customer 17; of customer 0 an error
//	GET  /status            what a probe asks
//	POST /break?for=1m      /status answers 503 for so long
//
// It logs JSON to standard output, each line with the request_id that came in X-Request-Id, which it passes on. CUSTOMERS_URL is where
// customers is, http://customers:8080 unless set.
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
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	customers := os.Getenv("CUSTOMERS_URL")
	if customers == "" {
		customers = "http://customers:8080"
	}
	s := &shop{log: log, customers: customers, client: &http.Client{Timeout: 5 * time.Second}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("POST /break", s.breakDown)
	mux.HandleFunc("GET /orders/{customer}", s.order)

	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	log.Info("sales is up", "address", server.Addr, "customers", customers)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Error("sales cannot listen", "error", err)
		os.Exit(1)
	}
	log.Info("sales stops")
}

type shop struct {
	log       *slog.Logger
	customers string
	client    *http.Client
	orders    atomic.Int64
	broken    atomic.Int64 // until then, ns since 1970
}

func (s *shop) status(w http.ResponseWriter, _ *http.Request) {
	if time.Now().UnixNano() < s.broken.Load() {
		http.Error(w, `{"status":"the till is stuck"}`, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, `{"status":"ok"}`)
}

func (s *shop) breakDown(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("for"))
	if err != nil {
		http.Error(w, "for how long? /break?for=1m", http.StatusBadRequest)
		return
	}
	s.broken.Store(time.Now().Add(d).UnixNano())
	s.log.Warn("somebody broke the till", "request_id", r.Header.Get("X-Request-Id"), "for", d.String())
}

func (s *shop) order(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	log := s.log.With("request_id", r.Header.Get("X-Request-Id"))
	name, err := s.customer(r)
	if err != nil {
		log.Error("order failed", "customer", r.PathValue("customer"), "error", err.Error())
		http.Error(w, "the order failed", http.StatusBadGateway)
		return
	}
	number := s.orders.Add(1)
	log.Info("order taken", "order", number, "customer", name, "took_ms", time.Since(begin).Milliseconds())
	_ = json.NewEncoder(w).Encode(map[string]any{"order": number, "customer": name}) // who asked may have gone
}

// customer asks who the request's customer is.
func (s *shop) customer(r *http.Request) (string, error) {
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, s.customers+"/customers/"+r.PathValue("customer"), nil)
	if err != nil {
		return "", err
	}
	ask.Header.Set("X-Request-Id", r.Header.Get("X-Request-Id"))
	resp, err := s.client.Do(ask)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("customers answers %s", resp.Status)
	}
	var customer struct{ Name string }
	if err := json.NewDecoder(resp.Body).Decode(&customer); err != nil {
		return "", fmt.Errorf("the answer of customers: %w", err)
	}
	return customer.Name, nil
}
