//go:build unix

package script_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// bin is the directory on the scripts' PATH: toska, and this binary under the names of its parts.
var bin string

// TestMain plays the program whose name it was started by, or builds toska and runs the tests.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "webprog":
		fmt.Fprintln(os.Stderr, webprog(os.Args[1:]))
		os.Exit(1)
	case "http":
		os.Exit(httpprog(os.Args[1:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "toska-script-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(bin) }()
	if err := fillBin(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// fillBin builds toska, or takes the one that TOSKA_BIN names.
func fillBin() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range []string{"webprog", "http"} {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	toska := filepath.Join(bin, "toska")
	if ready := os.Getenv("TOSKA_BIN"); ready != "" {
		if ready, err = filepath.Abs(ready); err != nil {
			return err
		}
		return os.Symlink(ready, toska)
	}
	build := exec.Command("go", "build", "-o", toska, "../../cmd/toska")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build toska: %w\n%s", err, out)
	}
	return nil
}

// webprog serves on $PORT until it is told to end: its arguments are NAME, which it answers with, and a
// file that it writes its process id to.
func webprog(args []string) error {
	name := "web"
	if len(args) > 0 {
		name = args[0]
	}
	if len(args) > 1 {
		if err := os.WriteFile(args[1], []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
			return err
		}
	}
	fmt.Printf("PORT=%s TOSKA_GATEWAY=%s TOSKA_CONTROL=%s\n", os.Getenv("PORT"), os.Getenv("TOSKA_GATEWAY"), os.Getenv("TOSKA_CONTROL"))
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for s := range signals {
			fmt.Println("signal", s)
			if s == syscall.SIGTERM {
				os.Exit(9)
			}
		}
	}()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/exit" {
			status, _ := strconv.Atoi(r.URL.Query().Get("status"))
			os.Exit(status)
		}
		if r.URL.Path == "/slow" {
			fmt.Println("slow")
			<-r.Context().Done()
			return
		}
		fmt.Fprintf(w, "%s %s\n", name, r.URL.Path)
	})
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler)
}

// httpprog makes one request, METHOD URL, with the token in $TOKEN if there is one, and prints the
// status and the body.
func httpprog(args []string) int {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: http METHOD URL")
		return 2
	}
	req, err := http.NewRequest(args[0], args[1], nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if t := os.Getenv("TOKEN"); t != "" {
		req.Header.Set("Authorization", "Bearer "+t)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = res.Body.Close() }()
	fmt.Println(res.StatusCode)
	if _, err := io.Copy(os.Stdout, res.Body); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
