// Command toska is a service mesh in one binary.
package main

import (
	"context"
	"os"

	"github.com/toska-mesh/toska-mesh/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), cli.Process()))
}
