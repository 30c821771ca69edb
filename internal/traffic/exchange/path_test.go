package exchange_test

import (
	"bytes"
	"net/url"
	slashpath "path"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/exchange"
)

func TestCanonical(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		encoded        bool
	}{
		{"the root", "/", "/", false},
		{"what is canonical stays", "/a/b-c_d.e~f", "/a/b-c_d.e~f", false},
		{"a trailing slash stays", "/a/b/", "/a/b/", false},
		{"doubled slashes are one", "//a///b//", "/a/b/", false},
		{"nothing but slashes", "////", "/", false},
		{"a single dot", "/a/./b", "/a/b", false},
		{"a single dot at the end", "/a/.", "/a/", false},
		{"a dot alone", "/.", "/", false},
		{"two dots", "/a/b/../c", "/a/c", false},
		{"two dots at the end", "/a/b/..", "/a/", false},
		{"two dots to the root", "/a/..", "/", false},
		{"two dots behind doubled slashes", "/a//../b", "/b", false},
		{"three dots are a name", "/a/.../b", "/a/.../b", false},
		{"a name that begins with a dot", "/.well-known/x", "/.well-known/x", false},
		{"a name that begins with two dots", "/..a/b", "/..a/b", false},
		{"an encoded letter", "/%61%62c", "/abc", false},
		{"an encoded dot in a name", "/a%2eb", "/a.b", false},
		{"an encoded tilde", "/%7euser", "/~user", false},
		{"lower-case digits", "/%c3%a4", "/%C3%A4", false},
		{"a reserved character stays encoded", "/a%3Fb%23c%25d", "/a%3Fb%23c%25d", false},
		{"a double encoding is decoded once", "/%252e%252e/a", "/%252e%252e/a", false},
		{"a double encoding of a letter", "/%2561", "/%2561", false},
		{"parameters pass", "/a;v=1/b", "/a;v=1/b", false},
		{"an encoded slash stays", "/a%2fb", "/a%2Fb", true},
		{"an encoded slash at the end", "/a%2F", "/a%2F", true},
		{"an encoded space stays", "/a%20b", "/a%20b", false},
		{"sub-delimiters stay as they are", "/a!$&'()*+,=:@b", "/a!$&'()*+,=:@b", false},
	} {
		got, encoded, problem := exchange.Canonical([]byte("kept"), []byte(tc.in))
		if problem != "" || string(got) != "kept"+tc.want || encoded != tc.encoded {
			t.Errorf("%s: Canonical(%q) = %q, %v, %q; want %q, %v", tc.name, tc.in, got, encoded, problem, "kept"+tc.want, tc.encoded)
		}
	}
}

func TestCanonicalRefusesWhatIsReadInMoreThanOneWay(t *testing.T) {
	for name, list := range map[string][]string{
		"no slash at the front":    {"", "a", "a/b", "*", "?"},
		"a way out of the root":    {"/..", "/../a", "/a/../..", "/a/../../b", "//..", "/./.."},
		"an encoded dot segment":   {"/%2e", "/%2e/a", "/%2e%2e", "/a/%2e%2e/b", "/.%2e", "/%2E.", "/a/.%2e/"},
		"dots with parameters":     {"/..;/a", "/.;a", "/..;a=b/c", "/%2e%2e;a"},
		"dots at an encoded slash": {"/..%2fa", "/a%2f..", "/a%2f..%2fb", "/a%2f.%2fb", "/a%2f%2e%2e%2fb", "/.%2f", "/a%2f..;x/b"},
		"a backslash":              {`/a\b`, `/\..\a`, "/a%5cb", "/%5C"},
		"a control character":      {"/a\x00", "/a%00b", "/a%0ab", "/a%0Db", "/a\x7f", "/%7F", "/\x1f"},
		"a broken percent":         {"/%", "/%a", "/%zz", "/a%2", "/%2/a", "/%u002e", "/%%35"},
	} {
		for _, in := range list {
			if got, _, problem := exchange.Canonical([]byte("kept"), []byte(in)); problem == "" || string(got) != "kept" {
				t.Errorf("%s: Canonical(%q) = %q, want it refused and nothing appended", name, in, got)
			}
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a/../b", "//a//", "/%2e%2e/", "/a%2fb", "/..;x", "/%25%32%65", "/a\x00", "/%c3%a4/./..//x", "/..%2f..", "/a/b/../../c/."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		path, encoded, problem := exchange.Canonical(nil, raw)
		if !bytes.Equal(raw, before) {
			t.Fatalf("the raw path was changed to %q", raw)
		}
		if problem != "" {
			if len(path) != 0 {
				t.Fatalf("refused with %q and returned %q", problem, path)
			}
			if len(raw) > 0 && raw[0] == '/' && !exchange.NeedsCanonical(raw) {
				t.Fatalf("%q needs no work and was refused: %s", raw, problem)
			}
			return
		}
		again, encodedAgain, problem := exchange.Canonical(nil, path)
		if problem != "" || !bytes.Equal(again, path) || encodedAgain != encoded {
			t.Fatalf("%q became %q, and that %q, %v, %q", raw, path, again, encodedAgain, problem)
		}
		if !exchange.NeedsCanonical(raw) && !bytes.Equal(raw, path) {
			t.Fatalf("%q needs no work and became %q", raw, path)
		}
		if len(path) == 0 || path[0] != '/' {
			t.Fatalf("%q became %q", raw, path)
		}
		if encoded != strings.Contains(string(path), "%2F") {
			t.Fatalf("%q: an encoded slash in %q is reported as %v", raw, path, encoded)
		}
		inner := strings.TrimSuffix(string(path[1:]), "/")
		if string(path) != "/" {
			// However often a server decodes it, and whatever it takes for a slash.
			for seg := range strings.SplitSeq(strings.ReplaceAll(inner, "%2F", "/"), "/") {
				name, _, _ := strings.Cut(seg, ";")
				if name == "." || name == ".." {
					t.Fatalf("%q became %q, which has a dot segment", raw, path)
				}
			}
			for seg := range strings.SplitSeq(inner, "/") {
				if seg == "" {
					t.Fatalf("%q became %q, which has an empty segment", raw, path)
				}
			}
		}
		if want := reference(string(raw)); unescape(t, string(path)) != want {
			t.Fatalf("%q became %q, and the standard library makes %q of it", raw, path, want)
		}
		for _, c := range path {
			if c < 0x20 || c == 0x7f || c == '\\' {
				t.Fatalf("%q became %q", raw, path)
			}
		}
	})
}

// encodedSlash stands for one while paths are compared: it is no character of a path.
const encodedSlash = "\x01"

// reference cleans and decodes a path that was taken, by the standard library.
func reference(raw string) string {
	decoded, err := url.PathUnescape(strings.NewReplacer("%2f", encodedSlash, "%2F", encodedSlash).Replace(raw))
	if err != nil {
		return "nothing: " + err.Error()
	}
	clean := slashpath.Clean(decoded)
	last := decoded[strings.LastIndexByte(decoded, '/')+1:]
	if clean != "/" && (last == "" || last == "." || last == "..") {
		clean += "/"
	}
	return clean
}

func unescape(t *testing.T, path string) string {
	t.Helper()
	s, err := url.PathUnescape(strings.ReplaceAll(path, "%2F", encodedSlash))
	if err != nil {
		t.Fatalf("the canonical path %q: %v", path, err)
	}
	return s
}

func BenchmarkCanonical(b *testing.B) {
	for name, path := range map[string]string{"as most are": "/api/orders/12345/items", "with work": "/api/orders//%31/./items/../x"} {
		b.Run(name, func(b *testing.B) {
			raw, dst := []byte(path), make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				dst, _, _ = exchange.Canonical(dst[:0], raw)
			}
		})
	}
}
