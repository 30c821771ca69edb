package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/toska-mesh/toska-mesh/docs"
)

// codePrefix is what every stable code begins with.
const codePrefix = "TOSKA-"

// newHelp replaces cobra's own help command, which knows no codes and takes a wrong word for success.
func newHelp(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND | CODE | codes]",
		Short: "Explain a command, or the code of an error",
		Long: `Explain a command, or the code of an error: what happened, why, and what to do.

Codes begin with TOSKA- and stand in problem documents, logs and messages. "toska help codes" lists them
all. A node serves the same pages on its control port, at /docs/errors/CODE.`,
		Example: `  toska help run
  toska help TOSKA-UP-CONN-REFUSED
  toska help codes`,
		ValidArgsFunction: completeHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 1 && args[0] == "codes":
				env.printCodes()
				return nil
			case len(args) == 1 && strings.HasPrefix(strings.ToUpper(args[0]), codePrefix):
				return env.explainCode(args[0])
			}
			topic, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fail(codeUsage, `"toska help" lists the commands, "toska help codes" the codes`,
					"there is no command %q to explain", strings.Join(args, " "))
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}

func (e *Env) printCodes() {
	t := table{head: []string{"CODE", "WHAT"}}
	for _, code := range docs.ErrorCodes() {
		t.add(cell{text: code}, cell{text: docs.ErrorSummary(code)})
	}
	t.print(e.Stdout, e.colours())
}

// explainCode prints the page of a code.
func (e *Env) explainCode(code string) error {
	page, ok := docs.ErrorPage(code)
	if ok {
		say(e.Stdout, "%s", strings.TrimSpace(page))
		return nil
	}
	next := `"toska help codes" lists them`
	if near := nearCodes(strings.ToUpper(code)); len(near) > 0 {
		next = "did you mean " + strings.Join(near, " or ") + "? " + next
	}
	return &failure{code: codeNotFound, next: next, err: fmt.Errorf("explain %s: %w", code, errors.New("this version knows no such code"))}
}

// nearCodes returns the few codes that share the most words with one that there is not.
func nearCodes(code string) []string {
	const most = 3
	words := strings.Split(strings.TrimPrefix(code, codePrefix), "-")
	score := func(c string) int {
		n := 0
		for w := range strings.SplitSeq(strings.TrimPrefix(c, codePrefix), "-") {
			if slices.Contains(words, w) {
				n++
			}
		}
		return n
	}
	near := slices.DeleteFunc(docs.ErrorCodes(), func(c string) bool { return score(c) == 0 })
	slices.SortStableFunc(near, func(a, b string) int { return score(b) - score(a) })
	return near[:min(len(near), most)]
}

func completeHelp(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	words := []string{"codes\tevery code"}
	for _, c := range cmd.Root().Commands() {
		if c.IsAvailableCommand() {
			words = append(words, c.Name()+"\t"+c.Short)
		}
	}
	return append(words, docs.ErrorCodes()...), cobra.ShellCompDirectiveNoFileComp
}
