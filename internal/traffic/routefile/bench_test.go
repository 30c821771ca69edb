package routefile_test

import (
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/traffic/routefile"
)

func BenchmarkParseThousandRoutes(b *testing.B) {
	data := manyRoutes(1000, func(int) bool { return false })
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, problems := routefile.Parse("mesh.yaml", data); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
