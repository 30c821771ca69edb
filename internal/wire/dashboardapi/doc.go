// Package dashboardapi answers what the family's dashboard and gateway ask for: the catalog of services
// with their health, and the health monitor's status. It reads the mesh.Discovery contract, changes
// nothing, and answers bare JSON.
//
// # Concurrency
//
// The handlers are safe for concurrent use and start no goroutine.
package dashboardapi
