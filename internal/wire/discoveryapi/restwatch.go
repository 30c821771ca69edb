package discoveryapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/toska-mesh/toska-mesh/internal/wire/httpapi"
	"github.com/toska-mesh/toska-mesh/mesh"
)

const (
	defaultWait = 30 * time.Second
	// maxWait keeps a long poll shorter than what proxies on the way let a silent answer take.
	maxWait = 5 * time.Minute
	// eventPause is how long an event stream may be silent before it says that it is still there.
	eventPause = 15 * time.Second
)

type watchInput struct {
	Since       string `query:"since" doc:"Last revision that the caller saw; absent for none." example:"1.42"`
	Wait        string `query:"wait" doc:"How long to wait for a newer one, as in 30s (the default); 5m at most."`
	Service     string `query:"service" doc:"Only this service."`
	Accept      string `header:"Accept"`
	LastEventID string `header:"Last-Event-ID" doc:"What a browser sends when it comes back; the same as since."`
}

func mountWatch(api *httpapi.API, d mesh.Discovery) {
	op := huma.Operation{Method: http.MethodGet, Path: "/api/v1/watch", OperationID: "watch",
		Summary: "Wait for a newer revision", Tags: []string{"discovery"},
		Description: "Answers with the registry once it is newer than a revision, or with 304 after the wait. " +
			"With Accept: text/event-stream it is a stream instead: the whole first, then what changed, each event with its revision as id.",
	}
	schema := httpapi.Schema(api, reflect.TypeFor[restChange]())
	op.Responses = map[string]*huma.Response{
		"200": {Description: "The registry, or the service that was asked for.", Content: map[string]*huma.MediaType{
			"application/json":  {Schema: schema},
			"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}},
		}},
		"304": {Description: "Nothing newer within the wait."},
	}
	httpapi.Handle(api, op, func(ctx context.Context, in *watchInput) (*huma.StreamResponse, error) {
		since, wait, err := in.read()
		if err != nil {
			return nil, err
		}
		if strings.Contains(in.Accept, "text/event-stream") {
			return &huma.StreamResponse{Body: func(c huma.Context) { stream(c, d, since, in.Service) }}, nil
		}
		return poll(ctx, d, since, wait, in.Service)
	})
}

func (in *watchInput) read() (since mesh.Revision, wait time.Duration, err error) {
	if in.LastEventID != "" {
		in.Since = in.LastEventID
	}
	since, err = mesh.ParseRevision(in.Since)
	if err != nil {
		return since, 0, wrongField("since", fmt.Sprintf("%.40q is not a revision such as 1.42", in.Since))
	}
	wait, err = parseDuration(in.Wait)
	if err != nil {
		return since, 0, wrongField("wait", err.Error())
	}
	if in.Wait == "" {
		wait = defaultWait
	}
	return since, min(wait, maxWait), nil
}

// poll waits for the first change that concerns the caller.
func poll(ctx context.Context, d mesh.Discovery, since mesh.Revision, wait time.Duration, service string) (*huma.StreamResponse, error) {
	ctx, cancel := httpapi.UntilStop(ctx)
	defer cancel()
	now, err := d.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	diff := differ{service: service}
	c, _ := diff.next(now)
	if !since.Before(now.Revision) {
		if c, err = nextChange(ctx, d, &diff, wait); err != nil {
			return nil, err
		}
	}
	if c.revision.IsZero() {
		return &huma.StreamResponse{Body: func(c huma.Context) { c.SetStatus(http.StatusNotModified) }}, nil
	}
	whole, _ := (&differ{service: service}).next(diff.last)
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "application/json")
		c.SetHeader("Cache-Control", "no-store")
		c.SetStatus(http.StatusOK)
		// The client is gone if this fails.
		_ = json.NewEncoder(c.BodyWriter()).Encode(toRESTChange(whole))
	}}, nil
}

// nextChange waits for news after the snapshot that diff has seen; a change without a revision means
// that there were none.
func nextChange(ctx context.Context, d mesh.Discovery, diff *differ, wait time.Duration) (change, error) {
	if wait == 0 {
		return change{}, nil
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for s, err := range d.Watch(waiting, diff.last.Revision) {
		if err != nil {
			if waiting.Err() != nil {
				break
			}
			return change{}, err
		}
		if c, news := diff.next(s); news {
			return c, nil
		}
	}
	if ctx.Err() != nil {
		return change{}, ended(ctx, nil)
	}
	return change{}, nil
}

// stream sends changes as events until the client leaves or the server stops; the client comes back by
// itself, with the id of the last event.
func stream(c huma.Context, d mesh.Discovery, since mesh.Revision, service string) {
	ctx, cancel := httpapi.UntilStop(c.Context())
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancel()
	c.SetHeader("Content-Type", "text/event-stream")
	c.SetHeader("Cache-Control", "no-store")
	c.SetStatus(http.StatusOK)
	if sendEvent(c, ": watching\n\n") != nil {
		return
	}
	changes := make(chan change) // closed by the watcher
	watcher.Go(func() {
		defer close(changes)
		follow(ctx, d, since, service, changes)
	})
	// Silence is broken now and then, to find out that a client is gone.
	pause := time.NewTicker(eventPause)
	defer pause.Stop()
	for {
		event := ": still here\n\n"
		select {
		case news, ok := <-changes:
			if !ok {
				return
			}
			data, err := json.Marshal(toRESTChange(news))
			if err != nil {
				return
			}
			event = fmt.Sprintf("event: change\nid: %s\ndata: %s\n\n", news.revision, data)
		case <-pause.C:
		}
		if sendEvent(c, event) != nil {
			return
		}
	}
}

// follow hands over what changes until ctx or the watch ends.
func follow(ctx context.Context, d mesh.Discovery, since mesh.Revision, service string, changes chan<- change) {
	diff := differ{service: service}
	for s, err := range d.Watch(ctx, since) {
		if err != nil {
			return
		}
		c, news := diff.next(s)
		if !news {
			continue
		}
		select {
		case changes <- c:
		case <-ctx.Done():
			return
		}
	}
}

func sendEvent(c huma.Context, event string) error {
	if _, err := io.WriteString(c.BodyWriter(), event); err != nil {
		return err
	}
	_, w := humago.Unwrap(c)
	return http.NewResponseController(w).Flush()
}
