//go:build unix

package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/app"
)

// has reports whether a file holds a text.
func has(path, text string) bool {
	b, err := os.ReadFile(path)
	return err == nil && strings.Contains(string(b), text)
}

func TestTheAccessLogIsOpenedAnewWhenItsFileWasMovedAway(t *testing.T) {
	for _, withFile := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "access.log")
		reload := make(chan os.Signal, 1)
		r := startWith(t, t.TempDir(), nil, func(c *app.Config) {
			c.AccessLog, c.Reload = path, reload
			if withFile {
				newConfigFile(t, "access_log: {file: off}").use(c) // the flag has the say
				c.Reload = reload
			}
		})
		r.gateway("/api/none/before")
		r.until("the first line is written", func() bool { return has(path, "/api/none/before") })
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		r.gateway("/api/none/between")
		reload <- os.Interrupt
		r.until("the file is there again", func() bool { _, err := os.Stat(path); return err == nil })
		r.gateway("/api/none/after")
		r.until("the next line is in the new file", func() bool { return has(path, "/api/none/after") })
		if has(path+".1", "/api/none/after") || !has(path+".1", "/api/none/between") && !has(path, "/api/none/between") {
			t.Error("a line is lost, or in the wrong file")
		}

		// What cannot be opened anew goes on where it is, and an alarm says so.
		if err := os.Rename(dir, dir+".gone"); err != nil {
			t.Fatal(err)
		}
		reload <- os.Interrupt
		r.until("an alarm tells of it", func() bool { return r.alarmed("open the access log") })
		r.gateway("/api/none/last")
		r.until("the line is written all the same", func() bool { return has(filepath.Join(dir+".gone", "access.log"), "/api/none/last") })
		if err := os.Rename(dir+".gone", dir); err != nil {
			t.Fatal(err)
		}
		reload <- os.Interrupt
		r.until("the alarm is over", func() bool { return !r.alarmed("open the access log") })
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheFileSaysWhereTheAccessLogGoesAndWhatItHolds(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.log"), filepath.Join(dir, "second.log")
	f := newConfigFile(t, "access_log: {file: "+first+", fields: [path, query]}")
	r := startWith(t, t.TempDir(), nil, func(c *app.Config) {
		c.AccessLog = app.DefaultConfig().AccessLog
		c.Reload = f.reload
		given := func(flag string) bool { return flag != "access-log" }
		if err := c.UseFile(f.path, given); err != nil {
			t.Fatal(err)
		}
	})
	r.gateway("/api/none/a?token=x&b=1")
	r.until("the first file has the chosen fields", func() bool {
		return has(first, `{"path":"/api/none/a","query":"token=REDACTED&b=1"}`+"\n")
	})
	f.write("access_log: {file: " + second + ", format: common}")
	r.until("the second file is there", func() bool { _, err := os.Stat(second); return err == nil })
	r.gateway("/api/none/b")
	r.until("the second file has the common format", func() bool { return has(second, `"GET /api/none/b HTTP/1.1" 404 `) })
	f.write("access_log: {file: " + filepath.Join(dir, "no", "such") + "}")
	r.until("an alarm tells of a file that cannot be opened", func() bool { return r.alarmed("open the access log") })
	f.write("access_log: {file: off}")
	r.until("the alarm is over", func() bool { return !r.alarmed("open the access log") })
	r.gateway("/api/none/c")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if has(first, "none/b") || has(second, "none/c") {
		t.Error("a line is in a file that it was not for")
	}
}
