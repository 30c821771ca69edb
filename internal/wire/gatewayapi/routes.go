package gatewayapi

import (
	"slices"
	"time"

	"github.com/toska-mesh/toska-mesh/mesh"
)

// restRoutes is the answer.
type restRoutes struct {
	Routes []restRoute `json:"routes" doc:"Those in force, in the order in which they are tried, then those that are quarantined."`
}

// restRoute is mesh.RouteStatus in JSON.
type restRoute struct {
	Name         string       `json:"name"`
	Kind         string       `json:"kind" enum:"route,internal,prefix" doc:"A configured route, a path of the gateway's own, or the prefix under which services are found."`
	Hosts        []string     `json:"hosts" doc:"Hosts that it takes; none takes every host."`
	Path         string       `json:"path" doc:"Pattern as text: /orders for one path, /orders/… for it and all below it." example:"/orders/…"`
	Exact        string       `json:"exact,omitempty" doc:"The one path that it takes."`
	Prefix       string       `json:"prefix,omitempty" doc:"The path that it takes with all below it."`
	Methods      []string     `json:"methods" doc:"Methods that it takes; none takes all."`
	Service      string       `json:"service" doc:"Service that answers."`
	Rewrite      *restRewrite `json:"rewrite,omitempty" doc:"What is done to the path."`
	UpstreamHost string       `json:"upstream_host,omitempty" doc:"What the endpoint is told as Host: keep, upstream or a name."`
	EncodedSlash bool         `json:"encoded_slash,omitempty" doc:"Whether %2F passes."`
	Timeouts     restTimeouts `json:"timeouts" doc:"As they are in force, in seconds; 0 is none."`
	Retry        restRetry    `json:"retry" doc:"As it is in force."`
	Origin       string       `json:"origin,omitempty" doc:"Where it was written." example:"mesh.yaml:21:5"`
	State        string       `json:"state" enum:"in force,quarantined"`
	Reason       string       `json:"reason,omitempty" doc:"Why it is quarantined."`
	Warning      string       `json:"warning,omitempty" doc:"What is odd about it."`
}

type restRewrite struct {
	StripPrefix   string `json:"strip_prefix,omitempty" doc:"Taken off the front of the path."`
	ReplacePrefix string `json:"replace_prefix,omitempty" doc:"Put in the place of the prefix."`
}

type restTimeouts struct {
	Connect float64 `json:"connect"`
	PerTry  float64 `json:"per_try"`
	Idle    float64 `json:"idle"`
	Total   float64 `json:"total"`
}

type restRetry struct {
	Attempts   int     `json:"attempts" doc:"At endpoints, the first among them."`
	Budget     float64 `json:"budget" doc:"Share of a service's requests that may be tried again."`
	AllMethods bool    `json:"all_methods" doc:"Whether what is not idempotent is tried again too."`
}

func toREST(routes []mesh.RouteStatus) restRoutes {
	out := restRoutes{Routes: make([]restRoute, 0, len(routes))}
	for _, r := range routes {
		one := restRoute{
			// An empty list is a list.
			Name: r.Name, Kind: r.Kind, Hosts: append([]string{}, r.Hosts...), Path: r.Path, Exact: r.Exact, Prefix: r.Prefix,
			Methods: append([]string{}, r.Methods...), Service: r.Service, UpstreamHost: r.UpstreamHost, EncodedSlash: r.EncodedSlash,
			Timeouts: restTimeouts{r.Timeouts.Connect.Seconds(), r.Timeouts.PerTry.Seconds(), r.Timeouts.Idle.Seconds(), r.Timeouts.Total.Seconds()},
			Retry:    restRetry(r.Retry), Origin: r.Origin, State: r.State, Reason: r.Reason, Warning: r.Warning,
		}
		if r.StripPrefix+r.ReplacePrefix != "" {
			one.Rewrite = &restRewrite{r.StripPrefix, r.ReplacePrefix}
		}
		out.Routes = append(out.Routes, one)
	}
	return out
}

func fromREST(in restRoutes) []mesh.RouteStatus {
	var out []mesh.RouteStatus
	for _, r := range in.Routes {
		one := mesh.RouteStatus{
			Name: r.Name, Kind: r.Kind, Hosts: noneIsNil(r.Hosts), Path: r.Path, Exact: r.Exact, Prefix: r.Prefix,
			Methods: noneIsNil(r.Methods), Service: r.Service, UpstreamHost: r.UpstreamHost, EncodedSlash: r.EncodedSlash,
			Timeouts: mesh.RouteTimeouts{Connect: seconds(r.Timeouts.Connect), PerTry: seconds(r.Timeouts.PerTry),
				Idle: seconds(r.Timeouts.Idle), Total: seconds(r.Timeouts.Total)},
			Retry: mesh.RouteRetry(r.Retry), Origin: r.Origin, State: r.State, Reason: r.Reason, Warning: r.Warning,
		}
		if r.Rewrite != nil {
			one.StripPrefix, one.ReplacePrefix = r.Rewrite.StripPrefix, r.Rewrite.ReplacePrefix
		}
		out = append(out, one)
	}
	return out
}

func noneIsNil(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Clip(list)
}

func seconds(n float64) time.Duration {
	return time.Duration(n * float64(time.Second)).Round(time.Microsecond)
}
