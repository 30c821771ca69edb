// Command ladder counts what the test ladder of test/run does.
//
//	go test -json … | ladder tests TALLY     prints failures and skips, writes "passed failed skipped" to TALLY
//	ladder cover MINIMUM PROFILE…            prints the coverage of internal/, fails under the minimum
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ladder:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "tests":
		t, err := readTests(in)
		if err != nil {
			return err
		}
		t.print(out)
		return os.WriteFile(args[1], fmt.Appendln(nil, t.passed, t.failed, t.skipped), 0o600)
	case len(args) > 2 && args[0] == "cover":
		minimum, err := strconv.ParseFloat(args[1], 64)
		if err != nil {
			return fmt.Errorf("minimum: %w", err)
		}
		c := coverage{}
		for _, name := range args[2:] {
			if err := c.read(name); err != nil {
				return err
			}
		}
		return c.hold(out, minimum)
	}
	return fmt.Errorf("ladder %q: want tests TALLY, or cover MINIMUM PROFILE…", args)
}
