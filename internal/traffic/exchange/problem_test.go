package exchange_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

// answer keeps what it was given.
type answer struct {
	exchange.Answer
	head    exchange.Head
	body    strings.Builder
	started bool
	ended   bool
	err     error
}

func (a *answer) Started() bool { return a.started }

func (a *answer) Start(h *exchange.Head) error {
	a.head, a.started = *h, true
	return a.err
}

func (a *answer) Write(p []byte, _ bool) error {
	a.body.Write(p)
	return nil
}

func (a *answer) End(exchange.Fields) error {
	a.ended = true
	return nil
}

func TestAProblemIsAnRFC9457Document(t *testing.T) {
	a := &answer{}
	x := &exchange.Exchange{Answer: a, Request: exchange.Request{ID: []byte("id-1")}}
	exchange.Problem(x, 503, "TOSKA-UP-NONE", "quotes \" and \\ and \x01 and ü")
	var doc struct {
		Title, Code, Detail string
		RequestID           string `json:"request_id"`
		Status              int
	}
	if err := json.Unmarshal([]byte(a.body.String()), &doc); err != nil {
		t.Fatalf("%q: %v", a.body.String(), err)
	}
	if doc.Title != "Service Unavailable" || doc.Status != 503 || doc.Code != "TOSKA-UP-NONE" ||
		doc.Detail != "quotes \" and \\ and \x01 and ü" || doc.RequestID != "id-1" {
		t.Errorf("the document is %+v", doc)
	}
	if a.head.Status != 503 || a.head.Length != int64(a.body.Len()) || a.head.Close || !a.ended ||
		string(a.head.Fields.Get("content-type")) != "application/problem+json" || string(a.head.Fields.Get("cache-control")) != "no-store" {
		t.Errorf("the head is %+v", a.head)
	}
	if x.Record.Code != "TOSKA-UP-NONE" || x.Record.Status != 503 || x.Record.Reason == "" || x.Record.ClientGone {
		t.Errorf("recorded %+v", x.Record)
	}
}

func TestARefusalEndsTheConnection(t *testing.T) {
	a := &answer{}
	x := &exchange.Exchange{Answer: a}
	exchange.Refuse(x, &exchange.ClientError{Status: 405, Code: exchange.CodeMethod, Detail: "not served"})
	if !a.head.Close || a.head.Status != 405 || len(a.head.Fields.Get("Allow")) == 0 {
		t.Errorf("the head is %+v", a.head)
	}
	b := &answer{}
	exchange.MethodProblem(&exchange.Exchange{Answer: b}, "TOSKA-ROUTE-METHOD", "not taken", []string{"GET", "PUT"})
	if b.head.Close || b.head.Status != 405 || string(b.head.Fields.Get("Allow")) != "GET, PUT" {
		t.Errorf("the head is %+v", b.head)
	}
	if err := (&exchange.ClientError{Detail: "not served"}); err.Error() != "not served" {
		t.Errorf("the error says %q", err)
	}
}

func TestAProblemAfterTheAnswerBeganIsOnlyRecorded(t *testing.T) {
	a := &answer{started: true}
	x := &exchange.Exchange{Answer: a, Record: exchange.Record{Status: 200}}
	exchange.Problem(x, 502, "TOSKA-UP-CUT", "cut")
	if a.body.Len() != 0 || x.Record.Code != "TOSKA-UP-CUT" || x.Record.Status != 200 {
		t.Errorf("wrote %q, recorded %+v", a.body.String(), x.Record)
	}
}

func TestAProblemForAClientThatLeft(t *testing.T) {
	x := &exchange.Exchange{Answer: &answer{err: errors.New("gone")}}
	exchange.Problem(x, 502, "TOSKA-UP-CUT", "cut")
	if !x.Record.ClientGone {
		t.Error("not recorded that the client left")
	}
}

func TestStatusText(t *testing.T) {
	if got := exchange.StatusText(404); got != "Not Found" {
		t.Errorf("404 is %q", got)
	}
	if got := exchange.StatusText(299); got != "Status" {
		t.Errorf("299 is %q", got)
	}
}

func TestNoBody(t *testing.T) {
	var b exchange.Body = exchange.NoBody{}
	if p, all := b.Buffered(); p != nil || !all {
		t.Errorf("Buffered() = %q, %v", p, all)
	}
	if p, err := b.Next(); p != nil || err == nil || b.Trailers() != nil {
		t.Errorf("Next() = %q, %v", p, err)
	}
	b.Stop()
}
