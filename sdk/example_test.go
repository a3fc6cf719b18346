package sdk_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/lookoutlog/lookout/sdk"
)

// server stands for a lookout server with two events.
func server() *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/query", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"event":{"id":"1","time":"2026-11-21T11:22:33Z","level":"error","service":"payments","message":"card refused","fields":{"order":7}}}
{"summary":{"searched":{"events":2},"matched":1,"complete":true,"sequence":2}}
`)
	})
	mux.HandleFunc("GET /api/v1/tail", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"event":{"id":"3","time":"2026-11-21T11:22:34Z","level":"error","service":"payments","message":"card stolen"}}
`)
	})
	mux.HandleFunc("POST /api/v1/events", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"accepted":1,"rejected":0,"errors":[]}`)
	})
	return httptest.NewServer(mux)
}

func ExampleClient_Query() {
	s := server()
	defer s.Close()
	ctx := context.Background()

	c, err := sdk.New(sdk.Options{URL: s.URL, Token: "…"})
	if err != nil {
		fmt.Println(err)
		return
	}
	rows, err := c.Query(ctx, sdk.QueryRequest{Query: "level>=error service:pay*", Since: time.Now().Add(-time.Hour)})
	if err != nil {
		fmt.Println(err)
		return
	}
	for row, err := range rows.All() {
		if err != nil { // the answer is not whole
			fmt.Println(err)
			return
		}
		order, _ := row.Field("order")
		fmt.Println(row.Time.Format(time.RFC3339), row.Service, row.Message, order)
	}
	// Go on live behind what the search saw.
	for row, err := range c.Tail(ctx, sdk.TailRequest{Query: "level>=error service:pay*", After: new(rows.Summary().Sequence)}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(row.Time.Format(time.RFC3339), row.Service, row.Message)
		break
	}
	// Output:
	// 2026-11-21T11:22:33Z payments card refused 7
	// 2026-11-21T11:22:34Z payments card stolen
}

func ExampleClient_Send() {
	s := server()
	defer s.Close()

	c, err := sdk.New(sdk.Options{URL: s.URL, Token: "…"})
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := c.Send(context.Background(), []sdk.Event{{
		Service: "shop", Level: "info", Message: "order shipped",
		Fields: []sdk.Field{{Name: "order", Value: 7}},
	}}, sdk.SendOptions{})
	fmt.Println(result.Accepted, err)
	// Output: 1 <nil>
}
