package cli_test

import (
	"strings"
	"testing"

	"github.com/toska-mesh/toska-mesh/docs"
)

func TestHelpExplainsCommandsAndCodes(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"nothing lists the commands", []string{"help"}, 0, []string{"toska up", "Available Commands"}},
		{"a command", []string{"help", "run"}, 0, []string{"Run a program, register it", "--start-timeout", "--help"}},
		{"a command of a command", []string{"help", "completion", "bash"}, 0, []string{"autocompletion script for the bash"}},
		{"a code", []string{"help", "TOSKA-UP-CONN-REFUSED"}, 0, []string{"# TOSKA-UP-CONN-REFUSED", "## What to do"}},
		{"a code in lower case", []string{"help", "toska-up-none"}, 0, []string{"# TOSKA-UP-NONE"}},
		{"every code", []string{"help", "codes"}, 0, docs.ErrorCodes()},
		{"a word that is no command", []string{"help", "rnu"}, 2, []string{`no command "rnu"`, "toska help codes"}},
		{"too many words", []string{"help", "run", "fast"}, 2, []string{`no command "run fast"`}},
		{"a code that there is not", []string{"help", "TOSKA-UP-REFUSED"}, 6, []string{"knows no such code", "did you mean TOSKA-UP-CONN-REFUSED"}},
		{"a code that is like none", []string{"help", "TOSKA-QQQ"}, 6, []string{`"toska help codes" lists them`}},
		{"a path out of the pages", []string{"help", "TOSKA-../../x"}, 6, []string{"knows no such code"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			w.expect(t, w.run(t.Context(), tc.args...), tc.code, tc.says...)
		})
	}
}

func TestCompletionOffersCommandsAndCodesToHelp(t *testing.T) {
	w := newWorld()
	w.expect(t, w.run(t.Context(), "__complete", "help", ""), 0, "codes\t", "run\t", "TOSKA-UP-NONE")
	if strings.Contains(w.stdout.String(), "run-watchdog") {
		t.Error("a hidden command is offered")
	}
}
