package probers

import "net/http"

// Line and Admit are what a probe's output and its dialling go through.
var (
	Line  = line
	Admit = admit
)

// Transport is what sends the probes.
func (p *Prober) Transport() *http.Transport {
	t, _ := p.client.Transport.(*http.Transport)
	return t
}
