package memory_test

import (
	"testing"

	"github.com/toska-mesh/toska-mesh/internal/backend/memory"
	"github.com/toska-mesh/toska-mesh/internal/state/registry"
	"github.com/toska-mesh/toska-mesh/internal/state/registry/registrytest"
)

func TestStore(t *testing.T) {
	registrytest.TestStore(t, func(testing.TB) registry.Store { return memory.NewStore() })
}
