// Package toska is the Go SDK: what a program uses to be part of a mesh.
//
// Join serves an http.Handler as an instance of a service, and JoinListener any other server. A Client calls
// services by their names. Both find the mesh by a Mesh, which can be shared (WithDiscovery), and a Keeper holds
// the session of one instance for as long as a program runs. Package toskatest is a mesh inside of a test.
//
// # Environment
//
// An option in code goes before the environment, and the environment before the default.
//
//	TOSKA_CONTROL          addresses of nodes, HOST:PORT, separated by commas; else MESH_DISCOVERY_ADDRESS
//	TOSKA_TOKEN            the token to show to them
//	TOSKA_TOKEN_FILE       a file that holds it
//	TOSKA_SERVICE          name of the service, where the program gives none; else MESH_SERVICE_NAME
//	TOSKA_ID               id of the instance
//	TOSKA_LISTEN           where to listen, HOST:PORT or PORT; else PORT, else MESH_SERVICE_PORT
//	TOSKA_ADVERTISE        where others reach it, HOST or HOST:PORT
//	TOSKA_VERSION          version of the service
//	TOSKA_WEIGHT           share of the requests, a number
//	TOSKA_STRATEGY         how requests are shared, as in RoundRobin
//	TOSKA_METADATA         KEY=VALUE,KEY=VALUE
//	TOSKA_DRAIN_DELAY      a duration, as in 1s
//	TOSKA_GRACE            a duration, as in 10s
//	TOSKA_HEALTH_INTERVAL  a duration, as in 10s
//	TOSKA_HEALTH_TIMEOUT   a duration, as in 5s
//
// Without TOSKA_CONTROL the node is found that the same user runs on this machine, with its token. The
// variable of the family names the node's discovery port; that of this user's own node stands for its control
// address, and any other is taken for a control address.
//
// # Concurrency
//
// Everything here is safe for concurrent use unless it says otherwise. Nothing runs in the background
// but what Join, JoinListener or a Run method is waiting for, and the watches of a Client that is not closed.
package toska
