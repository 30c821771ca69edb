package httpapi

import (
	"net/http"
	"net/url"
	"strings"
)

// lookup returns what the mux has for a request, its pattern, and the request to serve with it. A path
// below /api/ that nothing takes as it is written is tried once more in lower case: the family's
// clients spell theirs in several ways, and its surfaces are mounted in lower case. What a wildcard
// stands for keeps its case. /api/v1/ is not the family's and stays exact.
func lookup(mux *http.ServeMux, r *http.Request) (http.Handler, string, *http.Request) {
	h, pattern := mux.Handler(r)
	if pattern != "" {
		return h, pattern, r
	}
	written := r.URL.EscapedPath()
	lower := strings.ToLower(written)
	if lower == written || !strings.HasPrefix(lower, "/api/") || strings.HasPrefix(lower, "/api/v1/") {
		return h, pattern, r
	}
	folded, ok := withPath(r, lower)
	if !ok {
		return h, pattern, r
	}
	h, pattern = mux.Handler(folded)
	if pattern == "" {
		// The path may be there for other methods, which h tells.
		return h, pattern, r
	}
	if folded, ok = withPath(r, foldPath(written, pattern)); !ok {
		return h, "", r
	}
	return h, pattern, folded
}

// foldPath spells a path as the pattern that it matches without case. Both have the same segments, up to
// a wildcard that takes the rest.
func foldPath(written, pattern string) string {
	pattern = pattern[strings.Index(pattern, "/"):]
	segments := strings.Split(written, "/")
	for i, p := range strings.Split(pattern, "/") {
		if i >= len(segments) || p == "{$}" || strings.HasSuffix(p, "...}") {
			break
		}
		if !strings.HasPrefix(p, "{") {
			segments[i] = p
		}
	}
	return strings.Join(segments, "/")
}

// withPath returns a copy of the request with another escaped path.
func withPath(r *http.Request, escaped string) (*http.Request, bool) {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, false
	}
	out := new(http.Request)
	*out = *r
	u := *r.URL
	u.Path, u.RawPath = path, escaped
	out.URL = &u
	return out, true
}
