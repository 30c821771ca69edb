package registry

import (
	"context"
	"time"

	"github.com/toska-mesh/toska-mesh/internal/trust/identity"
	"github.com/toska-mesh/toska-mesh/mesh"
)

// Report renews, and changes the verdict if it differs.
func (r *Registry) Report(ctx context.Context, ref mesh.Ref, rep mesh.Report) error {
	return r.report(ctx, identity.FromContext(ctx), ref, rep)
}

func (r *Registry) report(ctx context.Context, caller identity.Caller, ref mesh.Ref, rep mesh.Report) error {
	if err := wrongReport(ref, rep); err != nil {
		return err
	}
	if _, err := r.hear(caller, ref); err != nil {
		return err
	}
	r.graceAnew(ref.ID) // before as well: the timers look as soon as the store tells of it
	je := Entry{What: DidVerdict, Why: "reported " + rep.Health.String()}
	err := r.change(ctx, caller, ref, je, func(rec *Record) bool {
		heard, w := rec.hear(), wordOf(ByReport, rep)
		if !heard && !rec.news(w) {
			return false
		}
		rec.say(w)
		return true
	})
	if err == nil {
		r.graceAnew(ref.ID)
	}
	return err
}

// graceAnew gives a held instance whose session is lost the grace once more: what was just reported of
// it is to be seen, and does not replace a session.
func (r *Registry) graceAnew(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.leases[id]
	if l == nil || l.lifetime != mesh.Held || l.session != nil || l.lost.IsZero() {
		return
	}
	l.lost = time.Now()
	r.scheduleLocked(l, l.lost.Add(mesh.SessionGrace))
}

// Judge joins a probe's word into the instance's health. Only the node itself and admins may judge.
func (r *Registry) Judge(ctx context.Context, ref mesh.Ref, rep mesh.Report) error {
	caller := identity.FromContext(ctx)
	if !caller.Trusted && caller.Role != identity.Admin {
		return &mesh.Error{Kind: mesh.ErrForbidden, Code: mesh.CodeForbidden,
			Detail: "the word of a probe on " + shorten(ref.ID) + " is taken from the node that probes and from an admin only"}
	}
	if err := wrongReport(ref, rep); err != nil {
		return err
	}
	w := wordOf(ByProbe, rep)
	je := Entry{What: DidVerdict, Who: "probe of node " + r.cfg.NodeID, Why: whyProbe(w)}
	return r.change(ctx, caller, ref, je, func(rec *Record) bool {
		if !rec.news(w) {
			return false
		}
		rec.say(w)
		return true
	})
}

// whyProbe tells the journal what a probe found, at a length that suits it.
func whyProbe(w Word) string {
	const most = 200
	why := "probed " + w.Health.String()
	if w.Output != "" {
		why += ": " + cut(w.Output, most)
	}
	return why
}

func wordOf(by Verdict, rep mesh.Report) Word {
	return Word{By: by, Health: rep.Health, Output: cleanOutput(rep.Output), At: time.Now().UTC()}
}

func wrongReport(ref mesh.Ref, rep mesh.Report) error {
	if rep.Health <= mesh.Failing {
		return nil
	}
	return &mesh.Error{Kind: mesh.ErrInvalid, Code: mesh.CodeInvalid, Detail: "the report on " + shorten(ref.ID) + " is not valid",
		Fields: []mesh.FieldError{{Field: "health", Problem: rep.Health.String() + " cannot be reported; say passing, degraded or failing"}}}
}
