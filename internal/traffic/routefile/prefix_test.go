package routefile_test

import (
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
)

func TestServicesMayBeHiddenFromThePrefix(t *testing.T) {
	yes, no := true, false
	for _, row := range []struct {
		name, file string
		all        bool // hidden unless they say otherwise
		web        *bool
	}{
		{"nothing said", "services: {web: {balance: round-robin}}", false, nil},
		{"one that is hidden", "services: {web: {prefix: false}}", false, &no},
		{"one that is not, of a mesh where they are", "defaults: {prefix: false}\nservices: {web: {prefix: true}}", true, &yes},
		{"what holds anyway", "defaults: {prefix: true}\nservices: {web: {}}", false, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, problems := routefile.Parse("f", []byte(row.file))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			web := f.Set.Services[0].Prefix
			if f.Set.NoPrefix != row.all || (web == nil) != (row.web == nil) || web != nil && *web != *row.web {
				t.Errorf("all hidden: %v, web %v", f.Set.NoPrefix, web)
			}
		})
	}
	if _, problems := routefile.Parse("f", []byte("defaults: {prefix: off}")); !problems.Fatal() || problems[0].Nearest != "false" {
		t.Errorf("problems %v", problems)
	}
}
