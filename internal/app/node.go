package app

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/lifecycle"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Status implements mesh.Node.
func (a *App) Status(context.Context) (mesh.Status, error) {
	if !a.running.Load() {
		return mesh.Status{}, &mesh.Error{Kind: mesh.ErrUnavailable, Code: mesh.CodeUnavailable, Detail: "the node is starting"}
	}
	st := mesh.Status{
		NodeID: a.dir.NodeID(), Version: a.cfg.Version, PID: os.Getpid(), DataDir: a.dir.Path(),
		StartedAt: a.started.UTC(), Addresses: a.listeners.addresses(), Ready: !a.stopping.Load(),
	}
	unopened := a.store.failure.Load()
	for _, u := range a.supervisor.Status() {
		role := roleStatus(u)
		if u.Name == unitStore && unopened != nil && u.State == lifecycle.Starting {
			role.State, role.Reason = string(lifecycle.Failed), unopened.Cause.Error()
		}
		st.Roles = append(st.Roles, role)
		st.Ready = st.Ready && u.State == lifecycle.Ready
	}
	if unopened != nil {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: unopened.Code, Detail: unopened.Detail})
	}
	st.Alarms = append(st.Alarms, a.trust.alarms(time.Now())...)
	if a.discovery != nil {
		a.addRegistry(&st)
	} else {
		st.Registry.Stale = true
	}
	if a.gateway != nil {
		st.Table = a.gateway.Table()
		a.addAccessLog(&st)
	}
	a.addConfig(&st)
	return st, nil
}

func roleStatus(u lifecycle.UnitStatus) mesh.RoleStatus {
	return mesh.RoleStatus{Name: u.Name, State: string(u.State), Since: u.Since, Restarts: u.Restarts, Reason: u.Reason}
}

// serves returns whether a unit is ready now.
func (a *App) serves(unit string) func() bool {
	return func() bool {
		if !a.running.Load() || a.stopping.Load() {
			return false
		}
		for _, u := range a.supervisor.Status() {
			if u.Name == unit {
				return u.State == lifecycle.Ready
			}
		}
		return false
	}
}

// gatewayNode is the node as the gateway's port tells of it: the gateway alone. Anybody may ask there,
// so it does no work that grows with the mesh.
type gatewayNode struct{ a *App }

// Status implements mesh.Node.
func (g gatewayNode) Status(context.Context) (mesh.Status, error) {
	st := mesh.Status{Ready: g.a.serves(RoleGateway)()}
	if !g.a.running.Load() {
		return st, nil
	}
	for _, u := range g.a.supervisor.Status() {
		if u.Name == RoleGateway {
			st.Roles = append(st.Roles, roleStatus(u))
		}
	}
	return st, nil
}

func (a *App) addRegistry(st *mesh.Status) {
	s := a.discovery.Stats()
	st.Registry = mesh.RegistryStatus{
		Revision: s.Revision, Services: s.Services, Instances: s.Instances, Sessions: s.Sessions, Stale: s.Stale,
	}
	for _, d := range s.Damaged {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: mesh.CodeStoreDamaged, Detail: fmt.Sprintf(
			"the stored record %s is damaged (%s); it is kept and not served; let the instance register again, or deregister it",
			d.Key, d.Reason)})
	}
	engine := a.store.engine.Load()
	if engine == nil {
		return
	}
	if err := cmp.Or(engine.Failed(), engine.Refusing()); err != nil {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: mesh.CodeOf(err), Detail: err.Error()})
	}
}
