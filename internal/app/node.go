package app

import (
	"context"
	"fmt"
	"os"

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
	for _, u := range a.supervisor.Status() {
		st.Roles = append(st.Roles, mesh.RoleStatus{
			Name: u.Name, State: string(u.State), Since: u.Since, Restarts: u.Restarts, Reason: u.Reason,
		})
		st.Ready = st.Ready && u.State == lifecycle.Ready
	}
	if a.discovery != nil {
		a.addRegistry(&st)
	}
	if a.gateway != nil {
		st.Table = a.gateway.Table()
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
	if err := a.engine.Failed(); err != nil {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: mesh.CodeOf(err), Detail: err.Error()})
	}
}
