package toska

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/traffic/balance"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// familyAddress is the family's variable for its discovery port.
const familyAddress = "MESH_DISCOVERY_ADDRESS"

// newOptions joins the defaults, the environment and the options. The error names what is wrong of the tie to
// the mesh; what is wrong of a service is left to whoever serves one.
func newOptions(opts []Option) (options, error) {
	o := readOptions(opts)
	return o, wrong(o.wrongTie)
}

// serviceOptions is newOptions for who serves: the error names everything that is wrong.
func serviceOptions(opts []Option) (options, error) {
	o := readOptions(opts)
	return o, wrong(append(o.wrongTie, o.wrongService...))
}

func readOptions(opts []Option) options {
	o := options{
		log: slog.Default(), listen: DefaultListen, drainDelay: DefaultDrainDelay, grace: DefaultGrace,
		healthInterval: DefaultHealthInterval, healthTimeout: DefaultHealthTimeout,
		client: clientSettings{attempt: defaultAttempt},
	}
	e := environment{get: os.Getenv, o: &o}
	e.read()
	for _, option := range opts {
		option(&o)
	}
	o.settle()
	return o
}

func wrong(fields []mesh.FieldError) error {
	if len(fields) == 0 {
		return nil
	}
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: "options of the SDK are wrong", Fields: fields}
}

// environment reads options from variables, and notes those that make no sense.
type environment struct {
	get func(string) string
	o   *options
}

func (e *environment) read() {
	o := e.o
	o.controls, o.controlsBy = e.addresses()
	o.token, o.tokenFile = e.get("TOSKA_TOKEN"), e.get("TOSKA_TOKEN_FILE")
	if o.token != "" {
		o.tokenFile = ""
	}
	o.name, _ = e.first("TOSKA_SERVICE", "MESH_SERVICE_NAME")
	o.id, o.version = e.get("TOSKA_ID"), e.get("TOSKA_VERSION")
	o.advertise = e.get("TOSKA_ADVERTISE")
	o.strategy, o.strategyBy = e.first("TOSKA_STRATEGY")
	if v, name := e.first("TOSKA_LISTEN", "PORT", "MESH_SERVICE_PORT"); v != "" {
		o.listen, o.listenBy = v, name
	}
	e.weight()
	e.duration("TOSKA_DRAIN_DELAY", &o.drainDelay)
	e.duration("TOSKA_GRACE", &o.grace)
	e.duration("TOSKA_HEALTH_INTERVAL", &o.healthInterval)
	e.duration("TOSKA_HEALTH_TIMEOUT", &o.healthTimeout)
	e.metadata()
}

// first returns the value of the first name that has one.
func (e *environment) first(names ...string) (value, name string) {
	for _, name := range names {
		if v := e.get(name); v != "" {
			return v, name
		}
	}
	return "", ""
}

// addresses reads a list of control addresses, and says whose it is.
func (e *environment) addresses() (list []string, name string) {
	v, name := e.first("TOSKA_CONTROL", familyAddress)
	if v == "" {
		return nil, ""
	}
	for part := range strings.SplitSeq(v, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	if len(list) == 0 {
		e.o.wrongTie = append(e.o.wrongTie, mesh.FieldError{Field: name, Problem: "names no address; it wants HOST:PORT, several separated by commas"})
	}
	return list, name
}

func (e *environment) weight() {
	v := e.get("TOSKA_WEIGHT")
	if v == "" {
		return
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < leastWeight || n > mostWeight {
		e.o.wrongService = append(e.o.wrongService, wrongWeight("TOSKA_WEIGHT", v))
		return
	}
	e.o.weight = n
}

// leastWeight and mostWeight are the bounds of an instance's share.
const leastWeight, mostWeight = 1, 1000

func wrongWeight(field, v string) mesh.FieldError {
	return mesh.FieldError{Field: field, Problem: fmt.Sprintf("%q is no number from %d to %d", v, leastWeight, mostWeight)}
}

// knownStrategy reports whether a word is one of the strategies, in any of their spellings. Random and IPHash
// are the family's: whoever balances takes the default for them.
func knownStrategy(s string) bool {
	if _, ok := balance.ParseStrategy(s); ok {
		return true
	}
	word := strings.ReplaceAll(s, "_", "")
	return strings.EqualFold(word, "Random") || strings.EqualFold(word, "IPHash")
}

func (e *environment) duration(name string, d *time.Duration) {
	v := e.get(name)
	if v == "" {
		return
	}
	parsed, err := time.ParseDuration(v)
	if err != nil {
		e.bad(name, fmt.Sprintf("%q is no duration such as 500ms or 10s", v))
		return
	}
	*d = parsed
}

func (e *environment) metadata() {
	v := e.get("TOSKA_METADATA")
	if v == "" {
		return
	}
	e.o.metadata = map[string]string{}
	for pair := range strings.SplitSeq(v, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			e.bad("TOSKA_METADATA", fmt.Sprintf("%q is no KEY=VALUE", pair))
			continue
		}
		e.o.metadata[key] = strings.TrimSpace(value)
	}
}

func (e *environment) bad(name, problem string) {
	e.o.wrongService = append(e.o.wrongService, mesh.FieldError{Field: name, Problem: problem})
}

// settle checks what options and environment left, and brings addresses into their one form.
func (o *options) settle() {
	if o.locate != nil {
		o.controls, o.wrongTie = nil, nil
	}
	controls := make([]string, 0, len(o.controls))
	for _, a := range o.controls {
		c, ok := hostPort(a)
		if !ok {
			o.wrongTie = append(o.wrongTie, mesh.FieldError{Field: cmp.Or(o.controlsBy, "control"), Problem: fmt.Sprintf("%q is no HOST:PORT such as 127.0.0.1:5010", a)})
		}
		controls = append(controls, c)
	}
	o.controls = controls
	bad := func(field, problem string) {
		o.wrongService = append(o.wrongService, mesh.FieldError{Field: field, Problem: problem})
	}
	if o.strategy != "" && !knownStrategy(o.strategy) {
		bad(cmp.Or(o.strategyBy, "strategy"), fmt.Sprintf("%q is none of RoundRobin, LeastConnections, Random and IPHash", o.strategy))
	}
	if _, err := strconv.Atoi(o.listen); err == nil {
		o.listen = "127.0.0.1:" + o.listen
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		bad(cmp.Or(o.listenBy, "listen"), fmt.Sprintf("%q is no HOST:PORT such as 127.0.0.1:8081; port 0 takes a free one", o.listen))
	}
	for _, d := range []struct {
		field string
		is    time.Duration
		least time.Duration
	}{{"drain delay", o.drainDelay, 0}, {"grace", o.grace, 0}, {"health interval", o.healthInterval, 1}, {"health timeout", o.healthTimeout, 1}} {
		if d.is < d.least {
			bad(d.field, fmt.Sprintf("%v is too short", d.is))
		}
	}
}

// hostPort reads the address of a node, also where it is written as a URL.
func hostPort(address string) (string, bool) {
	a := strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/")
	host, port, err := net.SplitHostPort(a)
	n, convErr := strconv.Atoi(port)
	return a, err == nil && convErr == nil && host != "" && n >= 1 && n <= 65535
}
