package nodeapi

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	nodev1 "github.com/toska-mesh/toska-mesh/api/node/v1"
	"github.com/toska-mesh/toska-mesh/mesh"
)

func toProto(st mesh.Status) *nodev1.GetStatusResponse {
	p := &nodev1.GetStatusResponse{NodeId: st.NodeID, Version: st.Version, Pid: int64(st.PID),
		DataDir: st.DataDir, StartedAt: toProtoTime(st.StartedAt), Addresses: st.Addresses, Ready: st.Ready,
		Registry: &nodev1.Registry{Revision: st.Registry.Revision.String(), Services: int64(st.Registry.Services),
			Instances: int64(st.Registry.Instances), Sessions: int64(st.Registry.Sessions), Stale: st.Registry.Stale}}
	if c := st.Config; c != (mesh.ConfigStatus{}) {
		p.Configuration = &nodev1.Configuration{Path: c.Path, State: c.State, LoadedAt: toProtoTime(c.LoadedAt)}
	}
	for _, r := range st.Roles {
		p.Roles = append(p.Roles, &nodev1.Role{Name: r.Name, State: r.State, Since: toProtoTime(r.Since),
			Restarts: int64(r.Restarts), Reason: r.Reason})
	}
	for _, a := range st.Alarms {
		p.Alarms = append(p.Alarms, &nodev1.Alarm{Code: a.Code, Detail: a.Detail})
	}
	if t := st.Table; t != nil {
		p.Table = &nodev1.Table{Revision: t.Revision.String(), Routes: int64(t.Routes), Services: int64(t.Services), Stale: t.Stale,
			Endpoints: int64(t.Endpoints), BuiltAt: toProtoTime(t.BuiltAt)}
	}
	return p
}

func fromProto(p *nodev1.GetStatusResponse) (mesh.Status, error) {
	rev, err := mesh.ParseRevision(p.GetRegistry().GetRevision())
	if err != nil {
		return mesh.Status{}, err
	}
	st := mesh.Status{NodeID: p.GetNodeId(), Version: p.GetVersion(), PID: int(p.GetPid()),
		DataDir: p.GetDataDir(), StartedAt: fromProtoTime(p.GetStartedAt()), Addresses: p.GetAddresses(),
		Ready: p.GetReady(),
		Registry: mesh.RegistryStatus{Revision: rev, Services: int(p.GetRegistry().GetServices()),
			Instances: int(p.GetRegistry().GetInstances()), Sessions: int(p.GetRegistry().GetSessions()),
			Stale: p.GetRegistry().GetStale()}}
	c := p.GetConfiguration()
	st.Config = mesh.ConfigStatus{Path: c.GetPath(), State: c.GetState(), LoadedAt: fromProtoTime(c.GetLoadedAt())}
	for _, r := range p.GetRoles() {
		st.Roles = append(st.Roles, mesh.RoleStatus{Name: r.GetName(), State: r.GetState(),
			Since: fromProtoTime(r.GetSince()), Restarts: int(r.GetRestarts()), Reason: r.GetReason()})
	}
	for _, a := range p.GetAlarms() {
		st.Alarms = append(st.Alarms, mesh.Alarm{Code: a.GetCode(), Detail: a.GetDetail()})
	}
	if t := p.GetTable(); t != nil {
		tr, err := mesh.ParseRevision(t.GetRevision())
		if err != nil {
			return mesh.Status{}, err
		}
		st.Table = &mesh.TableStatus{Revision: tr, Routes: int(t.GetRoutes()), Services: int(t.GetServices()),
			Endpoints: int(t.GetEndpoints()), Stale: t.GetStale(), BuiltAt: fromProtoTime(t.GetBuiltAt())}
	}
	return st, nil
}

func toProtoTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromProtoTime(p *timestamppb.Timestamp) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.AsTime()
}
